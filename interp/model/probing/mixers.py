"""Sublayers that mix positions without attention, such as recurrences, linear attention and convolutions: known by what they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from interp.model.probing.block_calls import has_matrix, passes
from interp.model.probing.probe import Attended, Call


def mixing(model: nn.Module, path: str, calls: Mapping[str, Call]) -> Iterator[Attended]:
    """What may stand for attention in the block at `path`, which has none: modules with weights and an output of the stream's size
    [1 pos d_model] that depends, at some position, on what it reads at another; outer ones first, and of these what is called first."""
    size, order = calls[path].x.numel(), list(calls)
    inside = [own for own in calls if own.startswith(f"{path}.")]
    for own in sorted(inside, key=lambda name: name.count(".")):
        call = calls[own]
        if call.y.numel() != size or passes(call) or not has_matrix(model.get_submodule(own)):
            continue
        before, behind = _reach(call, calls[path].x.shape[-1])
        if before or behind:
            yield Attended(own, order.index(own) + 1, 0, 0, call.y, behind)


def mixes_positions(call: Call, width: int) -> bool:
    """Whether the output of a module of the stream's size [1 pos width] depends, at some position, on what it reads at another."""
    return any(_reach(call, width))


def position_wise(path: str, calls: Mapping[str, Call]) -> bool:
    """Whether what the module at `path` makes at a position depends on what it reads there alone; False where that cannot be told, in a
    forward without gradients."""
    call = calls[path]
    if not (call.y.requires_grad and call.x.requires_grad) or call.y.numel() != call.x.numel():
        return False
    return not any(_reach(call, call.x.shape[-1]))


def _reach(call: Call, width: int) -> tuple[bool, bool]:
    """Whether the output of a module depends on earlier positions of what it reads, at the last one, and on later ones, at the first."""
    if not (call.y.requires_grad and call.x.requires_grad) or call.x.numel() % width:
        return False, False
    y = call.y.reshape(1, -1, width)
    if call.x.shape[:-1].numel() != y.shape[1] or y.shape[1] < 2:
        return False, False
    return _depends(y[:, -1], call.x, slice(None, -1)), _depends(y[:, 0], call.x, slice(1, None))


def _depends(y: Tensor, x: Tensor, positions: slice) -> bool:
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32).to(y)
    (slope,) = torch.autograd.grad((y * weights).sum(), [x], retain_graph=True, allow_unused=True)
    return slope is not None and bool(slope.reshape(1, -1, x.shape[-1])[:, positions].any())
