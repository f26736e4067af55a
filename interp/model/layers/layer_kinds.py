"""Torch's own modules that are linear in what they read, or take a maximum; and a convolution or dense layer as a function of its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interp.rules.layer_rules import LinearLayer
from interp.rules.max_pools import MAX_POOLS

CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
#: Linear, or affine, by their definition, whatever their weights.
_AFFINE: Final = (
    *CONVOLUTIONS, *_TRANSPOSED, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d, nn.Flatten, nn.Unflatten, nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, nn.PixelShuffle,
    nn.PixelUnshuffle, nn.ChannelShuffle, nn.Fold, nn.Unfold, nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d,
    nn.ConstantPad2d, nn.ConstantPad3d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d, nn.ReplicationPad1d,
    nn.ReplicationPad2d, nn.ReplicationPad3d, nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d, nn.Dropout, nn.Dropout1d,
    nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
)  # fmt: skip
BATCH_NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
#: Modules that read [batch channel ...], of which three axes are no steps of a sequence.
CHANNELS_FIRST: Final = (
    *CONVOLUTIONS,
    *_TRANSPOSED,
    *BATCH_NORMS,
    *MAX_POOLS,
    nn.GroupNorm,
    nn.AvgPool1d,
    nn.AdaptiveAvgPool1d,
)


@dataclass(frozen=True)
class Layer:
    """A convolution (`conv`) or dense layer. `first`: it reads the net's input. `folded`: the BatchNorm that alone reads what it makes."""

    conv: bool
    first: bool = False
    folded: str | None = None


def is_of(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module computes what one of these classes does: of that class, or a subclass with its forward."""
    return "forward" not in vars(module) and any(
        isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds
    )


def is_affine(module: nn.Module) -> bool:
    """Whether a module of torch is affine in what it reads: also a BatchNorm with statistics of its own, which is one factor and one summand
    for each channel."""
    return is_of(module, _AFFINE) or is_batch_norm(module)


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module is a BatchNorm that uses the statistics which it has learned."""
    return is_of(module, BATCH_NORMS) and not module.training and module.running_mean is not None


def is_max_pool(module: nn.Module) -> bool:
    """Whether a module gives the largest of the numbers in each window, and nothing else."""
    return is_of(module, MAX_POOLS) and not module.return_indices


def is_transposed(module: nn.Module) -> bool:
    """Whether a module is a transposed convolution."""
    return is_of(module, _TRANSPOSED)


def has_weights(module: nn.Module) -> bool:
    """Whether a module is a convolution or a dense layer, as a function of its weights."""
    return is_of(module, (*CONVOLUTIONS, nn.Linear))


def linear_layer(model: nn.Module, path: str, own: Layer) -> LinearLayer:
    """The layer at `path`, with the BatchNorm behind it folded into its weights; the model keeps its own."""
    module: Any = model.get_submodule(path)
    weight, bias = module.weight.detach(), None if module.bias is None else module.bias.detach()
    apply: Callable[..., Tensor] = module._conv_forward if own.conv else F.linear
    if own.folded is None:
        return LinearLayer(weight, bias, apply)
    factor, summand = affine_of(model.get_submodule(own.folded))
    wide = factor.view(-1, *[1] * (weight.ndim - 1))
    bias = summand if bias is None else factor * bias + summand
    return LinearLayer(weight * wide, bias, apply, factor.view(-1, *[1] * (weight.ndim - 2)))


def affine_of(norm: Any) -> tuple[Tensor, Tensor]:
    """Factor and summand [channel] of a BatchNorm in evaluation."""
    factor = torch.rsqrt(norm.running_var + norm.eps)
    factor = factor if norm.weight is None else factor * norm.weight.detach()
    summand = -factor * norm.running_mean
    return factor, summand if norm.bias is None else summand + norm.bias.detach()
