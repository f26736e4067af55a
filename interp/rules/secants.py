"""The multipliers of DeepLIFT: of each operation the Jacobian averaged over the straight line between its inputs in two runs.

Such an average J has  J (x - x') = f(x) - f(x'), so contributions (x - x') . m of the parts of any cut through a model add
up to the change of what is measured (Shrikumar et al. 2017: summation to delta, here for every operation of a transformer).
With a bar for the mean of both runs, delta for their difference:

| operation | multiplier | exact |
| --- | --- | --- |
| linear | its weight | yes |
| elementwise f | delta f / delta x; f'(x-bar) where delta x is nearly 0 | yes |
| product a b | b-bar for a, a-bar for b | yes |
| norm y = w c r, c = x - mean(x), r = (mean(c^2) + eps)^(-1/2) | product and elementwise rules for c, c^2 and r | yes |
| softmax | mean of its Jacobian at Gauss-Legendre points | to rounding, after the correction below |

All are symmetric in the two runs. Sizes compare with the operand: nothing here is told by an absolute distance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from interp.precision import wide
from interp.rules.activations import Activation
from interp.rules.rules import Norm
from interp.rules.surrogate import VJP, VJP2

#: Below this step, relative to the operand, an elementwise secant is the derivative between its ends: in float64 both
#: are then right to 1e-10.
NEAR: Final = 1e-6
#: A softmax whose scores, or a metric whose logits, move by less is averaged to rounding by its points alone.
FAR: Final = 1.0


def _finite(scores: Tensor) -> Tensor:
    """Scores in float32 or better. Masks of half precision add its least number, and a sum may pass that: to -inf in one run,
    which no line leads to from the other."""
    found = wide(scores)
    return found if found is scores else found.clamp_min(torch.finfo(scores.dtype).min)


def norm_middle(norm: Norm, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Where the VJP of a norm is the average of its Jacobian between `x` and `other` [..., d]: 1 / sigma and the normed point, what is normed
    together along the last axis.

    1 / sigma is the mean of the two, r and s; the point is c-bar times their harmonic mean. It follows from the rules of the
    table with  delta r / delta mean(c^2) = -r^2 s^2 / (r + s).
    """
    r, s = norm.inverse_sigma(x), norm.inverse_sigma(other)
    middle = norm.apart(((x.detach() + other) / 2).to(r.dtype))
    centre = middle - middle.mean(-1, keepdim=True) if norm.centred else middle
    return (r + s) / 2, centre * (2 * r * s / (r + s))


def norm_secant(norm: Norm, module: nn.Module, x: Tensor, other: Tensor) -> VJP:
    """Between `x` and `other` [..., d]: the VJP of the norm at their `norm_middle`."""
    (inverse_sigma, normed), weight = norm_middle(norm, x, other), norm.weight(module)

    def vjp(grad: Tensor) -> Tensor:
        g = norm.apart(grad.to(normed.dtype) * weight) * inverse_sigma
        g = g - g.mean(-1, keepdim=True) if norm.centred else g
        return (g - normed * (g * normed).mean(-1, keepdim=True)).reshape(grad.shape).to(grad.dtype)

    return vjp


def elementwise_secant(f: Callable[[Tensor], Tensor], x: Tensor, other: Tensor) -> Tensor:
    """(f(x) - f(other)) / (x - other), or f' between them where they are nearly one; shape and dtype of `x`."""
    a, b = x.detach().double(), other.double()
    step = a - b
    near = step.abs() <= NEAR * torch.maximum(a.abs(), b.abs())
    found = (f(a) - f(b)) / step
    if bool(near.any()):
        with torch.enable_grad():
            middle = ((a + b) / 2)[near].requires_grad_()
            (slope,) = torch.autograd.grad(f(middle).sum(), middle)
        found[near] = slope
    return found.to(wide(x).dtype)


def activation_secant(activation: Activation, x: Tensor, other: Tensor) -> VJP:
    """Between `x` and `other` (any shape): g -> g (f(x) - f(other)) / (x - other)."""
    coefficient = elementwise_secant(activation, x, other)
    return lambda grad: (grad * coefficient).to(grad.dtype)


