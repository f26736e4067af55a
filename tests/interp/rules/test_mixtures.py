"""Rules function by function against closed forms: what is held constant, what counts as an activation, and what nothing comes back through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.activations import ACT2FN

from interp.errors import UnsupportedRuleError
from interp.rules.activations import recognise_activation
from interp.rules.mixtures import Mixtures
from interp.rules.rules import CP_LRP, GIM, RELP, Rules
from tests.interp.rules.float64 import true_float64
from tests.interp.rules.test_rules import draw

W, V, U = draw(6, 6, seed=1), draw(6, 6, seed=2), draw(6, 3, seed=3)


def back(f: Callable[[Tensor], Tensor], rules: Rules = RELP, x: Tensor | None = None) -> Tensor:
    """What comes back to x [5 6] under `rules` for a random gradient; the value is that of the plain call, bit for bit."""
    x = (draw(5, 6) if x is None else x).requires_grad_()
    mode = Mixtures(rules)
    mode.enter("here", x)
    y = f(x)
    mode.leave(y)
    assert torch.equal(y, f(x))
    return torch.autograd.grad(y, x, draw(*y.shape, seed=9))[0]


def same(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-12, atol=1e-14)


def g(*shape: int) -> Tensor:
    return draw(*shape, seed=9)


def route(x: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [5 2] that sum to one of the two best of three, and which they are."""
    best, which = (x @ U).softmax(-1).topk(2)
    best /= best.sum(-1, keepdim=True)
    return best, which


@pytest.mark.parametrize("rules", [RELP, CP_LRP, GIM], ids=["relp", "cp-lrp", "gim"])
@pytest.mark.parametrize(
    "weight",
    [
        lambda x: route(x)[0][:, :1],
        lambda x: torch.sigmoid(x @ U)[:, 1:2],
        lambda x: (x @ U)[:, :1],
        lambda x: torch.topk(x @ U, 2)[0].softmax(-1)[:, 1, None].expand(5, 6),
        lambda x: torch.sigmoid(x @ U)[:, 1, None].expand(5, 6),
        lambda x: x.pow(2).mean(-1, keepdim=True).add(1e-6).rsqrt(),
        lambda x: 1 / (1 + x.abs().sum(-1, keepdim=True)),
    ],
    ids=["softmax", "sigmoid", "linear", "expanded softmax", "expanded sigmoid", "norm", "reciprocal"],
)
def test_one_number_for_each_position_is_held(weight: Callable[[Tensor], Tensor], rules: Rules) -> None:
    held = weight(draw(5, 6))
    assert same(back(lambda x: weight(x) * (x @ W), rules), held * g(5, 6) @ W.T)
    assert same(back(lambda x: (x * weight(x)) @ W, rules), held * (g(5, 6) @ W.T))


@pytest.mark.parametrize("rules", [RELP, CP_LRP, GIM], ids=["relp", "cp-lrp", "gim"])
def test_a_divisor_and_weights_of_matrix_products_are_held(rules: Rules) -> None:
    total, experts = route(draw(5, 6))[0].sum(-1, keepdim=True), torch.stack([W, V, W - V])
    assert same(back(lambda x: (x @ W) / route(x)[0].sum(-1, keepdim=True), rules), g(5, 6) @ W.T / total)
    for weights in (lambda x: (x @ U).softmax(-1), lambda x: torch.sigmoid(x @ U) * 3):
        held = torch.einsum("te,eij,tj->ti", weights(draw(5, 6)), experts, g(5, 6))

        def summed(x: Tensor, weights: Any = weights) -> Tensor:
            return torch.einsum("te,tej->tj", weights(x), torch.einsum("ti,eij->tej", x, experts))

        def multiplied(x: Tensor, weights: Any = weights) -> Tensor:
            return (weights(x)[:, None] @ torch.einsum("ti,eij->tej", x, experts))[:, 0]

        assert same(back(summed, rules), held) and same(back(multiplied, rules), held)


