"""Two marks on autograd's tape: where a writer writes, and where readers read. What lies between them is done outside of autograd.

A token of one number goes from mark to mark. A read takes the token of the last write and a write makes a new one, so that
going back a write comes after every read that saw it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _Written(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, token: Tensor, value: Tensor, gradient: Callable[[], Tensor]) -> Tensor:
        ctx.gradient = gradient
        return token.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None]:
        return grads[0], ctx.gradient(), None


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, token: Tensor, value: Tensor, take: Callable[[Tensor], None]) -> Tensor:
        ctx.take = take
        ctx.like = token
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:
        ctx.take(grads[0])
        return torch.zeros_like(ctx.like), None, None


def written(token: Tensor, value: Tensor, gradient: Callable[[], Tensor]) -> Tensor:
    """The token behind a write of `value`, whose gradient is what `gradient()` gives once every later read went back."""
    return _Written.apply(token, value, gradient)  # type: ignore[no-any-return,no-untyped-call]


def read(token: Tensor, value: Tensor, take: Callable[[Tensor], None]) -> Tensor:
    """`value`, bit for bit, whose gradient goes to `take`."""
    return _Read.apply(token, value, take)  # type: ignore[no-any-return,no-untyped-call]
