"""Known activations f, what a module computes of them, and the coefficient f(x) / x of the identity rule.

| f | f(x) / x |
| --- | --- |
| SiLU, quick GELU, GELU (exact, tanh), hard swish | its gate: sigmoid(x), sigmoid(1.702 x), Phi(x), ... |
| ReLU, leaky ReLU, ReLU squared, ReLU6, a clamp around 0 | 1 or the slope within the range, bound / x beyond it |
| tanh, ELU | f(x) / x, and f'(0) = 1 (ELU: alpha) at 0 |
| sigmoid, hard sigmoid | none: f(0) is not 0, so f(x) / x has a pole there; `gradient` and secants take them |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interp.rules.surrogate import VJP

_TANH_GELU = math.sqrt(2 / math.pi)


@dataclass(frozen=True)
class Activation:
    """A known activation f and its coefficient c(x) with f(x) = c(x) x, finite everywhere; where f(0) is not 0 there is none, and `value` is f."""

    name: str
    coefficient: Callable[[Tensor], Tensor] | None
    value: Callable[[Tensor], Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if self.value is not None or self.coefficient is None:
            return self.value(x) if self.value is not None else x
        return self.coefficient(x) * x

    @property
    def pole(self) -> bool:
        """Whether f(x) / x has a pole at 0."""
        return self.coefficient is None


def _gelu(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def _gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(_TANH_GELU * (x + 0.044715 * x**3)))


def _quick_gelu(x: Tensor) -> Tensor:
    return torch.sigmoid(1.702 * x)


def _relu(x: Tensor) -> Tensor:
    return (x > 0).to(x.dtype)


def _relu_squared(x: Tensor) -> Tensor:
    return x * (x > 0)


def _tanh(x: Tensor) -> Tensor:
    return _over(torch.tanh, x, 1.0)


def _hard_swish(x: Tensor) -> Tensor:
    return F.relu6(x + 3) / 6


def _relu6(x: Tensor) -> Tensor:
    return _clamped(0.0, 6.0, x)


def _leaky(slope: float, x: Tensor) -> Tensor:
    return torch.where(x > 0, torch.ones_like(x), slope)


def _elu(alpha: float, x: Tensor) -> Tensor:
    return _over(lambda y: torch.where(y > 0, y, alpha * torch.expm1(y.clamp(max=0))), x, alpha)


def _clamped(low: float, high: float, x: Tensor) -> Tensor:
    return _over(lambda y: y.clamp(low, high), x, 1.0)


def _over(f: Callable[[Tensor], Tensor], x: Tensor, slope: float) -> Tensor:
    """f(x) / x, and its limit at 0."""
    return torch.where(x == 0, slope, f(x) / torch.where(x == 0, 1.0, x)).to(x.dtype)


#: Functions with names, so that a model that holds them can be pickled.
ACTIVATIONS: Final = (
    Activation("silu", torch.sigmoid),
    Activation("gelu", _gelu),
    Activation("gelu_tanh", _gelu_tanh),
    Activation("quick_gelu", _quick_gelu),
    Activation("relu", _relu),
    Activation("relu_squared", _relu_squared),
    Activation("tanh", _tanh),
    Activation("hard_swish", _hard_swish),
    Activation("relu6", _relu6),
    Activation("sigmoid", None, torch.sigmoid),
    Activation("hard_sigmoid", None, F.hardsigmoid),
)


def module_value(module: nn.Module, x: Tensor) -> Tensor | None:
    """What `module` makes of `x` alone; None where it needs more than that, changes the shape, or fails in any way."""
    try:
        with torch.no_grad():
            y = module(x.clone())
    except Exception:  # a module of somebody else may raise anything
        return None
    return y if isinstance(y, Tensor) and y.shape == x.shape and y.is_floating_point() else None


def recognise_activation(module: nn.Module, device: torch.device) -> Activation | None:
    """The activation that `module` computes on [-8, 8], or None.

    Compared in float64 (a module without parameters takes any dtype), so that GELU and its tanh form stay apart.
    """
    x = torch.linspace(-8, 8, 801, dtype=torch.float64, device=device)
    y = module_value(module, x[None, None])
    if y is None:
        return None
    known = (*ACTIVATIONS, *_with_numbers(module))
    errors = [((f(x) - y[0, 0]).abs() / (1 + x.abs())).max().item() for f in known]
    best = min(range(len(errors)), key=errors.__getitem__)
    return known[best] if errors[best] <= 1e-5 else None


def _with_numbers(module: nn.Module) -> Iterator[Activation]:
    """The activations that a module may be by the numbers that its class holds."""
    if isinstance(module, nn.LeakyReLU):
        yield Activation("leaky_relu", partial(_leaky, float(module.negative_slope)))
    if isinstance(module, nn.ELU):
        yield Activation("elu", partial(_elu, float(module.alpha)))
    if isinstance(module, nn.Hardtanh) and module.min_val <= 0 <= module.max_val:
        yield Activation("hardtanh", partial(_clamped, float(module.min_val), float(module.max_val)))


def identity_rule(activation: Activation, x: Tensor) -> VJP:
    """Backward of the identity rule at `x` (any shape): g -> (f(x) / x) g. Raises: ValueError for one with a pole, which coverage refuses."""
    if activation.coefficient is None:
        raise ValueError(f"f(x) / x of {activation.name} has a pole")
    coefficient = activation.coefficient(x.detach())
    return lambda grad: grad * coefficient
