"""Operations that are not linear in what gradients reach are seen, each by name; those that are linear are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from interp.rules.nonlinear import MATRIX_PRODUCT, PRODUCT, QUOTIENT, Nonlinear

CONSTANT = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) + 0.5


def names_in(code: Callable[[Tensor], Any]) -> list[str]:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with torch.enable_grad(), Nonlinear(lambda: None) as seen:
        code(x * 2)
    return [operation.name for operation in seen.found]


class _Gated(torch.autograd.Function):
    """A product that autograd is told of by its own formula."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0], grads[0]


def _written(x: Tensor) -> Tensor:
    out = torch.zeros(4, 6)
    out[:2].copy_(x[:2])
    return out.index_add_(0, torch.tensor([3]), x[:1])


def _in_place(x: Tensor) -> Tensor:
    y = x.clone()
    return y.mul_(x)


@pytest.mark.parametrize(
    "code",
    [
        lambda x: x + CONSTANT - x.mean(-1, keepdim=True),
        lambda x: CONSTANT * x / CONSTANT,
        lambda x: (x @ CONSTANT.T, CONSTANT.T @ x, F.linear(x, CONSTANT), torch.einsum("ij,kj->ik", x, CONSTANT)),
        lambda x: torch.addmm(x, CONSTANT, CONSTANT.T @ CONSTANT),
        lambda x: torch.cat([x[:, ::2], -x.flip(-1)], dim=-1).view(2, -1).transpose(0, 1).contiguous(),
        lambda x: x.masked_fill(CONSTANT > 1, 0.0).where(CONSTANT > 0.7, x.cumsum(-1)).double(),
        lambda x: F.dropout(x, 0.5, training=False),
        lambda x: x.detach().sigmoid() * x,
        lambda x: bool(torch.isinf(x).any()),
        _written,
    ],
)
def test_what_is_linear_is_passed_over(code: Callable[[Tensor], Any]) -> None:
    assert names_in(code) == []


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (lambda x: x * x.roll(1), [PRODUCT]),
        (lambda x: x * x, [PRODUCT]),
        (_in_place, [PRODUCT]),
        (lambda x: torch.addcmul(CONSTANT, x, x), [PRODUCT]),
        (lambda x: x @ x.T, [MATRIX_PRODUCT]),
        (lambda x: torch.einsum("ij,kj->ik", x, x), [MATRIX_PRODUCT]),
        (lambda x: torch.addmm(CONSTANT[:, :4], x, x.T), [MATRIX_PRODUCT]),
        (lambda x: CONSTANT / x, [QUOTIENT]),
        (lambda x: x**2, ["pow"]),
        (lambda x: torch.sigmoid(x), ["sigmoid"]),
        (lambda x: F.silu(x) * CONSTANT, ["silu"]),
        (lambda x: x.softmax(-1), ["softmax"]),
        (lambda x: F.layer_norm(x, (6,)), ["native_layer_norm"]),
        (lambda x: x.clamp(-1, 1), ["clamp"]),
        (lambda x: x.topk(2).values, ["topk"]),
        (lambda x: torch.lerp(CONSTANT, x, 0.5), ["lerp"]),  # linear, but nobody has said so
        (lambda x: _Gated.apply(x, x.roll(1)), ["mul without its gradient"]),
    ],
)
def test_what_is_not_linear_is_named(code: Callable[[Tensor], Any], names: list[str]) -> None:
    assert names_in(code) == names


def test_it_changes_nothing_and_says_where() -> None:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
    place = ["a"]
    with Nonlinear(lambda: place[0]) as seen:
        y = F.silu(x)
        place[0] = "b"
        z = y * x
    assert torch.equal(z, F.silu(x) * x)
    assert torch.equal(torch.autograd.grad(z.sum(), x)[0], torch.autograd.grad((F.silu(x) * x).sum(), x)[0])
    assert [(one.where, one.name) for one in seen.found] == [("a", "silu"), ("b", PRODUCT)]
    assert seen.found[0].value is None and seen.found[1].value is not None and torch.equal(seen.found[1].value, z)
