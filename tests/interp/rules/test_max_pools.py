"""Max pooling between two runs: contributions add up, each to a winner."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from interp.rules.max_pools import max_pool_secant, pooled


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


POOLS = (
    (nn.MaxPool1d(2), (3, 8)),
    (nn.MaxPool2d(3, stride=1, padding=1), (2, 5, 5)),
    (nn.MaxPool2d(2, dilation=2, ceil_mode=True), (2, 7, 6)),
    (nn.MaxPool3d(2), (1, 4, 4, 4)),
    (nn.AdaptiveMaxPool1d(3), (2, 7)),
    (nn.AdaptiveMaxPool2d((2, 3)), (2, 5, 7)),
    (nn.AdaptiveMaxPool3d(2), (1, 3, 3, 3)),
)


@pytest.mark.parametrize(("module", "shape"), POOLS, ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "")
def test_contributions_add_up_and_both_runs_say_the_same(module: nn.Module, shape: tuple[int, ...]) -> None:
    x, other = draw(2, *shape), draw(2, *shape, seed=1)
    g = draw(*module(x).shape, seed=2)
    m = max_pool_secant(module, x, other)(g)
    for i in range(2):
        gap = ((x - other) * m)[i].sum() - (g * (module(x) - module(other)))[i].sum()
        assert abs(float(gap)) < 1e-12
    assert torch.allclose(m, max_pool_secant(module, other, x)(g), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("module", "shape"), POOLS, ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "")
def test_a_run_toward_itself_is_the_gradient(module: nn.Module, shape: tuple[int, ...]) -> None:
    x = draw(2, *shape).requires_grad_()
    y = module(x)
    g = draw(*y.shape, seed=2)
    (expected,) = torch.autograd.grad(y, x, g)
    assert torch.equal(pooled(module, x)[0], y.detach())
    assert torch.allclose(max_pool_secant(module, x, x.detach())(g), expected, rtol=1e-12, atol=1e-14)


def test_by_hand_where_the_winner_changes() -> None:
    """max(2, 1) = 2 and max(0, 3) = 3: the change, -1, is the other run's winner's, which moved by -2: 1/2."""
    x, other = torch.tensor([[[2.0, 1.0]]]), torch.tensor([[[0.0, 3.0]]])
    m = max_pool_secant(nn.MaxPool1d(2), x, other)(torch.ones(1, 1, 1))
    assert m.tolist() == [[[0.0, 0.5]]]
