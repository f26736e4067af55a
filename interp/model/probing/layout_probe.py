"""The layout of a model, every equation in it checked on the probe: what its blocks read, write and compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any, Final

import torch
from torch import Tensor

from interp.errors import LayoutError, LoadError
from interp.model.modules.calling import stack_input
from interp.model.modules.repeats import check_repeats
from interp.model.probing.block_calls import BlockCalls, depends
from interp.model.probing.blocks import Chain, check_chain, find_chains
from interp.model.probing.ends import check_end, norm_behind, position_embedding, read_end
from interp.model.probing.mixers import mixing, position_wise
from interp.model.probing.probe import Attended, Call, Probe, probe
from interp.model.probing.sample import probe_lengths, run_probe, setting
from interp.model.probing.sublayers import read_block
from interp.model.probing.watch import attending
from interp.parts.block_layout import AttentionLayout, BlockLayout
from interp.parts.layout import Layout
from interp.parts.outputs import Output
from interp.parts.stack_layout import Stack

#: How many modules that mix positions are tried in a block without attention.
_TRIED: Final = 3


def read_layout(
    model: Any, output: Output | None = None, inputs: Mapping[str, Tensor] | None = None
) -> tuple[Layout, Probe]:
    """The layout of `model`, found on two watched forwards of a few tokens, every equation in it checked there. output: what of a
    forward is read, by default logits or embeddings. inputs: what is run, by default what the configuration tells.

    Raises: LayoutError naming the block whose residual stream is of no known form, or what else is no chain of blocks; LoadError for a model
    whose two forwards give other numbers.
    """
    attended, routed, output, made = attending(model, output, inputs)
    chains = find_chains(model, attended)
    seen = probe(model, [chain.blocks[0] for chain in chains], routed, output, inputs)
    _check_finite(model, [path for chain in chains for path in chain.blocks], seen.calls)
    check_repeats(model, lambda: run_probe(model, output, given=inputs)[0], made, seen.output)
    try:
        return _layout(model, chains, seen, output), seen
    except LayoutError:
        raise
    except Exception as error:  # modules and configurations of others may give anything at all
        reason = (str(error).strip() or "no reason given").split("\n")[0]
        raise LayoutError(
            f"{type(model).__name__}: what its modules compute on the probe does not fit a chain of blocks with attention and "
            f"MLP ({type(error).__name__}: {reason:.300})."
        ) from error


def _layout(model: Any, chains: Sequence[Chain], seen: Probe, output: Output) -> Layout:
    """The map of the model: of its stacks, the last of which is read last, and of its end."""
    others = tuple(Stack(**_stack(model, chain, seen)) for chain in chains[:-1])
    own, paths = _stack(model, chains[-1], seen), chains[-1].blocks
    end = read_end(model, paths, seen)
    _check_sources(chains, seen)
    for other in chains[:-1]:
        check_end(model, other.blocks, seen)
    return Layout(
        **own | {"ln_final": end.ln_final},
        d_vocab=seen.output.shape[-1],
        output=output,
        readout=end.readout,
        unembed=end.unembed,
        linear=end.linear,
        head=end.head,
        logits_scale=end.scale,
        logits_softcap=end.softcap,
        others=others,
        scale_before=end.before,
    )


def _stack(model: Any, chain: Chain, seen: Probe) -> dict[str, Any]:
    """What is known of one stack, by the names of `Stack`."""
    paths = chain.blocks
    attended = [own for own in seen.attended if any(f"{own.path}.".startswith(f"{path}.") for path in paths)]
    mixed = [_mixing(model, path, attended, seen, len(paths)) for path in paths]
    if not any(mixed):
        raise LayoutError(
            f"{type(model).__name__}: none of its {len(paths)} blocks ({paths[0]}, ...) has attention or mixes positions otherwise; expected "
            "one at least."
        )
    blocks = tuple(_block(model, path, own, seen) for path, own in zip(paths, mixed, strict=True))
    _check_positions(model, chain, seen)
    shared = check_chain(seen.calls, paths, attended)
    blocks = tuple(_sharing(block, shared.get(layer)) for layer, block in enumerate(blocks))
    heads = [own for block in blocks for own in block.attentions if own.heads]
    neurons = {seen.calls[own.mlp.down].x.shape[-1] for own in blocks if own.mlp and own.mlp.down}
    return {
        "name": chain.name,
        "n_layers": len(blocks),
        "n_heads": _n_heads(model, attended, heads, seen),
        "n_kv_heads": max((own.n_kv_heads for own in heads), default=0),
        "d_head": max((own.d_head for own in heads), default=0),
        "d_model": seen.calls[paths[-1]].y.shape[-1],
        "d_mlp": neurons.pop() if len(neurons) == 1 else None,
        "blocks": blocks,
        "causal": not any(one.ahead for own in mixed for one in own if not one.across),
        "ln_final": norm_behind(model, paths, seen),
        "rotary": "Rotary" in str(model),
        "pos_embed": position_embedding(model, paths, seen),
        "attention_function": seen.routed,
        "pattern": min((own.pattern for own in attended), key=("", "read", "edit").index, default="")
        if seen.routed
        else "",
        "repeated": _repeated(blocks, seen),
        "attention_extras": _attention_extras(model),
    }


def _mixing(model: Any, path: str, attended: Sequence[Attended], seen: Probe, n: int) -> list[Attended]:
    """The attentions of one block of `n`, or what mixes positions in their place; nothing where each position is by itself. Raises:
    LayoutError where positions are mixed otherwise."""
    if path not in seen.calls:
        raise LayoutError(f"{type(model).__name__}: {path} {_unseen(path, seen)}.")
    own = [one for one in attended if f"{one.path}.".startswith(f"{path}.")]
    if own:
        return own
    if (other := next(mixing(model, path, seen.calls), None)) is not None:
        return [other]
    if not position_wise(path, seen.calls):
        raise LayoutError(
            f"{type(model).__name__}: no attention was seen in {path}, of {n} blocks, nor a module in its place that mixes positions "
            "and gives the size of the stream, but each position by itself it is not known to be; expected attention, such a module, or an MLP alone."
        )
    return []


def _block(model: Any, path: str, own: Sequence[Attended], seen: Probe) -> BlockLayout:
    """One block with its attentions. Raises: LayoutError where it attends to another stack first."""
    if not own:
        return read_block(BlockCalls(model, path, None, seen.calls, seen.counts))
    if own[0].across and len(own) > 1:
        raise LayoutError(
            f"{path}: it attends to another stack ({own[0].path}) before its own; expected its own first."
        )
    first, *crossing = [BlockCalls(model, path, one, seen.calls, seen.counts) for one in own]
    try:
        return read_block(first, *crossing)
    except LayoutError:
        inner = None if own[0].heads else _inner(model, path, seen)
        if inner is None:
            raise
        return inner


def _sharing(block: BlockLayout, kv_layer: int | None) -> BlockLayout:
    """A block that attends to keys and values of an earlier layer."""
    if kv_layer is None or block.attn is None:
        return block
    return replace(block, attn=replace(block.attn, kv_layer=kv_layer))


def _inner(model: Any, path: str, seen: Probe) -> BlockLayout | None:
    """A block without attention whose outermost module that mixes positions is not what it adds, as where that adds the stream itself: by what
    an inner one makes, or a projection of that; None where these do not make it up either."""
    for one in islice(mixing(model, path, seen.calls), _TRIED):
        for own in (one, replace(one, projected=True)):
            with suppress(LayoutError):
                return read_block(BlockCalls(model, path, own, seen.calls, seen.counts))
    return None


def _check_sources(chains: Sequence[Chain], seen: Probe) -> None:
    """Raises: LayoutError where the keys of attention across are made of something else than the encoder's stream alone."""
    encoder, *_, own = (seen.calls[chain.blocks[0]].read for chain in (chains[0], *chains))
    for one in (one for one in seen.attended if one.across and (one.keys or not seen.routed) and len(chains) > 1):
        if (mixed := depends(one.keys, own)) or not depends(one.keys, encoder):
            what = "made of the stream of its own blocks" if mixed else "not made of the encoder's stream"
            raise LayoutError(
                f"{one.path}: its keys have other positions than its queries and are {what}; expected those of the encoder's stream alone."
            )


