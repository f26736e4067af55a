"""Rules of linear layers against the sums of their table, written out entry by entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interp.errors import UnsupportedRuleError
from interp.rules.layer_rules import LayerRule, LinearLayer, LinearRule, layer_vjp
from tests.interp.rules.float64 import true_float64

EPS = 1e-6


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense() -> tuple[nn.Module, LinearLayer, tuple[int, ...]]:
    module = nn.Linear(5, 4).double()
    return module, LinearLayer(module.weight.detach(), module.bias.detach(), F.linear), (5,)


def conv(kind: Any, *shape: int, **options: Any) -> tuple[nn.Module, LinearLayer, tuple[int, ...]]:
    module = kind(2, 3, 3, **options).double()
    bias = None if module.bias is None else module.bias.detach()
    return module, LinearLayer(module.weight.detach(), bias, module._conv_forward), (2, *shape)


LAYERS: dict[str, Callable[[], tuple[nn.Module, LinearLayer, tuple[int, ...]]]] = {
    "dense": dense,
    "conv1d": lambda: conv(nn.Conv1d, 5, padding=1),
    "conv2d": lambda: conv(nn.Conv2d, 3, 3, padding=1, stride=2),
    "conv3d": lambda: conv(nn.Conv3d, 3, 3, 3),
    "circular, no bias": lambda: conv(nn.Conv2d, 3, 3, padding=1, padding_mode="circular", bias=False),
}


def weights(module: nn.Module, shape: tuple[int, ...], ones: bool) -> tuple[np.ndarray, np.ndarray]:
    """w [output input] and b [output] of a layer, from what it makes of unit vectors; `ones`: of all its weights 1, and no bias."""
    n = int(np.prod(shape))
    with torch.no_grad():
        kept = {name: p.clone() for name, p in module.named_parameters()}
        if ones:
            for p in module.parameters():
                p.fill_(1.0 if p.ndim > 1 else 0.0)
        b = module(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
        w = torch.stack(
            [module(torch.eye(n, dtype=torch.float64)[i].view(1, *shape)).flatten() - b for i in range(n)], 1
        )
        for name, p in module.named_parameters():
            p.copy_(kept[name])
    return w.numpy(), b.numpy()


def s(z: float) -> float:
    return z + (-EPS if z < 0 else EPS)


def slow(rule: LayerRule, module: nn.Module, x: np.ndarray, R: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """R_i of one example, each term of each sum by itself."""
    w, b = weights(module, shape, ones=rule.name == "flat")
    found = np.zeros(len(x))
    for j in range(len(R)):
        z = [x[i] * w[j, i] for i in range(len(x))]
        if rule.name == "epsilon":
            total = sum(z) + b[j]
            found += [one / s(total) * R[j] for one in z]
        elif rule.name == "alpha-beta":
            positive, negative = [max(one, 0.0) for one in z], [min(one, 0.0) for one in z]
            up, down = sum(positive) + max(b[j], 0.0), sum(negative) + min(b[j], 0.0)
            found += [
                (rule.alpha * p / s(up) - rule.beta * m / s(down)) * R[j]
                for p, m in zip(positive, negative, strict=True)
            ]
        elif rule.name == "gamma":
            sign = 1 if sum(z) + b[j] > 0 else -1
            favoured = [one * (1 + rule.gamma * (one * sign > 0)) for one in z]
            total = sum(favoured) + b[j] * (1 + rule.gamma * (b[j] * sign > 0))
            found += [one / s(total) * R[j] for one in favoured]
        elif rule.name == "box":
            boxed = [z[i] - rule.low * max(w[j, i], 0) - rule.high * min(w[j, i], 0) for i in range(len(x))]
            found += [one / s(sum(boxed)) * R[j] for one in boxed]
        elif rule.name == "flat":
            found += [w[j, i] / s(sum(w[j])) * R[j] for i in range(len(x))]
    return found


RULES = (
    LayerRule("epsilon"),
    LayerRule("alpha-beta"),
    LayerRule("alpha-beta", alpha=2.0, beta=1.0),
    LayerRule("gamma", gamma=0.5),
    LayerRule("box", low=-4.0, high=5.0),
    LayerRule("flat"),
)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_every_rule_is_its_sums(name: str, rule: LayerRule) -> None:
    torch.manual_seed(0)
    module, layer, shape = LAYERS[name]()
    x = draw(2, *shape).clamp(-4, 5)
    x[0].view(-1)[0] = 0.0
    with true_float64():
        z = module(x).detach()
        coefficient = draw(*z.shape, seed=1)
        arrived = layer_vjp(rule, layer, x)(coefficient)
    found = LinearRule(first=rule).relevance(x, arrived)
    for i in range(2):
        expected = slow(rule, module, x[i].flatten().numpy(), (z[i] * coefficient[i]).flatten().numpy(), shape)
        assert np.allclose(found[i].flatten().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_what_goes_in_comes_out_without_biases() -> None:
    """Sum of R_i = sum of R_j: up to epsilon, and of alpha-beta where both signs are there."""
    module, layer, shape = LAYERS["circular, no bias"]()
    x = draw(3, *shape).clamp(-4, 5)
    with true_float64():
        z = module(x).detach()
        coefficient = draw(*z.shape, seed=1)
        for rule in RULES:
            arrived = layer_vjp(rule, layer, x)(coefficient)
            total = LinearRule(first=rule).relevance(x, arrived).sum()
            assert float(total) == pytest.approx(float((z * coefficient).sum()), rel=1e-4)


def test_epsilon_of_0_is_the_gradient_also_where_an_output_is_0() -> None:
    layer = LinearLayer(torch.tensor([[1.0, -1.0], [2.0, 1.0]]), None, F.linear)
    x, g = torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 5.0]])
    assert torch.equal(layer_vjp(LayerRule("epsilon", epsilon=0.0), layer, x)(g), g @ layer.weight)
    assert torch.equal(layer_vjp(LayerRule(), layer, x)(g), g @ layer.weight)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LayerRule("zplus"), "unknown rule of a linear layer 'zplus'"),  # type: ignore[arg-type]
        (lambda: LayerRule("alpha-beta", alpha=2.0), "alpha - beta = 1"),
        (lambda: LayerRule("epsilon", gamma=0.5), "rule 'epsilon' has epsilon; given gamma=0.5"),
        (lambda: LayerRule("gamma", gamma=-1.0), "0 or more"),
        (lambda: LayerRule("epsilon", epsilon=float("nan")), "expected a number"),
        (lambda: LayerRule("box", low=1.0, high=2.0), "low < high with 0 between"),
        (lambda: LinearRule(conv=LayerRule("flat")), "belongs to first="),
        (lambda: LinearRule(conv="epsilon"), "expected a LayerRule"),  # type: ignore[arg-type]
    ],
)
def test_numbers_that_a_rule_cannot_have_are_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UnsupportedRuleError, match=said):
        make()


def test_an_input_outside_of_the_box_is_refused() -> None:
    _, layer, _ = LAYERS["dense"]()
    with pytest.raises(UnsupportedRuleError, match=r"goes from -1 to 2; give the box"):
        layer_vjp(LayerRule("box"), layer, torch.tensor([[-1.0, 0, 0, 0, 2]], dtype=torch.float64))
