"""One order for circuits of every size: its shares, its slopes, and what it finds where no effect of a single part says anything."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from interp.attribution.masks.orders import _along, by_place, learned_order, shares, sizes_of, turn_of
from interp.attribution.masks.searches import Search
from interp.rules.rules import GRADIENT
from tests.interp.attribution.on_masks.analytic import Analytic, backed_up


@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("n", [1, 7, 50, 99])
def test_shares_sum_to_the_size_and_keep_the_order(spread: float, n: int) -> None:
    theta = spread * torch.randn(100, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    found = shares(theta, n, 0.5)
    assert abs(float(found.sum()) - n) < 1e-6 and ((found >= 0) & (found <= 1)).all()
    assert (found[torch.argsort(theta)].diff() >= 0).all()


def test_slopes_for_theta_are_those_of_the_metric_while_the_size_stays() -> None:
    """Against differences: theta moved by a little, the shares of the same sum made anew."""
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(12, generator=generator, dtype=torch.float64)
    weights = torch.randn(12, generator=generator, dtype=torch.float64)

    def metric(theta: Tensor) -> float:
        return float((weights * shares(theta, 4, 0.5) ** 2).sum())

    share = shares(theta, 4, 0.5)
    found = _along(share, 2 * weights * share, 0.5)
    step = 1e-5 * torch.eye(12, dtype=torch.float64)
    slow = [(metric(theta + d) - metric(theta - d)) / 2e-5 for d in step]
    assert torch.allclose(found, torch.tensor(slow, dtype=torch.float64), rtol=0, atol=1e-7)
    assert abs(float(found.sum())) < 1e-12  # the same added to every theta changes no share


def test_places_are_scores_from_one_to_zero() -> None:
    found = by_place(torch.tensor([0.5, 3.0, 3.0, -1.0]))
    assert found.argsort(descending=True, stable=True).tolist() == [1, 2, 0, 3]
    assert found[1] == 1 and found[3] == 0 and by_place(torch.tensor([2.0])).tolist() == [1.0]


@pytest.mark.parametrize("n", [1, 2, 5, 25, 1701, 32_491])
def test_sizes_are_some_of_the_parts(n: int) -> None:
    found = sizes_of(n)
    assert found == sorted(set(found), reverse=True) and all(1 <= size < n for size in found)
    assert len(found) == 10 or n < 400


@pytest.mark.parametrize("sizes", [1, 2, 3, 5, 8, 10])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_every_size_meets_every_turn_of_the_pairs(sizes: int, turns: int) -> None:
    met = {(k % sizes, turn_of(k, sizes, turns)) for k in range(sizes * turns)}
    assert met == {(size, turn) for size in range(sizes) for turn in range(turns)}


@pytest.mark.parametrize(("turns", "rounds"), [(1, 90), (3, 40)])
def test_an_order_has_a_whole_chain_first_where_no_part_has_an_effect_alone(turns: int, rounds: int) -> None:
    """Two chains stand in for each other, so every effect of a part of either is 0, exact ones too, and 48 others come first in a
    ranking. A learned order has one whole chain before everything else."""
    functions = [backed_up(2, 2)] * 6
    masked = Analytic(functions, 100, turn=[i % turns for i in range(6)])
    search = Search(masked)  # type: ignore[arg-type]
    _, effects = search.slopes(torch.ones(100, dtype=torch.float64), GRADIENT)
    assert (effects[:4].abs() < 1e-12).all() and int((effects > 0.005).sum()) == 48
    found = learned_order(search, effects, rounds, GRADIENT)
    first = set(found.argsort(descending=True)[:2].tolist())
    assert first in ({0, 1}, {2, 3})


def test_turns_see_their_own_pairs_and_cost_what_all_cost() -> None:
    """A part that matters for the pairs of one turn alone is found as well; every step runs the pairs of one turn."""
    functions = [lambda m: m[0] + m[2], lambda m: m[0] + m[2], lambda m: m[1] + m[2], lambda m: m[1] + m[2]]
    masked = Analytic(functions, 40, turn=[0, 0, 1, 1])
    search = Search(masked)  # type: ignore[arg-type]
    start = torch.linspace(0, 1, 40, dtype=torch.float64)  # the three last of all
    search.prepare()
    masked.asked.clear()
    found = learned_order(search, start, 40, GRADIENT)
    assert len(masked.asked) == 80
    assert set(found.argsort(descending=True)[:3].tolist()) == {0, 1, 2} and int(found.argmax()) == 2


def test_circuits_are_as_near_as_their_metrics_say() -> None:
    """The mean of max(0, 1 - |1 - f|) of the first 1, 2 and 4 of an order of eight: f = 3 / 4, 3 / 2 and 7 / 4."""
    values = torch.tensor([3.0, 3.0, 0.0, 1.0, -1.0, -2.0, 0.0, 0.0], dtype=torch.float64)
    search = Search(Analytic([lambda m: m @ values], 8))  # type: ignore[arg-type]
    order = torch.linspace(1, 0, 8, dtype=torch.float64)
    assert search.sizes((1 / 8, 1 / 4, 1 / 2)) == [1, 2, 4]
    assert search.fit(order, (1 / 8, 1 / 4, 1 / 2)) == pytest.approx((3 / 4 + 1 / 2 + 1 / 4) / 3)
