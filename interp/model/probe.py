"""One short forward of the model itself, watched: the evidence for its layout and for its coverage by rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from interp.errors import LayoutError, LoadError
from interp.model import attention
from interp.model.linear import embedding_device, n_embedded
from interp.model.lock import frozen, no_inference_tensors
from interp.model.tensors import activation_in, activation_out, close, with_activation
from interp.parts.layout import BlockLayout, BlockPaths, Layout, ModelPaths, model_paths

PROBE_LENGTH = 4


@dataclass
class Call:
    """The first call of a module during the probe.

    `x`, `y` are the live tensors (identity tells what feeds what); `x_value`, `y_value` their values at that moment.
    `constant`: the result does not depend on the embedding (rotary tables, masks).
    """

    x: Tensor
    y: Tensor
    x_value: Tensor
    y_value: Tensor
    constant: bool


@dataclass(frozen=True)
class Probe:
    """What the probe saw: calls by module path, the logits, and the K/V heads if the attention function was reached."""

    calls: dict[str, Call]
    logits: Tensor
    n_kv_heads: int | None


def probe(model: nn.Module, paths: ModelPaths) -> Probe:
    """Run `PROBE_LENGTH` tokens through the model and record every module's first call with a floating-point result."""
    calls: dict[str, Call] = {}
    kv_heads: list[int] = []

    def around(module: nn.Module, native: attention.Native, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        kv_heads.append(k.shape[1])
        return native(q, k, v)

    with ExitStack() as stack:
        stack.enter_context(frozen(model))
        if routes_attention(model):
            stack.enter_context(attention.selected(model, around))
        first = model.get_submodule(paths.blocks[0].block)
        stack.callback(first.register_forward_pre_hook(_leaf, with_kwargs=True).remove)
        for path, module in model.named_modules():
            stack.callback(module.register_forward_hook(_recorder(path, calls), with_kwargs=True).remove)
        with torch.enable_grad(), no_inference_tensors():
            logits = model(input_ids=probe_tokens(model), use_cache=False).logits
    layers = len(paths.blocks)
    if kv_heads and len(kv_heads) != layers:
        raise LayoutError(
            f"{type(model).__name__}: attention ran {len(kv_heads)} times in {layers} layers; expected once each."
        )
    return Probe(calls, logits.detach(), kv_heads[0] if kv_heads else None)


def routes_attention(model: nn.Module) -> bool:
    """Whether the model's attention goes through transformers' AttentionInterface."""
    can_set: Callable[[], bool] = getattr(model, "_can_set_attn_implementation", lambda: False)
    return bool(can_set())


def probe_length(model: Any) -> int:
    """How many tokens a probe runs: a few, within the model's context."""
    limit = getattr(model.config, "max_position_embeddings", None)
    return min(PROBE_LENGTH, limit) if isinstance(limit, int) and limit > 0 else PROBE_LENGTH


def probe_tokens(model: Any) -> Tensor:
    """Distinct ids spread over the vocabulary, batch of one."""
    ids = torch.linspace(1, n_embedded(model) - 2, probe_length(model), dtype=torch.float32).long()
    return ids[None].to(embedding_device(model))


def _leaf(module: nn.Module, args: Any, kwargs: Any) -> Any:
    """Start the graph at the first block's input."""
    return with_activation(args, kwargs, activation_in(args, kwargs).detach().requires_grad_())


def _recorder(path: str, calls: dict[str, Call]) -> Callable[..., None]:
    def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        try:
            x, y = activation_in(args, kwargs), activation_out(output)
        except TypeError:
            return
        if path not in calls:
            calls[path] = Call(x, y, x.detach().clone(), y.detach().clone(), not y.requires_grad)

    return record


def read_layout(model: Any) -> tuple[Layout, Probe]:
    """The layout of `model`, every equation in it checked on the probe.

    Raises: LayoutError naming the block whose residual stream is not what the map says.
    """
    paths = model_paths(model)
    seen = probe(model, paths)
    _check_finite(model, paths, seen.calls)
    _check_called(model, paths, seen.calls)
    scale = float(getattr(model.config, "residual_multiplier", 1.0))
    blocks = tuple(_read_block(model, seen.calls, block, scale) for block in paths.blocks)
    _check_end(model, paths, seen.calls)
    logits_scale, softcap = _final_transform(model, seen.calls[paths.unembed].y_value, seen.logits)
    d_head, n_heads = _head_size(model, seen.calls[paths.blocks[0].o].x)
    down = paths.blocks[0].mlp_down
    layout = Layout(
        n_layers=len(blocks),
        n_heads=n_heads,
        n_kv_heads=seen.n_kv_heads or int(getattr(model.config, "num_key_value_heads", None) or n_heads),
        d_head=d_head,
        d_model=seen.calls[paths.ln_final].x.shape[-1],
        d_mlp=seen.calls[down].x.shape[-1] if down in seen.calls else None,
        d_vocab=seen.logits.shape[-1],
        blocks=blocks,
        ln_final=paths.ln_final,
        unembed=paths.unembed,
        rotary=paths.rotary or "Rotary" in str(model),
        pos_embed=paths.pos_embed,
        logits_scale=logits_scale,
        logits_softcap=softcap,
        attention_function=seen.n_kv_heads is not None,
        attention_extras=_attention_extras(model.config),
    )
    return layout, seen


def _check_finite(model: Any, paths: ModelPaths, calls: Mapping[str, Call]) -> None:
    """Raises: LoadError naming the first block that gives no numbers; weights that are none were found before."""
    for path in (block.block for block in paths.blocks):
        if path in calls and not bool(torch.isfinite(calls[path].y_value).all()):
            raise LoadError(
                f"{path} gives numbers that are not finite on a few tokens, in {model.dtype}: too large for it? Load the model in "
                "float32 or bfloat16 (dtype=, model.to(...))."
            )


def _check_called(model: Any, paths: ModelPaths, calls: Mapping[str, Call]) -> None:
    """Every module that the map must have took part."""
    for path in (paths.ln_final, paths.unembed, *(p for b in paths.blocks for p in (b.block, b.attn, b.o, b.mlp))):
        if path not in calls:
            raise LayoutError(f"{type(model).__name__}: module {path!r} was not called in a forward pass.")


def _check_end(model: Any, paths: ModelPaths, calls: Mapping[str, Call]) -> None:
    """The final norm reads the last block, and the unembedding the final norm."""
    if not close(calls[paths.ln_final].x_value, calls[paths.blocks[-1].block].y_value):
        raise LayoutError(f"{type(model).__name__}: the final norm does not read the last block's output.")
    if not close(calls[paths.unembed].x_value, calls[paths.ln_final].y_value):
        raise LayoutError(f"{type(model).__name__}: the unembedding does not read the final norm's output.")


def _attention_extras(config: Any) -> tuple[str, ...]:
    """Functions inside attention that are no modules, which only the configuration tells of."""
    known = (("attn_logit_softcapping", "soft cap {:g} of the scores"), ("clip_qkv", "clip of q, k, v at {:g}"))
    return tuple(text.format(getattr(config, name)) for name, text in known if getattr(config, name, None))


def _head_size(model: Any, z: Tensor) -> tuple[int, int]:
    n_heads = int(model.config.num_attention_heads)
    if z.shape[-1] % n_heads:
        raise LayoutError(f"{type(model).__name__}: output projection of width {z.shape[-1]} for {n_heads} heads.")
    return z.shape[-1] // n_heads, n_heads


def _final_transform(model: Any, unembedded: Tensor, logits: Tensor) -> tuple[float, float | None]:
    """What happens between unembedding and logits: (scale, soft cap)."""
    cap = getattr(model.config, "final_logit_softcapping", None)
    if cap is not None and close(cap * torch.tanh(unembedded / cap), logits):
        return 1.0, float(cap)
    if torch.equal(unembedded, logits):
        return 1.0, None
    stated = (getattr(model.config, "logit_scale", None), 1 / getattr(model.config, "logits_scaling", 1.0))
    for scale in (s for s in stated if s):
        if close(scale * unembedded, logits):
            return float(scale), None
    scale = float((logits.double() * unembedded.double()).sum() / unembedded.double().square().sum())
    if close(scale * unembedded, logits):
        return scale, None
    raise LayoutError(
        f"{type(model).__name__}: logits are neither the unembedding's output, nor scaled, nor soft-capped."
    )


def _read_block(model: nn.Module, calls: dict[str, Call], paths: BlockPaths, scale: float) -> BlockLayout:
    """Find the readers and writers of one block by identity of tensors, and check the sum."""
    inside = {p: c for p, c in calls.items() if p.startswith(paths.block + ".")}
    block, attn = calls[paths.block], calls[paths.attn]
    attn_norm = _feeder(inside, attn.x)
    attn_reader = attn_norm or paths.attn
    attn_writer = _reader_of(inside, calls[paths.o].y, exclude=paths.attn) or paths.o
    mlp_module = paths.mlp_down if paths.mlp_down in calls else paths.mlp
    mlp_entry = paths.mlp_up if paths.mlp == paths.block and paths.mlp_up else paths.mlp
    mlp_norm = _feeder(inside, calls[mlp_entry].x)
    mlp_reader = mlp_norm or mlp_entry
    mlp_writer = _reader_of(inside, calls[mlp_module].y, exclude=paths.mlp) or mlp_module
    shared = mlp_norm is not None and mlp_norm == attn_norm
    parallel = shared or _same(calls[mlp_reader].x, block.x)
    _check_step(paths, calls, (attn_reader, mlp_reader), (attn_writer, mlp_writer), parallel, scale)
    act, gated = _activation(model, calls, paths)
    return BlockLayout(
        paths=paths,
        attn_reader=None if shared else attn_reader,
        attn_writer=attn_writer,
        mlp_reader=None if shared else mlp_reader,
        mlp_writer=mlp_writer,
        attn_norm=attn_norm,
        mlp_norm=mlp_norm,
        mlp_entry=mlp_entry,
        parallel=parallel,
        scale=scale,
        act=act,
        gated=gated,
        mlp_reused=not torch.equal(calls[mlp_writer].y.detach(), calls[mlp_writer].y_value),
    )


def _check_step(
    paths: BlockPaths, calls: dict[str, Call], readers: tuple[str, str], writers: tuple[str, str], parallel: bool, scale: float
) -> None:  # fmt: skip
    """Attention and MLP, in this order in `readers` and `writers`, read the stream, and the block adds what they write to it."""
    block, (attn_read, mlp_read) = calls[paths.block], (calls[reader].x_value for reader in readers)
    attn_written, mlp_written = (calls[writer].y_value for writer in writers)
    middle = block.x_value + scale * attn_written
    after = middle + scale * mlp_written.reshape(middle.shape)
    if not close(attn_read, block.x_value) or not (parallel or close(mlp_read, middle)):
        raise LayoutError(f"{paths.block}: attention or MLP does not read the residual stream (a post-norm block?).")
    if not _same_step(after, block):
        raise LayoutError(f"{paths.block}: its output is not input + attention output + MLP output.")


def _same(a: Tensor, b: Tensor) -> bool:
    """The same memory: `a` is `b`, or a reshaped view of all of it."""
    return a.data_ptr() == b.data_ptr() and a.numel() == b.numel()


def _same_step(after: Tensor, block: Call) -> bool:
    """Whether the block's output is `after`, measured against the step it takes so that a small step hides nothing."""
    y, step = block.y_value.double(), (block.y_value.double() - block.x_value.double()).abs().max()
    rounding = 4 * torch.finfo(block.y_value.dtype).eps * y.abs().max()
    return bool((after.double() - y).abs().max() <= 1e-3 * step + rounding)


def _feeder(inside: dict[str, Call], x: Tensor) -> str | None:
    """The module of the block whose output is `x`: the norm in front of attention or MLP."""
    return next((path for path, call in inside.items() if _same(call.y, x) and not _same(call.x, x)), None)


def _reader_of(inside: dict[str, Call], y: Tensor, exclude: str) -> str | None:
    """The module that reads `y`, outside the module that made it: a norm behind attention or MLP."""
    return next(
        (
            path
            for path, call in inside.items()
            if _same(call.x, y) and not _same(call.y, y) and not f"{path}.".startswith(f"{exclude}.")
        ),
        None,
    )


def _activation(model: nn.Module, calls: dict[str, Call], paths: BlockPaths) -> tuple[str | None, bool]:
    """The MLP's activation module and whether its output is multiplied by another branch (gated).

    An MLP whose down projection reads neither act(.) nor act(.) * up(.) has no activation in this sense.
    """
    if paths.mlp_down not in calls:
        return None, False
    post = calls[paths.mlp_down].x_value
    inside = {p: c for p, c in calls.items() if p.startswith(paths.mlp + ".") and not p.startswith(paths.attn + ".")}
    ups = [half for c in inside.values() for half in _halves(c.y_value, post.shape[-1])]
    for path, call in inside.items():
        module = model.get_submodule(path)
        if any(True for _ in module.children()) or isinstance(module, nn.Dropout) or call.y.shape[-1] != post.shape[-1]:
            continue
        if any(True for _ in module.parameters()) or _same(call.x, call.y):
            continue
        if close(call.y_value, post):
            return path, False
        if any(close(call.y_value * up.reshape(call.y_value.shape), post) for up in ups):
            return path, True
    return None, False


def _halves(y: Tensor, d_mlp: int) -> list[Tensor]:
    """The candidates for the up branch in a module's output: all of it, or the second half of a fused one."""
    if y.shape[-1] == d_mlp:
        return [y]
    return [y.chunk(2, dim=-1)[1]] if y.shape[-1] == 2 * d_mlp else []
