"""The gradients of norms over a batch or over each example's places, as their definition has them, whatever order in memory they come in."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

#: The order in memory in which channels come last, by the number of axes.
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def attach(stack: ExitStack, model: nn.Module) -> None:
    """Hooks for one run. torch (seen in 2.13, on the CPU) takes the gradient of one example that comes in another order than the numbers for one in
    theirs, and gives wrong gradients without a word: so it is put in order before."""
    for module in model.modules():
        if isinstance(module, (_BatchNorm, _InstanceNorm)):
            stack.callback(module.register_forward_hook(_ordered).remove)


def _ordered(module: nn.Module, args: Any, output: Tensor) -> None:
    if output.requires_grad:
        own = _order(module, args[0])
        output.register_hook(lambda gradient: gradient.contiguous(memory_format=own))  # type: ignore[no-untyped-call]


def _order(module: nn.Module, x: Tensor) -> torch.memory_format:
    """The order that the gradient is needed in: that of the numbers of a BatchNorm; plain for an InstanceNorm."""
    last = _CHANNELS_LAST.get(x.ndim)
    if last is None or isinstance(module, _InstanceNorm) or x.is_contiguous():
        return torch.contiguous_format
    return last if x.is_contiguous(memory_format=last) else torch.contiguous_format
