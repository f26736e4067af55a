"""A forward value with another backward pass: the one mechanism behind every propagation rule.

The value comes back as a tensor of its own and not as a view, so that a model may write into it in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

VJP = Callable[[Tensor], Tensor]
VJP2 = Callable[[Tensor], tuple[Tensor, Tensor]]


class _Surrogate(torch.autograd.Function):
    """Forward: the given value, untouched. Backward to `x`: the given function of the incoming gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, vjp: VJP) -> Tensor:
        ctx.vjp = vjp
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:
        return ctx.vjp(grads[0]), None, None


def surrogate(x: Tensor, value: Tensor, vjp: VJP) -> Tensor:
    """`value`, bit for bit, whose gradient with respect to `x` is `vjp(grad)`."""
    return _Surrogate.apply(x, value.detach(), vjp)  # type: ignore[no-any-return,no-untyped-call]


class _Surrogate2(torch.autograd.Function):
    """The same for a value that is made of two tensors."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, value: Tensor, vjp: VJP2) -> Tensor:
        ctx.vjp = vjp
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None, None]:
        return *ctx.vjp(grads[0]), None, None


def surrogate2(a: Tensor, b: Tensor, value: Tensor, vjp: VJP2) -> Tensor:
    """`value`, bit for bit, whose gradients with respect to `a` and `b` are the two of `vjp(grad)`."""
    return _Surrogate2.apply(a, b, value.detach(), vjp)  # type: ignore[no-any-return,no-untyped-call]


def is_surrogate(x: Tensor) -> bool:
    """Whether a tensor is what one of the functions above gave."""
    return getattr(x.grad_fn, "_forward_cls", None) in (_Surrogate, _Surrogate2)


def scale_gradient(x: Tensor, c: float) -> Tensor:
    """`x`, bit for bit, with its gradient multiplied by `c`; 1 leaves it as it is, 0 detaches it."""
    if c == 1.0:
        return x
    if c == 0.0:
        return x.detach()
    return surrogate(x, x, lambda grad: grad * c)
