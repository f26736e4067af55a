"""The layout of a model, every equation in it checked on the probe: what its blocks read, write and compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from interp.errors import LayoutError, LoadError
from interp.model.modules.calling import main_input
from interp.model.modules.tensors import close
from interp.model.probing.block_calls import BlockCalls
from interp.model.probing.blocks import find_blocks
from interp.model.probing.ends import position_embedding, read_end
from interp.model.probing.mixers import mixing
from interp.model.probing.probe import Call, Probe, probe
from interp.model.probing.sample import probe_length, setting
from interp.model.probing.sublayers import read_block
from interp.model.probing.watch import attending
from interp.parts.layout import BlockLayout, Layout
from interp.parts.named_inputs import TEXT
from interp.parts.outputs import Output


def read_layout(
    model: Any, output: Output | None = None, inputs: Mapping[str, Tensor] | None = None
) -> tuple[Layout, Probe]:
    """The layout of `model`, found on two watched forwards of a few tokens, every equation in it checked there. output: what of a
    forward is read, by default logits or embeddings. inputs: what is run, by default what the configuration tells.

    Raises: LayoutError naming the block whose residual stream is of no known form, or what else is no chain of blocks.
    """
    attended, routed, output = attending(model, output, inputs)
    blocks = find_blocks(model, attended)
    seen = probe(model, blocks, routed, output, inputs)
    _check_finite(model, blocks, seen.calls)
    try:
        return _layout(model, blocks, seen, output), seen
    except LayoutError:
        raise
    except Exception as error:  # modules and configurations of others may give anything at all
        reason = (str(error).strip() or "no reason given").split("\n")[0]
        raise LayoutError(
            f"{type(model).__name__}: what its modules compute on the probe does not fit a chain of blocks with attention and "
            f"MLP ({type(error).__name__}: {reason:.300})."
        ) from error


def _layout(model: Any, paths: Sequence[str], seen: Probe, output: Output) -> Layout:
    by_block = {path: own for own in seen.attended for path in paths if f"{own.path}.".startswith(f"{path}.")}
    for path in paths:
        if path not in seen.calls:
            raise LayoutError(f"{type(model).__name__}: {path} {_unseen(path, seen)}.")
        own = by_block.get(path) or mixing(model, path, seen.calls)
        if own is None:
            raise LayoutError(
                f"{type(model).__name__}: no attention was seen in {path}, of {len(paths)} blocks, nor a module in its place that mixes positions "
                "and gives the size of the stream; expected one or the other in each."
            )
        by_block[path] = own
    _check_positions(model, paths[0], seen.calls[paths[0]])
    blocks = tuple(read_block(BlockCalls(model, path, by_block[path], seen.calls, seen.counts)) for path in paths)
    _check_chain(seen.calls, paths)
    end = read_end(model, paths, seen)
    d_head, n_heads = _head_size(model, blocks, seen)
    neurons = {seen.calls[own.mlp.down].x.shape[-1] for own in blocks if own.mlp.down}
    return Layout(
        n_layers=len(blocks),
        n_heads=n_heads,
        n_kv_heads=_kv_heads(model, n_heads, seen),
        d_head=d_head,
        d_model=seen.calls[paths[-1]].y.shape[-1],
        d_mlp=neurons.pop() if len(neurons) == 1 else None,
        d_vocab=seen.output.shape[-1],
        blocks=blocks,
        output=output,
        readout=end.readout,
        causal=not any(own.ahead for own in by_block.values()),
        ln_final=end.ln_final,
        unembed=end.unembed,
        linear=end.linear,
        head=end.head,
        rotary="Rotary" in str(model),
        pos_embed=position_embedding(model, paths, seen),
        logits_scale=end.scale,
        logits_softcap=end.softcap,
        attention_function=seen.routed,
        pattern=min((own.pattern for own in seen.attended), key=("", "read", "edit").index, default="")
        if seen.routed
        else "",
        repeated=_repeated(blocks, seen),
        attention_extras=_attention_extras(model),
    )


def _check_positions(model: Any, path: str, first: Call) -> None:
    """Raises: LayoutError where a stream of text has other positions than the text has tokens."""
    n = probe_length(model) if main_input(model) == TEXT else 0
    if n and first.x.numel() != n * first.x.shape[-1]:
        raise LayoutError(
            f"{path}: for one prompt of {n} tokens it reads {list(first.x.shape)}; expected one residual stream with a position for each token."
        )


def _unseen(path: str, seen: Probe) -> str:
    """Why a block was not seen as one: the end of a sentence."""
    if path in seen.given:
        return f"gives a {seen.given[path]}; expected the residual stream, as a tensor or first in a tuple"
    if not seen.counts[path]:
        return (
            "is never called itself, only modules in it; expected blocks that are modules with a forward of their own"
        )
    return "does not read the residual stream as a tensor"


def _repeated(blocks: Sequence[BlockLayout], seen: Probe) -> frozenset[str]:
    """The modules that sites are at and that are called several times."""
    parts = [vars(part).values() for block in blocks for part in (block.attn, block.mlp)]
    paths = {value for values in parts for value in values if isinstance(value, str)}
    return frozenset(path for path in paths if seen.counts[path] > 1)


def _check_finite(model: Any, blocks: Sequence[str], calls: Mapping[str, Call]) -> None:
    """Raises: LoadError naming the first block that gives no numbers; weights that are none were found before."""
    for path in blocks:
        if path in calls and not bool(torch.isfinite(calls[path].y_value).all()):
            raise LoadError(
                f"{path} gives numbers that are not finite on a few tokens, in {model.dtype}: too large for it? Load the model in "
                "float32 or bfloat16 (dtype=, model.to(...))."
            )


def _check_chain(calls: Mapping[str, Call], blocks: Sequence[str]) -> None:
    """Raises: LayoutError naming a block that reads something else than what the one before it gives."""
    for before, path in pairwise(blocks):
        if not close(calls[path].x_value, calls[before].y_value):
            raise LayoutError(f"{path}: it does not read the output of {before}; expected blocks one behind the other.")


def _attention_extras(model: Any) -> tuple[str, ...]:
    """Functions inside attention that are no modules, which only the configuration tells of."""
    known = (("attn_logit_softcapping", "soft cap {:g} of the scores"), ("clip_qkv", "clip of q, k, v at {:g}"))
    return tuple(text.format(setting(model, name)) for name, text in known if setting(model, name))


def _head_size(model: Any, blocks: Sequence[BlockLayout], seen: Probe) -> tuple[int, int]:
    """(d_head, heads): the same in every layer that has heads, which z, scores of heads and the graph of edges rely on; 0 without any."""
    name = type(model).__name__
    if not seen.attended:
        return 0, 0
    first = seen.attended[0]
    if {(own.heads, own.kv_heads) for own in seen.attended} != {(first.heads, first.kv_heads)}:
        found = ", ".join(f"{own.heads} and {own.kv_heads}" for own in seen.attended)
        raise LayoutError(
            f"{name}: query and K/V heads of its layers: {found}; expected as many of each in every layer."
        )
    widths = {seen.calls[block.attn.o].x.shape[-1] for block in blocks if block.attn.heads}
    if len(widths) > 1 or (width := widths.pop()) % first.heads:
        given = ", ".join(
            map(str, sorted({seen.calls[block.attn.o].x.shape[-1] for block in blocks if block.attn.heads}))
        )
        raise LayoutError(f"{name}: output projection of width {given} for {first.heads} heads.")
    return width // first.heads, first.heads


def _kv_heads(model: Any, n_heads: int, seen: Probe) -> int:
    """K/V heads, as seen, or as the configuration tells where attention does not show them."""
    if not seen.attended:
        return 0
    return seen.attended[0].kv_heads or int(setting(model, "num_key_value_heads") or n_heads)
