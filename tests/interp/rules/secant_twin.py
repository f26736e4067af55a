"""The slow twin of DeepLIFT: every operation's Jacobian averaged over the line between its inputs in two runs, by brute force.

Nothing here knows a formula of a multiplier: an operation is a function, and its Jacobian is averaged over many points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.interp.rules.twin import Twin

POINTS = 200


class _Averaged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, f: Callable[..., Tensor], others: tuple[Tensor, ...], *xs: Tensor) -> Tensor:
        ctx.f, ctx.others = f, others
        ctx.save_for_backward(*xs)
        return f(*xs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, None, *average(ctx.f, ctx.saved_tensors, ctx.others, grads[0])


def average(f: Callable[..., Tensor], xs: Any, others: Any, g: Tensor) -> list[Tensor]:
    """g times the mean Jacobian of f on the straight line from `xs` to `others`, all inputs moving together."""
    total = [torch.zeros_like(x) for x in xs]
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    for alpha, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        with torch.enable_grad():
            at = [
                torch.where(x == y, x, x + alpha * (y - x)).detach().requires_grad_()
                for x, y in zip(xs, others, strict=True)
            ]
            for own, found in zip(total, torch.autograd.grad(f(*at), at, g), strict=True):
                own.add_(found, alpha=float(weight))
    return total


@dataclass
class SecantTwin(Twin):
    """A twin that averages toward another run, whose operands are `other` (`seen` of its twin); without it a plain one."""

    other: Mapping[str, tuple[Tensor, ...]] | None = None
    seen: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)

    def op(self, name: str, f: Callable[..., Tensor], *xs: Tensor) -> Tensor:
        self.seen[name] = tuple(x.detach() for x in xs)
        return f(*xs) if self.other is None else _Averaged.apply(f, self.other[name], *xs)  # type: ignore[no-any-return,no-untyped-call]

    def act(self, name: str, x: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
        return self.op(name, f, x)

    def product(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        return self.op(name, torch.mul, a, b)

    def norm(self, name: str, x: Tensor, w: Tensor, b: Tensor | None, eps: float) -> Tensor:
        x = x if b is None else x - x.mean(-1, keepdim=True)
        variance = self.op(f"{name} square", torch.square, x).mean(-1, keepdim=True)
        r = self.op(f"{name} sigma", lambda v: 1 / torch.sqrt(v + eps), variance)
        y = w * self.op(f"{name} scale", torch.mul, x, r)
        return y if b is None else y + b

    def attention(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = self.tap(f"q.{layer}", q), self.tap(f"k.{layer}", k), self.tap(f"v.{layer}", v)
        groups = q.shape[2] // k.shape[2]
        k, v = k.repeat_interleave(groups, 2), v.repeat_interleave(groups, 2)
        scores = self.op(f"scores.{layer}", lambda a, b: torch.einsum("bqhd,bkhd->bhqk", a, b), q, k)
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = (scores / math.sqrt(q.shape[-1])).masked_fill(future, -math.inf)
        pattern = self.op(f"pattern.{layer}", lambda s: s.softmax(-1), scores)
        z = self.op(f"mixed.{layer}", lambda p, x: torch.einsum("bhqk,bkhd->bqhd", p, x), pattern, v)
        return self.tap(f"z.{layer}", z)
