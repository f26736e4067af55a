"""The layout of a model, every equation in it checked on the probe: what its blocks read, write and compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from interp.errors import LayoutError, LoadError
from interp.model.modules.linear import is_linear_map
from interp.model.modules.tensors import close
from interp.model.probing.probe import Call, Probe, probe, setting
from interp.parts.layout import BlockLayout, BlockPaths, Layout, ModelPaths, UpBranch, model_paths


def read_layout(model: Any) -> tuple[Layout, Probe]:
    """The layout of `model`, every equation in it checked on the probe.

    Raises: LayoutError naming the block whose residual stream is not what the map says, or what else is no decoder of blocks.
    """
    paths = model_paths(model)
    seen = probe(model, paths)
    _check_finite(model, paths, seen.calls)
    _check_called(model, paths, seen.calls)
    try:
        return _layout(model, paths, seen), seen
    except LayoutError:
        raise
    except Exception as error:  # modules and configurations of others may give anything at all
        reason = (str(error).strip() or "no reason given").split("\n")[0]
        raise LayoutError(
            f"{type(model).__name__}: what its modules compute on the probe does not fit a decoder of blocks with attention and "
            f"MLP ({type(error).__name__}: {reason:.300})."
        ) from error


def _layout(model: Any, paths: ModelPaths, seen: Probe) -> Layout:
    scale = float(setting(model, "residual_multiplier", 1.0))
    blocks = tuple(_read_block(model, seen.calls, block, scale) for block in paths.blocks)
    _check_kept(seen.calls, (paths.ln_final, paths.unembed))
    _check_end(model, paths, seen.calls)
    logits_scale, softcap = _final_transform(model, seen.calls[paths.unembed].y_value, seen.logits)
    d_head, n_heads = _head_size(model, paths, seen)
    neurons = {seen.calls[own.paths.mlp_down].x.shape[-1] for own in blocks if own.paths.mlp_down in seen.calls}
    return Layout(
        n_layers=len(blocks),
        n_heads=n_heads,
        n_kv_heads=seen.heads[0][1] if seen.heads else int(setting(model, "num_key_value_heads") or n_heads),
        d_head=d_head,
        d_model=seen.calls[paths.ln_final].x.shape[-1],
        d_mlp=neurons.pop() if len(neurons) == 1 else None,
        d_vocab=seen.logits.shape[-1],
        blocks=blocks,
        ln_final=paths.ln_final,
        unembed=paths.unembed,
        rotary=paths.rotary or "Rotary" in str(model),
        pos_embed=paths.pos_embed,
        logits_scale=logits_scale,
        logits_softcap=softcap,
        attention_function=bool(seen.heads),
        attention_extras=_attention_extras(model),
    )


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


def _attention_extras(model: Any) -> tuple[str, ...]:
    """Functions inside attention that are no modules, which only the configuration tells of."""
    known = (("attn_logit_softcapping", "soft cap {:g} of the scores"), ("clip_qkv", "clip of q, k, v at {:g}"))
    return tuple(text.format(setting(model, name)) for name, text in known if setting(model, name))


def _head_size(model: Any, paths: ModelPaths, seen: Probe) -> tuple[int, int]:
    """(d_head, heads): the same in every layer, which z, scores of heads and the graph of edges rely on."""
    name, stated = type(model).__name__, setting(model, "num_attention_heads")
    if not isinstance(stated, int) or stated < 1:
        raise LayoutError(
            f"{name}: its configuration gives num_attention_heads={stated!r}; expected how many heads z has."
        )
    if seen.heads and set(seen.heads) != {(stated, seen.heads[0][1])}:
        found = ", ".join(f"{q} and {kv}" for q, kv in seen.heads)
        raise LayoutError(
            f"{name}: query and K/V heads of its layers: {found}; expected {stated} query heads, as its configuration says, "
            "and as many of each in every layer."
        )
    widths = {seen.calls[block.o].x.shape[-1] for block in paths.blocks}
    if len(widths) > 1 or (width := widths.pop()) % stated:
        given = ", ".join(map(str, sorted({seen.calls[block.o].x.shape[-1] for block in paths.blocks})))
        raise LayoutError(f"{name}: output projection of width {given} for {stated} heads.")
    return width // stated, stated


def _final_transform(model: Any, unembedded: Tensor, logits: Tensor) -> tuple[float, float | None]:
    """What happens between unembedding and logits: (scale, soft cap)."""
    cap = setting(model, "final_logit_softcapping")
    if cap is not None and close(cap * torch.tanh(unembedded / cap), logits):
        return 1.0, float(cap)
    if torch.equal(unembedded, logits):
        return 1.0, None
    stated = (setting(model, "logit_scale"), 1 / setting(model, "logits_scaling", 1.0))
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
    paths = _with_down(model, calls, paths)
    inside = {p: c for p, c in calls.items() if p.startswith(paths.block + ".")}
    block, attn = calls[paths.block], calls[paths.attn]
    attn_norm = _feeder(inside, attn)
    attn_reader = attn_norm or paths.attn
    attn_writer = _reader_of(inside, calls[paths.o].y, exclude=paths.attn) or paths.o
    mlp_module = paths.mlp_down if paths.mlp_down in calls else paths.mlp
    mlp_entry = paths.mlp_up if paths.mlp == paths.block and paths.mlp_up else paths.mlp
    mlp_norm = _feeder(inside, calls[mlp_entry])
    mlp_reader = mlp_norm or mlp_entry
    mlp_writer = _reader_of(inside, calls[mlp_module].y, exclude=paths.mlp) or mlp_module
    shared = mlp_norm is not None and mlp_norm == attn_norm
    parallel = shared or _same(calls[mlp_reader].x, block.x)
    _check_kept(calls, (mlp_module, paths.o, mlp_entry, mlp_reader, attn_reader, paths.attn, paths.block))
    _check_step(paths, calls, (attn_reader, mlp_reader), (attn_writer, mlp_writer), parallel, scale)
    act, up = _activation(model, calls, paths)
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
        up=up,
        mlp_reused=not torch.equal(calls[mlp_writer].y.detach(), calls[mlp_writer].y_value),
    )


def _with_down(model: nn.Module, calls: dict[str, Call], paths: BlockPaths) -> BlockPaths:
    """The paths with the output projection of an MLP for which the adapter names none, as of the dense layers among sparse ones:
    the linear map whose output is all that the MLP gives (nothing was written into it since), of what an activation makes."""
    if paths.mlp == paths.block or paths.mlp_down is not None:
        return paths
    whole = calls[paths.mlp]
    for path, call in calls.items():
        if not path.startswith(paths.mlp + ".") or not is_linear_map(model.get_submodule(path)):
            continue
        if _same(call.y, whole.y) and torch.equal(call.y_value.flatten(), whole.y_value.flatten()):
            found = replace(paths, mlp_down=path)
            return found if _activation(model, calls, found)[0] else paths
    return paths


def _check_kept(calls: dict[str, Call], readers: tuple[str, ...]) -> None:
    """What the modules read, where sites are read and patched, stays what it was; those inside others come first."""
    for path in readers:
        call = calls[path]
        if call.written or not torch.equal(call.x, call.x_value):
            raise LayoutError(
                f"{path}: what it has read is written to in place{', by itself' if call.written else ''}, so what was there is "
                "lost. Make a new tensor: x = x + y, not x += y."
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


def _feeder(inside: dict[str, Call], reader: Call) -> str | None:
    """The module of the block whose output, as it was made, is what the reader reads: the norm in front of attention or MLP."""
    x, value = reader.x, reader.x_value.flatten()
    return next(
        (
            path
            for path, call in inside.items()
            if _same(call.y, x) and not _same(call.x, x) and torch.equal(call.y_value.flatten(), value)
        ),
        None,
    )


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


def _activation(model: nn.Module, calls: dict[str, Call], paths: BlockPaths) -> tuple[str | None, UpBranch | None]:
    """The MLP's activation module, and the branch that its output is multiplied by (gated).

    An MLP whose down projection reads neither act(.) nor act(.) * up(.) has no activation in this sense.
    """
    if paths.mlp_down not in calls:
        return None, None
    post = calls[paths.mlp_down].x_value
    inside = {p: c for p, c in calls.items() if p.startswith(paths.mlp + ".") and not p.startswith(paths.attn + ".")}
    ups = [(up, up.of(c.y_value)) for p, c in inside.items() if (up := _up_branch(p, c.y_value, post.shape[-1]))]
    for path, call in inside.items():
        module = model.get_submodule(path)
        if any(True for _ in module.children()) or isinstance(module, nn.Dropout) or call.y.shape[-1] != post.shape[-1]:
            continue
        if any(True for _ in module.parameters()) or _same(call.x, call.y):
            continue
        if close(call.y_value, post):
            return path, None
        for up, value in ups:
            if value.numel() == call.y_value.numel() and close(call.y_value * value.reshape(call.y_value.shape), post):
                return path, up
    return None, None


def _up_branch(path: str, y: Tensor, d_mlp: int) -> UpBranch | None:
    """The candidate for the up branch in a module's output: all of it, or the second half of a fused one."""
    return UpBranch(path, y.shape[-1] == 2 * d_mlp) if y.shape[-1] in (d_mlp, 2 * d_mlp) else None
