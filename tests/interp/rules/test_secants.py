"""Each multiplier of DeepLIFT against its definition: exact over the whole step, and the mean Jacobian by brute force."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from interp.errors import UnsupportedRuleError
from interp.rules.activations import ACTIVATIONS
from interp.rules.attention_secants import between
from interp.rules.rules import recognise_norm
from interp.rules.secants import (
    elementwise_secant,
    gauss_legendre,
    matmul_secant,
    mean_gradient,
    norm_secant,
    product_secant,
    softmax_secant,
)
from tests.interp.rules.float64 import true_float64
from tests.interp.rules.secant_twin import average
from tests.interp.rules.test_rules import draw


@pytest.mark.parametrize("module", [nn.LayerNorm(16), nn.RMSNorm(16, eps=1e-6), LlamaRMSNorm(16), GemmaRMSNorm(16)])
def test_norm(module: nn.Module) -> None:
    with true_float64():
        module = module.double()
        for i, p in enumerate(module.parameters()):
            nn.init.normal_(p, 0.5, generator=torch.Generator().manual_seed(i))
        x, y, g = draw(3, 5, 16), 4 * draw(3, 5, 16, seed=1) + 1, draw(3, 5, 16, seed=2)
        norm = recognise_norm(module, x)
        assert norm is not None
        vjp = norm_secant(norm, module, x, y)
        change = (g * (module(x) - module(y))).sum(-1)
        assert torch.allclose((vjp(g) * (x - y)).sum(-1), change, rtol=1e-10, atol=1e-12)
        assert torch.allclose(vjp(g), norm_secant(norm, module, y, x)(g), rtol=1e-12, atol=1e-14)
        plain = torch.autograd.grad(module(x.requires_grad_()), x, g)[0]
        assert torch.allclose(norm_secant(norm, module, x, x.detach())(g), plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_activation(activation: object) -> None:
    f = activation
    assert callable(f)
    x, y = 3 * draw(400), 3 * draw(400, seed=1)
    slope = elementwise_secant(f, x.float(), y.float()).double()
    x, y = x.float().double(), y.float().double()
    assert torch.allclose(slope * (x - y), f(x) - f(y), rtol=1e-6, atol=1e-7)
    if "relu" not in f.name and "hard" not in f.name:  # type: ignore[attr-defined]
        assert torch.allclose(slope, average(f, [x], [y], torch.ones_like(x))[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4, 1e-6, 1e-7, 0.0])
def test_differences_of_one_rounding_keep_their_slope(scale: float) -> None:
    """In float32, where f(x) - f(y) itself has no correct digit at steps near 1e-7 of x."""
    f = next(a for a in ACTIVATIONS if a.name == "gelu")
    x = 4 * draw(1000).float()
    y = x + scale * x
    with true_float64():
        middle = ((x.double() + y.double()) / 2).requires_grad_()
        want = torch.autograd.grad(f(middle).sum(), middle)[0]
    error = (elementwise_secant(f, x, y).double() - want).abs().max()
    assert float(error) < max(1e-6, 2 * scale**2)


def test_products() -> None:
    a, b, c, d, g = (draw(4, 6, seed=i) for i in range(5))
    for ours, theirs in zip(product_secant(a, b, c, d)(g), average(torch.mul, (a, b), (c, d), g), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10)
    a, c = draw(2, 3, 4, 5), draw(2, 3, 4, 5, seed=1)
    b, d, g = draw(2, 3, 5, 6, seed=2), draw(2, 3, 5, 6, seed=3), draw(2, 3, 4, 6, seed=4)
    for ours, theirs in zip(matmul_secant(a, b, c, d)(g), average(torch.matmul, (a, b), (c, d), g), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize("size", [0.01, 1.0, 10.0, 300.0])
def test_softmax(size: float) -> None:
    x, y, g = size * draw(3, 7), size * draw(3, 7, seed=1), draw(3, 7, seed=2)
    x[:, 5:], y[:, 5:] = torch.finfo(torch.float32).min, torch.finfo(torch.float32).min
    x[0, 4], y[0, 4] = -torch.inf, -torch.inf
    found = softmax_secant(x, y, 8)(g)
    change = (g * (x.softmax(-1) - y.softmax(-1))).sum(-1)
    reached = torch.where(x == y, 0.0, x - y)
    assert torch.allclose((found * reached).sum(-1), change, rtol=1e-8, atol=1e-10)
    assert bool(torch.isfinite(found).all()) and float(found[:, 5:].abs().max()) < 1e-12
    assert torch.allclose(found, softmax_secant(y, x, 8)(g), rtol=1e-8, atol=1e-12)
    if size <= 1:
        want = average(lambda s: s.softmax(-1), [x[:, :4]], [y[:, :4]], g[:, :4])[0]
        own = softmax_secant(x[:, :4], y[:, :4], 8)(g[:, :4])
        assert torch.allclose(own, want, rtol=1e-6, atol=1e-8)


def test_the_gradient_of_a_metric_adds_up_over_the_whole_step() -> None:
    x, y = 20 * draw(3, 9), 20 * draw(3, 9, seed=1)

    def f(z: Tensor) -> Tensor:
        return z.log_softmax(-1)[:, 2]

    found = mean_gradient(f, x, y, 8)
    assert torch.allclose((found * (y - x)).sum(-1), f(y) - f(x), rtol=1e-10)
    assert torch.allclose(
        mean_gradient(lambda z: z[:, 2] - z[:, 4], x, y, 3)[0], torch.eye(9).double()[2] - torch.eye(9)[4]
    )


def test_points_are_exact_for_polynomials() -> None:
    for n in (1, 4, 8):
        for power in range(2 * n):
            assert sum(w * a**power for a, w in gauss_legendre(n)) == pytest.approx(1 / (power + 1), rel=1e-12)


# ---------------------------------------------------------------- attention


def _attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    scores = 5 * torch.tanh(q @ k.mT / 5)
    p = nn.functional.softmax(scores + torch.ones(5, 5).triu(1) * -1e9, dim=-1)
    return (p @ v).transpose(1, 2), p


def _squared(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    p = nn.functional.softmax((q @ k.mT) * q[..., :1], dim=-1)
    return p @ v, p


def _sideways(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    p = nn.functional.softmax(q @ k.mT, dim=2)
    return p @ v, p


def _linear(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return (q @ k.mT) @ v, q


def _gated(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    z, p = _attention(q, k, torch.sigmoid(v))
    return z, p


def _summed_up(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    p = nn.functional.softmax(torch.einsum("bhqd,bhkd->bhqk", [q, k]), dim=-1)
    return p @ v, p


def _by_keyword(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    p = torch.softmax(input=q @ k.mT, dim=-1)
    return p @ v, p


def _qkv(seed: int) -> list[Tensor]:
    return [2 * draw(2, 3, 5, 8, seed=seed + i) for i in range(3)]


def test_attention_is_complete_from_its_inputs() -> None:
    x, y, g = [t.requires_grad_() for t in _qkv(0)], _qkv(7), draw(2, 5, 3, 8, seed=20)
    z, pattern = between(_attention, (y[0], y[1], y[2]), 8)(*x)
    plain, other = _attention(*x), _attention(*y)
    assert torch.equal(z, plain[0]) and torch.equal(pattern, plain[1])
    found = torch.autograd.grad(z, x, g)
    change = float((g * (plain[0] - other[0])).sum())
    total = sum(float((m * (a - b)).sum()) for m, a, b in zip(found, x, y, strict=True))
    assert total == pytest.approx(change, rel=1e-9)


@pytest.mark.parametrize(
    ("native", "why"),
    [
        (_squared, "calls mul on what depends on q, k or v"),
        (_gated, "calls sigmoid on what depends"),
        (_sideways, "softmax over axis 2 of 4"),
        (_linear, "expected a product, a softmax and a product"),
        (_summed_up, "calls einsum on what depends"),
        (_by_keyword, "calls softmax with keywords"),
    ],
)
def test_attention_that_does_something_else_is_refused(native: object, why: str) -> None:
    x, y = [t.requires_grad_() for t in _qkv(0)], _qkv(7)
    with pytest.raises(UnsupportedRuleError, match=why):
        between(native, (y[0], y[1], y[2]), 8)(*x)  # type: ignore[arg-type]


def test_masked_scores_of_half_precision_may_be_infinite_in_one_run() -> None:
    """-65504 + score is -inf below -65520: a mask's, not a score's."""
    g, mask = draw(1, 3), torch.finfo(torch.float16).min
    one, other = (
        torch.tensor([[*row, low]], dtype=torch.float16) for row, low in (((2, 1), -torch.inf), ((1, 2), mask))
    )
    expected = softmax_secant(torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 2.0]]), 8)(g[:, :2])
    for here, there in ((one, other), (other, one)):
        found = softmax_secant(here, there, 8)(g.half())
        assert torch.allclose(found[:, :2].to(expected), expected, rtol=0, atol=1e-3)
        assert found[0, 2] == 0


def test_the_metric_of_a_large_vocabulary_adds_up_in_half_precision() -> None:
    """The squares of its step add up to more than float16 holds."""
    x, y = (20 * draw(2, 20_000, seed=seed).half() for seed in range(2))

    def measure(logits: Tensor) -> Tensor:
        return torch.log_softmax(logits.float(), -1)[:, 5]

    slope = mean_gradient(measure, x, y, 8)
    assert slope.dtype is torch.float16
    change = measure(y) - measure(x)
    assert torch.allclose((slope.float() * (y - x).float()).sum(-1), change, rtol=5e-3, atol=0)