def _check_positions(model: Any, chain: Chain, seen: Probe) -> None:
    """Raises: LayoutError where a stream of text has other positions than the text has tokens."""
    path, name = chain.blocks[0], stack_input(model, chain.name)
    first, lengths = seen.calls[path], probe_lengths(model)
    n = lengths.get(name, 0)
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
    parts = [vars(part).values() for block in blocks for part in block.sublayers]
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


def _attention_extras(model: Any) -> tuple[str, ...]:
    """Functions inside attention that are no modules, which only the configuration tells of."""
    known = (("attn_logit_softcapping", "soft cap {:g} of the scores"), ("clip_qkv", "clip of q, k, v at {:g}"))
    return tuple(text.format(setting(model, name)) for name, text in known if setting(model, name))


def _n_heads(model: Any, attended: Sequence[Attended], heads: Sequence[AttentionLayout], seen: Probe) -> int:
    """How many query heads: the same in every layer that has heads, which z and scores of heads rely on; 0 without any."""
    name = type(model).__name__
    if not attended:
        return 0
    n = attended[0].heads
    if {own.heads for own in attended} != {n}:
        found = ", ".join(str(own.heads) for own in attended)
        raise LayoutError(f"{name}: query heads of its layers: {found}; expected as many in every layer.")
    if odd := [width for own in heads if (width := seen.calls[own.o].x.shape[-1]) % n]:
        raise LayoutError(f"{name}: output projection of width {odd[0]} for {n} heads.")
    return n
