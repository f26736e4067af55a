"""The activation of an MLP, what its output is multiplied by, and the linear map beside it, by what they compute on the probe."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from interp.model.modules.tensors import close
from interp.model.probing.block_calls import BlockCalls, reads, same
from interp.model.probing.fronts import Front
from interp.parts.block_layout import Branch


def activation(seen: Sequence[BlockCalls], module: str, down: str | None) -> tuple[str | None, Branch | None]:
    """The MLP's activation module, and the branch that its output is multiplied by (gated): what another module of it makes, or what its
    module is called with beside the stream.

    An MLP whose down projection reads neither act(.) nor act(.) * up(.) has no activation in this sense.
    """
    if down is None:
        return None, None
    block = seen[0]
    post = block.inside[down].x_value
    within = {p: c for p, c in block.inside.items() if p.startswith(f"{module}.")}
    inside = {p: c for p, c in within.items() if not any(_attends(view, p) for view in seen)}
    branches = [(own, own.of(c.y_value)) for p, c in inside.items() for own in _branches(p, c.y_value, post.shape[-1])]
    beside = block.calls[module].beside.items()
    branches += [(Branch(module, given=at, width=value.shape[-1]), value) for at, value in beside]
    for path, call in inside.items():
        own = block.model.get_submodule(path)
        if any(True for _ in own.children()) or isinstance(own, nn.Dropout) or call.y.shape[-1] != post.shape[-1]:
            continue
        if any(True for _ in own.parameters()) or same(call.x, call.y):
            continue
        if _is(call.y_value, post):
            return path, None
        for branch, value in ((own_branch, value) for own_branch, value in branches if own_branch.path != path):
            if value.numel() == call.y_value.numel() and _is(call.y_value, post, value):
                return path, branch
    return None, None


def gate_of_given(seen: Sequence[BlockCalls], module: str, down: str | None) -> str | None:
    """Of an MLP that is gated by what it is called with beside the stream, and that does not depend on the stream, the linear map that the
    activation reads; None of others."""
    act, branch = activation(seen, module, down)
    if act is None or branch is None or branch.given is None:
        return None
    block, whole = seen[0], seen[0].calls[module]
    for path in block.projections(f"{module}."):
        call = block.inside[path]
        if path == down or not close(call.y_value, block.inside[act].x_value):
            continue
        read = [call, *(block.inside[norm] for norm in (block.feeder(call),) if norm)]
        alone = module == block.path or any(reads(own, whole.x_value) for own in read)
        return path if alone and not whole.beside[branch.given].requires_grad else None
    return None


def _is(x: Tensor, post: Tensor, factor: Tensor | None = None) -> bool:
    """Whether `post` is x, times a factor where one is given, to rounding, entry by entry."""
    if x.numel() != post.numel():
        return False
    wide, found = post.double().flatten(), x.double().flatten()
    found = found if factor is None else found * factor.double().flatten()
    return bool(((found - wide).abs() <= 8 * torch.finfo(post.dtype).eps * wide.abs()).all())


def _attends(block: BlockCalls, path: str) -> bool:
    return any(own != block.path and path.startswith(f"{own}.") for own in block.mixing)


def _branches(path: str, y: Tensor, d_mlp: int) -> tuple[Branch, ...]:
    """The candidates for a gate's other branch in a module's output: all of it, or either half of a fused one."""
    if y.shape[-1] == d_mlp:
        return (Branch(path),)
    return (Branch(path, 1), Branch(path, 0)) if y.shape[-1] == 2 * d_mlp else ()


def linear_up(
    block: BlockCalls, module: str, front: Front, act: str | None, branch: Branch | None, down: str | None
) -> str | None:
    """The linear map into the MLP that makes no gate, where it is a module by itself."""
    if branch is not None:
        return branch.path if branch.half is None and branch.given is None else None
    if act is None:
        inside = [] if down is None else [p for p in block.projections(f"{module}.") if p not in (down, *block.mixing)]
        single = front.entry if module == block.path and front.entry != block.path else None
        return inside[0] if module != block.path and len(inside) == 1 else single
    entering = block.inside[act]
    return next(
        (p for p in block.projections(f"{module}.") if p != down and close(block.inside[p].y_value, entering.x_value)),
        None,
    )
