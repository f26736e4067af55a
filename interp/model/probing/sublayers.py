"""One block, read off the probe: what its attention and its MLP read, compute and write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from interp.errors import LayoutError
from interp.model.probing.block_calls import BlockCalls, depends, same, used_before
from interp.model.probing.fronts import (
    Front,
    attention_front,
    heads_apart,
    mlp_front,
    mlp_modules,
    output_projection,
    unknown_front,
)
from interp.model.probing.further_sums import Alone, Sums, sums
from interp.model.probing.gates import activation, gate_of_given, linear_up
from interp.model.probing.probe import Call
from interp.model.probing.sample import setting
from interp.model.probing.steps import Step
from interp.parts.block_layout import AttentionLayout, BlockLayout, MlpLayout


def read_block(block: BlockCalls, crossing: BlockCalls | None = None) -> BlockLayout:
    """The layout of a block; `crossing`: the same block seen from its attention to another stack, where it has one.

    Raises: LayoutError naming the block and what of it is of no known form."""
    writing = [p for p, call in block.inside.items() if call.written and same(call.x, block.own.x)]
    check_kept(block.calls, [*sorted(writing, key=lambda path: -path.count(".")), block.path])
    seen = [block] if crossing is None else [block, crossing]
    projections = [_output_projection(own) for own in seen if own.mixed]
    found = sums(seen, projections)
    layout = _one_sublayer(block, projections, found) if isinstance(found, Alone) else _both(seen, projections, found)
    _check_kept(block.calls, layout)
    return layout


def _both(seen: Sequence[BlockCalls], projections: Sequence[str], found: Sums) -> BlockLayout:
    """The layout of a block with attention and an MLP. Raises: LayoutError."""
    block = seen[0]
    module, down = mlp_modules(seen, found.mlp.written.raw, projections)
    front = _attention_front(block, projections[0], found)
    mlp, parallel = _mlp_front(seen, module, projections, found)
    shared = front.norm is not None and front.norm == mlp.norm
    parallel = parallel or shared
    cross = None if found.cross is None else _cross_front(seen[-1], projections[-1], found.cross, found.mlp)
    if cross is not None and (parallel or (cross.norm and cross.norm in (front.norm, mlp.norm))):
        raise LayoutError(f"{block.path}: attention to another stack beside the MLP; expected one after the other.")
    return BlockLayout(
        path=block.path,
        attn=_attention(block, front, found.attn, projections[0], shared),
        mlp=_mlp(seen, module, down, mlp, found.mlp, shared),
        parallel=parallel,
        middle=not parallel and _passed_on(block, found.attn.around, (cross or mlp).reader, found.plain),
        **_further(seen, projections, found, cross, mlp),
    )


def _further(
    seen: Sequence[BlockCalls], projections: Sequence[str], found: Sums, cross: Front | None, mlp: Front
) -> dict[str, Any]:
    """What only some blocks have, by the names of `BlockLayout`: attention to another stack, further parts, a norm of the stream."""
    crossing: dict[str, Any] = {}
    if cross is not None and found.cross is not None:
        crossing["cross"] = _attention(seen[-1], cross, found.cross, projections[-1], False)
        crossing["crossed"] = _passed_on(seen[0], found.cross.around, mlp.reader, found.plain)
    return crossing | {
        "mixer": None if found.mixer is None else _mixer(seen[0], found.mixer),
        "second": None if found.second is None else _second(seen, projections, found.second),
        "first": found.first,
    }


def _one_sublayer(block: BlockCalls, projections: Sequence[str], solved: Alone) -> BlockLayout:
    """The layout of a block with attention, or what mixes positions in its place, alone, or with an MLP alone."""
    x, attn, mlp = block.own.x_value, None, None
    if solved.attn is not None:
        front = attention_front(block, projections[0], None, x) or unknown_front(block, "attention")
        attn = _attention(block, front, solved.attn, projections[0], False)
    elif solved.mlp is not None:
        module, down = mlp_modules([block], solved.mlp.written.raw, ())
        front = mlp_front([block], module, solved.mlp.written.raw, (), x) or unknown_front(block, "MLP")
        mlp = _mlp([block], module, down, front, solved.mlp, False)
    return BlockLayout(path=block.path, attn=attn, mlp=mlp, parallel=False, middle=False)


def _attention(block: BlockCalls, front: Front, step: Step, o: str, shared: bool) -> AttentionLayout:
    return AttentionLayout(
        block.attended.path, front.norm, front.entry, None if shared else front.reader, step.written.writer,
        step.place, step.scale, step.written.gain, step.around, o, block.attended.heads > 0, **_heads(block, o), **_kept(step),
    )  # fmt: skip


def _heads(block: BlockCalls, o: str) -> dict[str, Any]:
    """The sizes of its heads, by the names of `AttentionLayout`: K/V heads as seen, or as the configuration tells where attention does not
    show them."""
    n, seen = block.attended.heads, block.attended.kv_heads
    if not n:
        return {}
    kv_heads = seen or int(setting(block.model, "num_key_value_heads") or n)
    return {"n_kv_heads": kv_heads, "d_head": block.inside[o].x.shape[-1] // n}


def _kept(step: Step) -> dict[str, Any]:
    """What a step keeps of the stream, and the bias that it adds, by the names of `Sublayer`."""
    return {"bias": step.written.bias, "keep": step.keep, "keeper": step.keeper}


def _mixer(block: BlockCalls, step: Step) -> AttentionLayout:
    """What mixes positions beside attention: a module that reads the stream, or a norm of it."""
    own, raw = step.written, step.written.raw
    norm = block.feeder(block.inside[raw])
    return AttentionLayout(
        raw,
        norm,
        raw,
        norm or raw,
        own.writer,
        step.place,
        step.scale,
        own.gain,
        step.around,
        raw,
        False,
        **_kept(step),
    )


def _second(seen: Sequence[BlockCalls], projections: Sequence[str], step: Step) -> MlpLayout:
    """A second MLP: a module that reads the stream, or a norm of it, or, in the block's own code, what its layer's input gates."""
    block, (module, down) = seen[0], mlp_modules(seen, step.written.raw, projections)
    entry = (gate_of_given(seen, module, down) or module) if module == block.path else module
    norm = block.feeder(block.inside[entry])
    return _mlp(seen, module, down, Front(norm, entry, norm or entry), step, False)


def _cross_front(block: BlockCalls, o: str, crossing: Step, computed: Step) -> Front:
    """What stands in front of attention to another stack, which reads the stream in front of its step. Raises: LayoutError."""
    found = attention_front(block, o, computed.written.raw, crossing.before, alone=True)
    if found is None:
        raise LayoutError(
            f"{block.path}: what the queries of {block.attended.path} read was not found; expected the stream in front of {o}, or a norm of it."
        )
    return found


def _attention_front(block: BlockCalls, o: str, steps: Sums) -> Front:
    """What stands in front of attention. Raises: LayoutError where it reads what the MLP has written."""
    x, computed = steps.attn.before, steps.mlp
    mlp = computed.written.raw
    found = attention_front(block, o, mlp, x)
    behind = x + computed.scale * computed.written.value.reshape(x.shape)
    if depends(block.inside[o].read, block.inside[mlp].made) or (not found and attention_front(block, o, mlp, behind)):
        raise LayoutError(
            f"{block.path}: its MLP ({mlp}) comes before its attention; expected attention first, or both side by side."
        )
    return found or unknown_front(block, "attention")


def _mlp_front(seen: Sequence[BlockCalls], module: str, projections: Sequence[str], steps: Sums) -> tuple[Front, bool]:
    """What stands in front of the MLP, and whether it reads what attention reads: by the values, then by memory, then by the graph."""
    block, raw = seen[0], steps.mlp.written.raw
    if not block.makes(raw):
        beside = not depends(block.inside[raw].made, block.inside[steps.attn.written.writer].made)
        return Front(None, block.path, None), beside
    before, after = (mlp_front(seen, module, raw, projections, x) for x in (steps.attn.before, steps.mlp.before))
    if before and after:
        reader = before.norm or before.entry
        first = reader in block.inside and same(block.inside[reader].x, block.own.x)
        return (before, True) if first else (after, False)
    if before or after:
        return before or after or unknown_front(block, "MLP"), before is not None
    last = (steps.cross or steps.attn).written.writer
    sequential = depends(block.inside[raw].made, block.inside[last].made)
    return unknown_front(block, "MLP"), not sequential


def _output_projection(block: BlockCalls) -> str:
    """The output projection of attention, checked; without heads the module that mixes positions. Raises: LayoutError where the stream or
    z are of another shape than elsewhere."""
    heads, stream = block.attended.heads > 0, block.own.x
    o = output_projection(block) if heads or block.attended.projected else block.attended.path
    if o is None:
        raise LayoutError(
            f"{block.path}: attention was seen in {block.attended.path}, but no linear module that reads what it makes; expected an "
            "output projection (nn.Linear) behind it."
        )
    written, given = block.inside[o].y, block.own.y
    if heads and written.numel() != stream.numel() == given.numel():
        raise LayoutError(
            f"{block.path}: the first linear module behind its attention ({block.attended.path}) is {o}, which writes {list(written.shape)} beside a "
            f"stream {list(stream.shape)}; expected an output projection (nn.Linear) that reads what attention makes."
        )
    if written.numel() != stream.numel() or given.numel() != stream.numel() or (stream.ndim == 3 and len(stream) != 1):
        turned = " (positions first, and then the prompts?)" * (stream.ndim == 3 and stream.shape[1] == 1 < len(stream))
        raise LayoutError(
            f"{block.path}: for one prompt it reads {list(stream.shape)}{turned}, its output projection {o} writes {list(written.shape)} and it "
            f"gives {list(given.shape)}; expected one residual stream [batch pos d_model]."
        )
    if heads and not heads_apart(block, o):
        raise LayoutError(
            f"{o}: the heads do not stand side by side in what it reads; expected z of one head after the other."
        )
    return o


def _passed_on(block: BlockCalls, around: str | None, reader: str | None, plain: bool) -> bool:
    """Whether the stream that the MLP reads is what the block passes on, so that who edits it edits both. plain: nothing but attention and
    MLP adds to it; else everything must go through it that the block makes of its input."""
    if reader is None and around is None:
        return False
    reading = None if reader is None else block.inside[reader]
    middle = block.inside[around].made if around else None if reading is None else reading.read
    if not plain and depends(block.own.made, block.own.read, but_through=middle):
        return False
    if reading is None or around:
        return middle is not None and (reading is None or depends(block.own.made, middle, but_through=reading.made))
    late = not used_before(block.own.made, middle, reading.made)
    return late and depends(block.own.made, middle, but_through=reading.made)


def _mlp(
    seen: Sequence[BlockCalls], module: str, down: str | None, front: Front, step: Step, shared: bool
) -> MlpLayout:
    block = seen[0]
    act, branch = activation(seen, module, down)
    up = linear_up(block, module, front, act, branch, down)
    written = step.written
    writer = down if down is not None and written.writer == written.raw else written.writer
    made = block.inside[writer]
    reused = not torch.equal(made.y.detach(), made.y_value)
    return MlpLayout(
        module, front.norm, front.entry, None if shared else front.reader, writer,
        step.place, step.scale, step.written.gain, step.around, up, down, act, branch, reused, **_kept(step),
    )  # fmt: skip


def _check_kept(calls: Mapping[str, Call], found: BlockLayout) -> None:
    """What the modules read, where sites are read and patched, stays what it was; those inside others come first."""
    mlp, attn = found.mlp, found.attn
    across = () if found.cross is None else (found.cross.o, found.cross.reader)
    beside = [path for part in found.beside for path in (part.writer, part.entry, part.reader)]
    writing = (mlp and (mlp.down or mlp.module), attn and attn.o, *across, *beside)
    summing = (part and part.around for part in (attn, mlp))
    reading = (mlp and mlp.entry, mlp and mlp.reader, attn and attn.reader, attn and attn.module, *summing)
    check_kept(calls, [path for path in (*writing, *reading, found.path) if path])


def check_kept(calls: Mapping[str, Call], readers: Sequence[str]) -> None:
    """Raises: LayoutError naming a module whose input is written to in place."""
    for path in readers:
        call = calls[path]
        if call.written or not torch.equal(call.x, call.x_value):
            raise LayoutError(
                f"{path}: what it has read is written to in place{', by itself' if call.written else ''}, so what was there is "
                "lost. Make a new tensor: x = x + y, not x += y."
            )
