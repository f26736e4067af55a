"""Relevance through one linear layer (convolution, dense), by other rules than the layer's own gradient.

With z_ij = x_i w_ij, s(z) = z + eps sign(z), sign(0) = 1, and R_j the relevance of output j, which is its value times its coefficient:

| rule | R_i |
| --- | --- |
| `gradient` | x_i sum_j w_ij R_j / z_j: the 0-rule, with the plain gradient |
| `epsilon` | x_i sum_j w_ij R_j / s(z_j), z_j with its bias |
| `alpha-beta` | sum_j (alpha z+_ij / s(z+_j) - beta z-_ij / s(z-_j)) R_j; z+ of (x+ w+, x- w-, b+), z- of (x+ w-, x- w+, b-); alpha - beta = 1 |
| `gamma` | w + gamma w+ on x+ and w + gamma w- on x- where z_j > 0, the two exchanged where z_j < 0, with the bias b + gamma b+ or b + gamma b- |
| `box` | x_i w_ij - low w+_ij - high w-_ij, over its sum without bias |
| `flat` | equal shares, over the inputs that an output reads |

The forward pass is the layer's own. What goes back through it is a coefficient, R_i / x_i, as everywhere; only `box` and `flat`, which give
relevance to inputs that are 0, send R_i itself, and belong to the layers that read the net's input.

Sources: Bach et al. 2015 (epsilon, alpha-beta), Montavon et al. 2017 (box), Montavon et al. 2019 (gamma, composites), Lapuschkin et al. 2019 (flat),
Andeol et al. 2021 (gamma for inputs of both signs).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final, Literal

import torch
from torch import Tensor

from interp.errors import UnsupportedRuleError, unknown
from interp.rules.surrogate import VJP

Name = Literal["gradient", "epsilon", "alpha-beta", "gamma", "box", "flat"]
#: The numbers that each rule has; the others of a `LayerRule` keep their defaults.
_NUMBERS: Final = {
    "gradient": (),
    "epsilon": ("epsilon",),
    "alpha-beta": ("epsilon", "alpha", "beta"),
    "gamma": ("epsilon", "gamma"),
    "box": ("epsilon", "low", "high"),
    "flat": ("epsilon",),
}


@dataclass(frozen=True)
class LayerRule:
    """A rule of the table of this module with its numbers: `epsilon` in the units of the layer's output, `alpha` - `beta` = 1, `gamma` >= 0,
    `low` < `high` the box that the net's input is in.

    Raises: UnsupportedRuleError for another name, and for numbers that the rule does not have or that cannot be.
    """

    name: Name = "gradient"
    epsilon: float = 1e-6
    alpha: float = 1.0
    beta: float = 0.0
    gamma: float = 0.25
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in _NUMBERS:
            raise UnsupportedRuleError(unknown("rule of a linear layer", self.name, _NUMBERS))
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "name"}
        if odd := [
            k
            for k, v in given.items()
            if isinstance(v, bool) or not isinstance(v, (int, float)) or not math.isfinite(v)
        ]:
            raise UnsupportedRuleError(f"{odd[0]}={given[odd[0]]!r} of rule {self.name!r}: expected a number.")
        own = _NUMBERS[self.name]
        if odd := [
            f.name for f in fields(self) if f.name in given and f.name not in own and given[f.name] != f.default
        ]:
            raise UnsupportedRuleError(
                f"rule {self.name!r} has {', '.join(own) or 'no numbers'}; given {odd[0]}={given[odd[0]]!r}."
            )
        if (
            self.epsilon < 0
            or self.gamma < 0
            or self.alpha < 1
            or self.beta < 0
            or abs(self.alpha - self.beta - 1) > 1e-12
        ):
            raise UnsupportedRuleError(
                f"{self}: expected epsilon and gamma of 0 or more, alpha - beta = 1 and beta of 0 or more."
            )
        if self.low >= self.high or self.low > 0 or self.high < 0:
            raise UnsupportedRuleError(f"{self}: expected low < high with 0 between them.")

    @property
    def direct(self) -> bool:
        """Whether it sends relevance back, and no coefficient."""
        return self.name in ("box", "flat")

    def __str__(self) -> str:
        numbers = ", ".join(
            f"{name} {getattr(self, name):g}" for name in _NUMBERS[self.name] if name != "epsilon" or self.name == name
        )
        return f"{self.name} ({numbers})" if numbers else self.name


@dataclass(frozen=True)
class LinearRule:
    """Rules of linear layers by their kind: `conv` of convolutions, `dense` of dense layers and of the candidates in recurrent ones, `first` of
    the former two, of either kind, that read the net's input (None: as the others). Other linear maps (poolings by mean, resizing, a BatchNorm that is not folded) keep their gradient.

    Raises: UnsupportedRuleError for values that are no `LayerRule`, and for `box` and `flat` elsewhere than at `first`.
    """

    conv: LayerRule = LayerRule()
    dense: LayerRule = LayerRule()
    first: LayerRule | None = None

    def __post_init__(self) -> None:
        for own in (self.conv, self.dense, *(() if self.first is None else (self.first,))):
            if not isinstance(own, LayerRule):
                raise UnsupportedRuleError(f"rule of a linear layer {own!r:.80}: expected a LayerRule.")
        if odd := [own for own in (self.conv, self.dense) if own.direct]:
            raise UnsupportedRuleError(
                f"rule {odd[0].name!r} shares out what inputs that are 0 get too, so it belongs to first=."
            )

    @property
    def direct(self) -> bool:
        """Whether what arrives at the net's input is its relevance itself, and not a coefficient."""
        return self.first is not None and self.first.direct

    def relevance(self, x: Tensor, arrived: Tensor) -> Tensor:
        """The relevance of the input `x`, of what arrived there in the backward pass."""
        return arrived if self.direct else x * arrived

    def of(self, conv: bool, first: bool) -> LayerRule:
        """The rule of one layer."""
        return self.first if first and self.first is not None else self.conv if conv else self.dense

    def __str__(self) -> str:
        shown = {"conv": self.conv, "dense": self.dense} | ({} if self.first is None else {"first": self.first})
        return ", ".join(f"{name} {rule}" for name, rule in shown.items())