WRITTEN_OUT: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": lambda x: x * torch.sigmoid(x),
    "quick_gelu": lambda x: torch.sigmoid(1.702 * x) * x,
    "gelu": lambda x: x * 0.5 * (1.0 + torch.erf(x / 2**0.5)),
    "gelu_tanh": lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * torch.pow(x, 3)))),
    "relu_squared": lambda x: F.relu(x).square(),
    "relu": lambda x: x.clamp(min=0),
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_activations_written_out_have_the_coefficient_of_the_module(name: str) -> None:
    """The coefficient is f(x) / x, and what comes back its product with the gradient."""
    f, x = WRITTEN_OUT[name], draw(5, 6)
    assert same(back(lambda x: f(x @ W) @ V), (g(5, 6) @ V.T * f(x @ W) / (x @ W)) @ W.T)
    assert same(back(f, GIM), torch.autograd.grad(f(x.requires_grad_()), x, g(5, 6))[0])


@pytest.mark.parametrize(
    "name", ["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "relu2", "tanh", "gelu_python"]
)
def test_activation_modules_have_their_own_coefficient(name: str) -> None:
    with true_float64():
        module = ACT2FN[name]
        known = recognise_activation(module, torch.device("cpu"))
        assert known is not None
        assert torch.allclose(back(module), known.coefficient(draw(5, 6)) * g(5, 6), rtol=1e-9, atol=1e-12)


def test_the_clamped_gate_of_gpt_oss() -> None:
    """Limits have the coefficient min(x, c) / x; (1 + up) glu is glu, which is linear, and up glu, which is shared: nothing goes to the 1."""

    def f(x: Tensor) -> Tensor:
        gate, up = (x @ W).clamp(min=None, max=0.4), (x @ V).clamp(min=-0.3, max=0.3)
        return (up + 1) * (gate * torch.sigmoid(gate * 1.702))

    a, b = draw(5, 6) @ W, draw(5, 6) @ V
    gate, up = a.clamp(max=0.4), b.clamp(-0.3, 0.3)
    assert bool((a > 0.4).any()) and bool((b < -0.3).any())
    glu = gate * torch.sigmoid(1.702 * gate)
    expected = (g(5, 6) * (1 + up / 2) * glu / a) @ W.T + (g(5, 6) * glu * up / b / 2) @ V.T
    assert same(back(f), expected)
    assert same((draw(5, 6) * back(f)).sum(), (f(draw(5, 6)) * g(5, 6)).sum())


@pytest.mark.parametrize(
    ("write", "one"),
    [
        (lambda a, b: (1 + b) * F.silu(a), 1.0),
        (lambda a, b: F.silu(a).mul_(b.add(1)), 1.0),
        (lambda a, b: (1 - b) * F.silu(a), 1.0),
        (lambda a, b: torch.rsub(2 * (b + 1.5), 5) * F.silu(a), 2.0),
        (lambda a, b: torch.sub(-b, 0.25, alpha=2) * F.silu(a), -0.5),
        (lambda a, b: (b + g(5, 6)) * F.silu(a), 0.0),  # a tensor takes its share, as a bias does
    ],
)
def test_a_number_in_a_gated_product_is_no_factor(write: Callable[[Tensor, Tensor], Tensor], one: float) -> None:
    a, b = draw(5, 6) @ W, draw(5, 6) @ V
    other = (write(a, b) / F.silu(a)).detach()
    found = back(lambda x: write(x @ W, x @ V))
    slope = torch.autograd.grad(write(a.detach(), own := b.detach().requires_grad_()), own, g(5, 6))[0]
    expected = (g(5, 6) * (other + one) / 2 * torch.sigmoid(a)) @ W.T + (slope / 2) @ V.T
    assert same(found, expected)


@pytest.mark.parametrize(
    "write",
    [lambda a, b: F.silu(a) * b, lambda a, b: b * F.silu(a), lambda a, b: torch.mul(F.silu(a), other=b)],
)
def test_gated_products(write: Callable[[Tensor, Tensor], Tensor]) -> None:
    x = draw(5, 6)
    a, b, grad = x @ W, x @ V, g(5, 6)
    s = torch.sigmoid(a)
    slope = s * (1 + a * (1 - s))
    found = {name: back(lambda x: write(x @ W, x @ V), rules) for name, rules in (("relp", RELP), ("gim", GIM))}
    assert same(found["relp"], (grad * b * s / 2) @ W.T + (grad * a * s / 2) @ V.T)
    assert same(found["gim"], (grad * b * slope / 2) @ W.T + (grad * a * s / 2) @ V.T)
    assert same(back(lambda x: write(x @ W, x @ V), CP_LRP), (grad * a * s) @ V.T)


def test_a_product_in_place() -> None:
    x = draw(5, 6)
    a, b, s = x @ W, x @ V, torch.sigmoid(x @ W)
    expected = (g(5, 6) * b * s / 2) @ W.T + (g(5, 6) * a * s / 2) @ V.T
    assert same(back(lambda x: F.silu(x @ W).mul_(x @ V)), expected)
    with pytest.raises(UnsupportedRuleError, match="neither factor"):
        back(lambda x: F.silu(x @ W).mul_(x @ V), CP_LRP)


class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * 3


@torch.jit.script
def _scripted(x: Tensor) -> Tensor:
    return x.exp()


SCRIPTED: Any = _scripted
REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "a gate without f(0) = 0": (lambda x: torch.sigmoid(x @ W) * (x @ V), "sigmoid"),
    "an unknown activation": (lambda x: F.elu(x @ W) @ V, "elu"),
    "a softmax in the stream": (lambda x: x + (x @ W).softmax(-1) @ V, "softmax"),
    "a product of matrices": (lambda x: (x @ W) @ (x.T @ x), "matmul"),
    "a backward pass of its own": (lambda x: Own.apply(x @ W) @ V, "OwnBackward"),
    "what torch does not show": (lambda x: SCRIPTED(x @ W) @ V, ".*Backward0, which no call"),
    "the same at the very end": (lambda x: Own.apply(x @ W), "OwnBackward"),
    "an activation in place": (lambda x: F.silu(x @ W, inplace=True), "silu"),
    "a limit without 0": (lambda x: (x @ W).clamp(min=0.2), "clamp"),
    "a quotient": (lambda x: (x @ W) / (x @ V), "div"),
    "a sum of exponentials": (lambda x: x * (x @ W).exp(), "exp"),
    "a function with a gate inside": (lambda x: F.glu(torch.cat((x @ W, x @ V), -1)), "glu"),
    "the largest": (lambda x: torch.maximum(x @ W, x @ V), "maximum"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_rule_is_refused_and_named(case: str) -> None:
    f, name = REFUSED[case]
    with pytest.raises(UnsupportedRuleError, match=rf"here: a gradient comes back through {name}"):
        back(f)


def test_what_has_no_rule_is_fine_where_nothing_comes_back() -> None:
    assert same(back(lambda x: x @ W + 0 * (x @ V).detach().exp()), g(5, 6) @ W.T)
    assert same(
        back(lambda x: torch.where((x @ W).exp() > 1, x, -x)), torch.where(draw(5, 6) @ W > 0, 1.0, -1.0) * g(5, 6)
    )


def test_what_is_given_may_come_from_anywhere() -> None:
    x = draw(5, 6).requires_grad_()
    assert same(back(F.silu, x=draw(5, 6)) * 3, _through(Own.apply(x), x))


def _through(given: Tensor, x: Tensor) -> Tensor:
    mode = Mixtures(RELP)
    mode.enter("here", given)
    y = F.silu(given / 2)
    mode.leave(y)
    return torch.autograd.grad(y, x, g(5, 6))[0] * 2


def test_the_mode_ends_and_what_it_knew_with_it() -> None:
    mode, x = Mixtures(RELP), draw(5, 6).requires_grad_()
    mode.enter("here", x)
    F.silu(x)
    mode.leave()
    mode.leave()
    assert not mode.marks
    y = F.silu(x)
    assert same(torch.autograd.grad(y.sum(), x)[0], torch.autograd.grad(F.silu(x).sum(), x)[0])
    assert type(y.grad_fn).__name__ == "SiluBackward0"
