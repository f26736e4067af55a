"""The pieces of method `auto`: the sample, what it says of the estimates, and the budget."""

from __future__ import annotations

import numpy as np
import pytest

from interp.attribution.auto.blend import EVERY, blend
from interp.attribution.auto.budget import FIRST, Budget, Cost, Draws, Meter, largest, parse_budget
from interp.attribution.auto.calibration import FLOOR, SMALL, choose, left_out_error, pilot, slope, strata
from interp.errors import MethodError
from interp.parts.nodes import Node

# ---------------------------------------------------------------- calibration


def test_a_slope_is_least_squares_with_one_more_average_part_of_slope_one() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 30):
        e, x = rng.normal(size=n), rng.normal(size=n) + 2
        extra = np.sqrt((e @ e) / n)
        rows, values = np.append(e, extra), np.append(x, extra)
        expected = float(np.linalg.lstsq(rows[:, None], values, rcond=None)[0][0])
        assert slope(e, x) == pytest.approx(np.clip(expected, 1 / 20, 20))
    assert slope(np.zeros(3), np.ones(3)) == 1.0 and slope(np.ones(9), -np.ones(9)) == 1 / 20


def test_the_left_out_error_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(1)
    e, x = rng.normal(size=12), rng.normal(size=12)
    residuals = [abs(x[i] - slope(np.delete(e, i), np.delete(x, i)) * e[i]) for i in range(12)]
    assert left_out_error(e, x) == pytest.approx(np.mean(residuals))
    some = np.arange(12) > 8
    assert left_out_error(e, x, some) == pytest.approx(np.mean(residuals[9:]))


def test_a_fit_says_what_its_method_counts_and_one_that_says_nothing_is_no_fit() -> None:
    rng = np.random.default_rng(2)
    kinds = np.array(["head"] * 20 + ["mlp"] * 20 + ["rare"] * 2)
    exact, known = rng.normal(size=42), np.arange(42) < 40
    a, b = exact / 3, exact + rng.normal(size=42)
    tables = {"a": a[None], "b": b[None], "silent": np.where(kinds == "head", 0.0, b)[None]}
    weights = blend(kinds, tables, exact, known, np.ones(42, dtype=bool), EVERY)
    found = choose(kinds, tables, exact, known, known, weights)
    fits = {(fit.kind, fit.method): fit for fit in found.fits}
    assert ("head", "silent") not in fits and fits["head", "a"].slope == pytest.approx(3, abs=0.4)
    assert fits["head", "a"].error < fits["head", "b"].error and fits["head", "a"].n == 20
    for (kind, method), fit in fits.items():
        ends = weights.weights[kind][:, list(tables).index(method)]
        assert fit.weights == tuple(ends) and fit.chosen == (ends.max() > 0)
    assert {fit.n for (kind, _), fit in fits.items() if kind == "rare"} == {0}


def test_the_random_sample_has_some_of_each_stratum_and_small_ones_wholly() -> None:
    parts = [Node("neuron", layer, unit) for layer in range(6) for unit in range(100)]
    parts += [Node("mlp", layer) for layer in range(6)]
    groups, free = strata(parts), np.ones(606, dtype=bool)
    assert len(set(groups)) == 6
    drawn = pilot(groups, free, 60, np.random.default_rng(0))
    assert len(set(drawn.tolist())) == len(drawn)
    for group in set(groups):
        size, taken = (groups == group).sum(), (groups[drawn] == group).sum()
        assert taken == size if size <= SMALL else FLOOR <= taken == round(60 * size / 606)
    times = sum(np.isin(np.arange(606), pilot(groups, free, 60, np.random.default_rng(s))) for s in range(600))
    rate = times[:600] / 600
    assert abs(rate.mean() - 0.1) < 0.01 and rate.max() < 0.1 + 6 * np.sqrt(0.1 * 0.9 / 600)


# ---------------------------------------------------------------- budget and input


def test_budgets_are_read_as_they_are_written() -> None:
    assert parse_budget(None) == Budget(100.0, "forwards") and parse_budget("60s") == Budget(60.0, "seconds")
    assert parse_budget("200F") == parse_budget(200) == parse_budget("200") == Budget(200.0, "forwards")
    assert parse_budget(" 1.5 S ") == Budget(1.5, "seconds")
    for odd in ("", "F", "60m", "-3", "0", "1e3", "nan", "inf", 0, -1.0, float("nan")):
        with pytest.raises(MethodError, match="budget="):
            parse_budget(odd)


def by_depth(places: np.ndarray) -> float:
    """Parts at places 0 to 9 cost one forward each, later ones a tenth; a call two more."""
    return 2 + float(np.where(places < 10, 1.0, 0.1).sum())


def test_a_meter_expects_what_the_parts_themselves_cost() -> None:
    meter, dear, cheap = Meter(Budget(10.0), by_depth), np.arange(10), np.arange(10, 60)
    assert meter.expected(dear) == 12 and meter.expected(cheap) == pytest.approx(7)
    assert meter.within(dear, meter.left) == 8 and meter.within(cheap, meter.left) == 50 and meter.half() == 6
    assert meter.within(np.r_[cheap, dear], 8.5) == 51 and meter.within(dear, 2.5) == 0
    meter.calls.append((meter.price(cheap[:20]), Cost(4)))
    assert meter.left == 6 and meter.within(dear, meter.left) == 4
    meter.calls.append((meter.price(dear[:1]), Cost(3, 0.75)))
    assert meter.left == 1.5 and meter.rate == 1.5 and meter.expected(dear[:2]) == 6
    assert Meter(Budget(10.0), by_depth, [(0.0, Cost(5, 5))]).rate == 1


def test_seconds_are_expected_as_in_the_dearest_call() -> None:
    clock, parts = Meter(Budget(10.0, "seconds"), by_depth), np.arange(60)
    assert clock.rate is None and clock.within(parts, clock.left) == FIRST and clock.within(parts, 0.0) == 0
    clock.calls += [(8.0, Cost(7, 1, 4.0)), (3.0, Cost(3, 0, 0.1))]
    assert clock.rate == 0.5 and clock.left == 5.9 and clock.within(parts, clock.left) == 9


def test_the_cost_of_a_draw_is_seldom_above_what_was_expected_and_not_far_below() -> None:
    rng, meter = np.random.default_rng(0), Meter(Budget(40.0), by_depth)
    parts = np.arange(100)
    draws = Draws.of(meter, parts, rng)
    size = draws.size(14.0)
    costs = np.array([by_depth(rng.permutation(parts)[:size]) for _ in range(1000)])
    assert (costs > 14).mean() < 0.02 and costs.mean() > 9
    assert draws.size(2.05) == 0 and draws.size(21.5) == 100 and Draws.of(meter, parts[:0], rng).size(9.0) == 0


@pytest.mark.parametrize("most", [0, 1, 2, 7, 64])
def test_the_largest_that_fits(most: int) -> None:
    for limit in range(most + 2):
        assert largest(most, lambda size, limit=limit: size <= limit) == min(limit, most)


def test_backwards_count_twice() -> None:
    assert Cost(3, 2).equivalents == 7