#: Every linear layer keeps its gradient.
PLAIN: Final = LinearRule()


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer as a function of its weights: `apply(x, weight, bias)` is its output. Where a BatchNorm behind it is folded, weight and bias are
    those of both, and `scale` is its factor of each output channel, in the shape of an output without its batch."""

    weight: Tensor
    bias: Tensor | None
    apply: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    scale: Tensor | None = None

    def arrived(self, grad: Tensor) -> Tensor:
        """The coefficient of the folded output, of that of the layer's own: where the factor is 0 nothing comes from there."""
        return grad if self.scale is None else torch.where(self.scale == 0, 0.0, grad / self.scale)

    def output(self, x: Tensor) -> Tensor:
        """z, with bias."""
        with torch.no_grad():
            return self.apply(x, self.weight, self.bias)

    def part(self, x: Tensor, sign: int, bias: bool = True) -> Tensor:
        """What the positive (`sign` 1) or negative (-1) weights, and as much of the bias, make of `x`."""
        own = self.bias if bias else None
        with torch.no_grad():
            return self.apply(x, signed(self.weight, sign), None if own is None else signed(own, sign))

    def back(self, x: Tensor, weight: Tensor, grad: Tensor) -> Tensor:
        """`grad` times the transposed layer of these weights, in the shape of `x`."""
        with torch.enable_grad():
            leaf = torch.zeros_like(x).requires_grad_()
            (found,) = torch.autograd.grad(self.apply(leaf, weight, None), leaf, grad)
        return found


def signed(x: Tensor, sign: int) -> Tensor:
    """x+ (`sign` 1) or x- (-1), 0 elsewhere."""
    return x.clamp(min=0) if sign > 0 else x.clamp(max=0)


