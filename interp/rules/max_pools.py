"""Max pooling between two runs: which place won in each, and what of the change of an output goes to which.

The change of an output y = max x goes to one place: with M the larger of both runs' outputs, M - y_other to the winner of this run where
that is the larger, y - M to the winner of the other run where its is. Divided by how far that place moved, which is as far at
least, it is a multiplier between 0 and 1, and contributions (x - x') . m add up to y - y' exactly. (Shrikumar et al. 2017 state the sum; of
two pools one behind the other captum 0.9 breaks it.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interp.rules.surrogate import VJP

MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)


def pooled(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a max pooling makes of `x` [batch channel ...], and the winners: for each output a place in the flattened axes behind the channel."""
    axes = next(n for n, kind in enumerate(MAX_POOLS) if isinstance(module, kind)) % 3
    with torch.no_grad():
        if isinstance(module, MAX_POOLS[3:]):
            adaptive: Callable[..., tuple[Tensor, Tensor]] = (
                F.adaptive_max_pool1d,
                F.adaptive_max_pool2d,
                F.adaptive_max_pool3d,
            )[axes]
            return adaptive(x, module.output_size, return_indices=True)
        plain: Callable[..., tuple[Tensor, Tensor]] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes]
        size = module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode
        return plain(x, *size, return_indices=True)


def max_pool_secant(module: nn.Module, x: Tensor, other: Tensor) -> VJP:
    """Between `x` and `other` [batch channel ...]: the multiplier of each output goes to the winner of the run whose output is larger, times the
    output's change over that place's change; where both are the same place that did not move, it is the gradient."""
    (y, own), (y_other, others) = pooled(module, x.detach()), pooled(module, other)
    flat, flat_other, shape = x.detach().flatten(2), other.flatten(2), own.shape
    own, others = own.flatten(2), others.flatten(2)
    change = (y - y_other).flatten(2)
    winner = torch.where(change >= 0, own, others)
    moved = flat.gather(2, winner) - flat_other.gather(2, winner)
    still = (change == 0) & (own == others) & (moved == 0)
    share = torch.where(moved == 0, still.to(x.dtype), change / torch.where(moved == 0, 1.0, moved))

    def vjp(grad: Tensor) -> Tensor:
        given = (grad.reshape(shape).flatten(2) * share).to(grad.dtype)
        return torch.zeros_like(flat, dtype=grad.dtype).scatter_add(2, winner, given).reshape(x.shape)

    return vjp