def product_secant(a: Tensor, b: Tensor, other_a: Tensor, other_b: Tensor) -> VJP2:
    """Of a * b, elementwise: g -> (g b-bar, g a-bar)."""
    mean_a, mean_b = (a.detach() + other_a) / 2, (b.detach() + other_b) / 2
    return lambda grad: (grad * mean_b, grad * mean_a)


def matmul_secant(a: Tensor, b: Tensor, other_a: Tensor, other_b: Tensor) -> VJP2:
    """Of a @ b [... n k] [... k m]: g -> (g b-bar^T, a-bar^T g)."""
    mean_a, mean_b = (a.detach() + other_a) / 2, (b.detach() + other_b) / 2

    def vjp(grad: Tensor) -> tuple[Tensor, Tensor]:
        return (grad @ mean_b.mT).sum_to_size(a.shape), (mean_a.mT @ grad).sum_to_size(b.shape)

    return vjp


def softmax_secant(scores: Tensor, other: Tensor, points: int) -> VJP:
    """Of softmax over the last axis between `scores` and `other` [..., k]: the mean of its VJP at Gauss-Legendre points.

    Where scores move far the points are too few for rounding. The mean J is then corrected along the step d alone, as in
    Broyden's update, so that J d is the change of the softmax: J + (delta p - J d) d^T / (d . d).
    """
    here, there = _finite(scores.detach()), _finite(other)

    def vjp(grad: Tensor) -> Tensor:
        step = torch.where(here == there, 0.0, there - here)
        g, found = grad.to(here.dtype), torch.zeros_like(here)
        moved = torch.zeros_like(here)
        p0, p1 = torch.softmax(here, -1), torch.softmax(there, -1)
        reached = p0 + p1 > 0
        d = _centred(step, reached)
        for alpha, weight in gauss_legendre(points):
            p = torch.softmax(here + alpha * step, -1)
            found.add_(p * (g - (g * p).sum(-1, keepdim=True)), alpha=weight)
            moved.add_(p * (d - (d * p).sum(-1, keepdim=True)), alpha=weight)
        missing = (g * (p1 - p0 - moved)).sum(-1, keepdim=True)
        far = d.abs().amax(-1, keepdim=True) > FAR
        size = d.square().sum(-1, keepdim=True)
        found.add_(torch.where(far, d * (missing / size.clamp_min(FAR**2)), 0.0))
        return found.to(scores.dtype)

    return vjp


def mean_gradient(f: Callable[[Tensor], Tensor], x: Tensor, other: Tensor, points: int) -> Tensor:
    """The gradient of f [batch] averaged over the line between `x` and `other` [batch ...], corrected as a softmax is."""
    here, there = wide(x), wide(other)
    step, found = there - here, torch.zeros_like(here)
    for alpha, weight in gauss_legendre(points):
        with torch.enable_grad():
            point = (here + alpha * step).requires_grad_()
            (gradient,) = torch.autograd.grad(f(point).sum(), point)
        found.add_(gradient, alpha=weight)
    dims = tuple(range(1, x.ndim))
    missing = f(there) - f(here) - (found * step).sum(dims)
    far = step.abs().amax(dims) > FAR
    along = torch.where(far, missing / step.square().sum(dims).clamp_min(FAR**2), 0.0)
    return (found + step * along.view(-1, *(1 for _ in dims))).to(x.dtype)


def _centred(step: Tensor, reached: Tensor) -> Tensor:
    """The step of the scores that count, less its mean over them: softmax does not see what is added to all."""
    step = torch.where(reached, step, 0.0)
    mean = step.sum(-1, keepdim=True) / reached.sum(-1, keepdim=True)
    return torch.where(reached, step - mean, 0.0)


def gauss_legendre(n: int) -> list[tuple[float, float]]:
    """(point, weight) on [0, 1]: exact for polynomials of degree 2 n - 1."""
    points, weights = np.polynomial.legendre.leggauss(n)
    return [(float(0.5 * (x + 1)), float(0.5 * w)) for x, w in zip(points, weights, strict=True)]