def layer_vjp(rule: LayerRule, layer: LinearLayer, x: Tensor) -> VJP:
    """Backward of `rule` at the input `x` of a layer, [batch ...]: coefficients of its output -> those of `x`, or (`direct`) its relevance.

    Raises: UnsupportedRuleError for an input outside of the box.
    """
    x = x.detach()
    if rule.name == "box" and not bool(((x >= rule.low) & (x <= rule.high)).all()):
        raise UnsupportedRuleError(
            f"rule {rule}: the input goes from {float(x.min()):g} to {float(x.max()):g}; give the box that it is in: "
            "interp.epsilon_gamma_box(low, high)."
        )
    back = _RULES[rule.name]

    def vjp(grad: Tensor) -> Tensor:
        coefficient = layer.arrived(grad)
        return back(rule, layer, x, layer.output(x), coefficient).to(grad.dtype)

    return vjp


def _stable(z: Tensor, epsilon: float) -> Tensor:
    return torch.where(z < 0, z - epsilon, z + epsilon)


def _shares(z: Tensor, denominator: Tensor, coefficient: Tensor, epsilon: float) -> Tensor:
    """R_j / s(denominator): 0 where both are 0, which only an epsilon of 0 lets be."""
    stable = _stable(denominator, epsilon)
    return torch.where(stable == 0, 0.0, z * coefficient / torch.where(stable == 0, 1.0, stable))


def _epsilon(rule: LayerRule, layer: LinearLayer, x: Tensor, z: Tensor, coefficient: Tensor) -> Tensor:
    if rule.epsilon == 0:  # z / z is 1, also where z is 0
        return layer.back(x, layer.weight, coefficient)
    return layer.back(x, layer.weight, _shares(z, z, coefficient, rule.epsilon))


def _alpha_beta(rule: LayerRule, layer: LinearLayer, x: Tensor, z: Tensor, coefficient: Tensor) -> Tensor:
    found = torch.zeros_like(x)
    for factor, sign in ((rule.alpha, 1), (-rule.beta, -1)):
        if not factor:
            continue
        denominator = layer.part(signed(x, 1), sign) + layer.part(signed(x, -1), -sign, bias=False)
        shares = factor * _shares(z, denominator, coefficient, rule.epsilon)
        for own in (1, -1):
            found += torch.where(x * own > 0, layer.back(x, signed(layer.weight, own * sign), shares), 0.0)
    return found


def _gamma(rule: LayerRule, layer: LinearLayer, x: Tensor, z: Tensor, coefficient: Tensor) -> Tensor:
    found = torch.zeros_like(x)
    for sign in (1, -1):
        denominator = layer.output(x)
        denominator = denominator + rule.gamma * (
            layer.part(signed(x, 1), sign) + layer.part(signed(x, -1), -sign, bias=False)
        )
        shares = torch.where(z * sign > 0, _shares(z, denominator, coefficient, rule.epsilon), 0.0)
        for own in (1, -1):
            weight = layer.weight + rule.gamma * signed(layer.weight, own * sign)
            found += torch.where(x * own > 0, layer.back(x, weight, shares), 0.0)
    return found


def _box(rule: LayerRule, layer: LinearLayer, x: Tensor, z: Tensor, coefficient: Tensor) -> Tensor:
    low, high = torch.full_like(x, rule.low), torch.full_like(x, rule.high)
    with torch.no_grad():
        denominator = layer.apply(x, layer.weight, None)
    denominator = denominator - layer.part(low, 1, bias=False) - layer.part(high, -1, bias=False)
    shares = _shares(z, denominator, coefficient, rule.epsilon)
    back = (layer.back(x, w, shares) for w in (layer.weight, signed(layer.weight, 1), signed(layer.weight, -1)))
    own, positive, negative = back
    return x * own - low * positive - high * negative


def _flat(rule: LayerRule, layer: LinearLayer, x: Tensor, z: Tensor, coefficient: Tensor) -> Tensor:
    ones = torch.ones_like(layer.weight)
    with torch.no_grad():
        counts = layer.apply(torch.ones_like(x), ones, None)
    return layer.back(x, ones, _shares(z, counts, coefficient, rule.epsilon))


def _plain(rule: LayerRule, layer: LinearLayer, x: Tensor, z: Tensor, coefficient: Tensor) -> Tensor:
    return layer.back(x, layer.weight, coefficient)


_RULES: Final = {
    "gradient": _plain,
    "epsilon": _epsilon,
    "alpha-beta": _alpha_beta,
    "gamma": _gamma,
    "box": _box,
    "flat": _flat,
}
