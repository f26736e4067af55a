"""One block, read off the probe: what its attention and its MLP read, compute and write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from interp.errors import LayoutError
from interp.model.modules.tensors import close
from interp.model.probing.block_calls import BlockCalls, same
from interp.model.probing.fronts import Front, attention_front, mlp_front, mlp_modules, output_projection
from interp.model.probing.probe import Call
from interp.model.probing.steps import Step, solve
from interp.parts.layout import AttentionLayout, BlockLayout, Branch, MlpLayout


def read_block(block: BlockCalls) -> BlockLayout:
    """The layout of a block. Raises: LayoutError naming the block and what of it is of no known form."""
    o = output_projection(block)
    if o is None:
        raise LayoutError(
            f"{block.path}: attention was seen in {block.attended.path}, but no linear module that reads what it makes; expected an "
            "output projection (nn.Linear) behind it."
        )
    written, stream = block.inside[o].y, block.own.x
    if written.numel() != stream.numel() or block.own.y.numel() != stream.numel():
        raise LayoutError(
            f"{block.path}: it reads {list(stream.shape)}, its output projection {o} writes {list(written.shape)} and it gives "
            f"{list(block.own.y.shape)}; expected one residual stream of one width."
        )
    attended, computed = solve(block, o)
    attn = _attention_front(block, o, attended, computed)
    module, down = mlp_modules(block, computed.written.raw, o)
    before, after = (mlp_front(block, module, computed.written.raw, o, x) for x in (block.own.x_value, attended.after))
    mlp = after or before
    if mlp is None:
        raise LayoutError(
            f"{block.path}: its MLP ({computed.written.raw}) does not read the residual stream, nor a norm of it."
        )
    shared = attn.norm is not None and attn.norm == mlp.norm
    parallel = shared or (before is not None and (after is None or _reads_memory(block, before)))
    found = BlockLayout(
        path=block.path,
        attn=AttentionLayout(
            block.attended.path, attn.norm, attn.entry, None if shared else attn.reader, attended.written.writer,
            attended.place, attended.scale, attended.written.gain, attended.around, o,
        ),
        mlp=_mlp(block, module, down, mlp, computed, shared),
        parallel=parallel,
    )  # fmt: skip
    _check_kept(block.calls, found)
    return found


def _attention_front(block: BlockCalls, o: str, attended: Step, computed: Step) -> Front:
    x = block.own.x_value
    if found := attention_front(block, o, mlp, x):
        return found
    behind_mlp = x + computed.scale * computed.written.value.reshape(x.shape)
    raise LayoutError(
        f"{block.path}: its MLP comes before its attention; expected attention first, or both side by side."
        if attention_front(block, o, mlp, behind_mlp)
        else f"{block.path}: its attention ({block.attended.path}) does not read the residual stream, nor a norm of it."
    )


def _reads_memory(block: BlockCalls, front: Front) -> bool:
    """Whether a sublayer reads the very tensor that the block reads."""
    own = front.norm or front.entry
    return own in block.inside and same(block.inside[own].x, block.own.x)


def _mlp(block: BlockCalls, module: str, down: str | None, front: Front, step: Step, shared: bool) -> MlpLayout:
    act, branch = _activation(block, module, down)
    up = _up(block, module, front, act, branch, down)
    written = step.written
    writer = down if down is not None and written.writer == written.raw else written.writer
    made = block.inside[writer]
    reused = not torch.equal(made.y.detach(), made.y_value)
    return MlpLayout(
        module, front.norm, front.entry, None if shared else front.reader, writer,
        step.place, step.scale, step.written.gain, step.around, up, down, act, branch, reused,
    )  # fmt: skip


def _activation(block: BlockCalls, module: str, down: str | None) -> tuple[str | None, Branch | None]:
    """The MLP's activation module, and the branch that its output is multiplied by (gated).

    An MLP whose down projection reads neither act(.) nor act(.) * up(.) has no activation in this sense.
    """
    if down is None:
        return None, None
    post = block.inside[down].x_value
    inside = {p: c for p, c in block.inside.items() if p.startswith(f"{module}.") and not _attends(block, p)}
    branches = [(own, own.of(c.y_value)) for p, c in inside.items() for own in _branches(p, c.y_value, post.shape[-1])]
    for path, call in inside.items():
        own = block.model.get_submodule(path)
        if any(True for _ in own.children()) or isinstance(own, nn.Dropout) or call.y.shape[-1] != post.shape[-1]:
            continue
        if any(True for _ in own.parameters()) or same(call.x, call.y):
            continue
        if close(call.y_value, post):
            return path, None
        for branch, value in branches:
            if value.numel() == call.y_value.numel() and close(call.y_value * value.reshape(call.y_value.shape), post):
                return path, branch
    return None, None


def _attends(block: BlockCalls, path: str) -> bool:
    return block.attended.path != block.path and path.startswith(f"{block.attended.path}.")


def _branches(path: str, y: Tensor, d_mlp: int) -> tuple[Branch, ...]:
    """The candidates for a gate's other branch in a module's output: all of it, or either half of a fused one."""
    if y.shape[-1] == d_mlp:
        return (Branch(path),)
    return (Branch(path, 1), Branch(path, 0)) if y.shape[-1] == 2 * d_mlp else ()


def _up(
    block: BlockCalls, module: str, front: Front, act: str | None, branch: Branch | None, down: str | None
) -> str | None:
    """The linear map into the MLP that makes no gate, where it is a module by itself."""
    if branch is not None:
        return branch.path if branch.half is None else None
    if act is None:
        return front.entry if module == block.path and front.entry != block.path else None
    entering = block.inside[act]
    return next(
        (p for p in block.projections(f"{module}.") if p != down and close(block.inside[p].y_value, entering.x_value)),
        None,
    )


def _check_kept(calls: Mapping[str, Call], found: BlockLayout) -> None:
    """What the modules read, where sites are read and patched, stays what it was; those inside others come first."""
    mlp, attn = found.mlp, found.attn
    inner = (mlp.down or mlp.module, attn.o, mlp.entry, mlp.reader, attn.reader, attn.module, found.path)
    check_kept(calls, [path for path in inner if path])


def check_kept(calls: Mapping[str, Call], readers: Sequence[str]) -> None:
    """Raises: LayoutError naming a module whose input is written to in place."""
    for path in readers:
        call = calls[path]
        if call.written or not torch.equal(call.x, call.x_value):
            raise LayoutError(
                f"{path}: what it has read is written to in place{', by itself' if call.written else ''}, so what was there is "
                "lost. Make a new tensor: x = x + y, not x += y."
            )
