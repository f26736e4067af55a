"""The pieces of method `auto`: the sample, what it says of the estimates, and the budget."""

from __future__ import annotations

import numpy as np
import pytest

from interp.attribution.auto.budget import Budget, Cost, Meter, parse_budget
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


def test_each_kind_gets_the_method_that_fits_it_and_one_that_says_nothing_is_no_choice() -> None:
    rng = np.random.default_rng(2)
    kinds = np.array(["head"] * 20 + ["mlp"] * 20 + ["rare"] * 2)
    exact = rng.normal(size=42)
    good, poor = exact / 3, exact + rng.normal(size=42)
    a, b = np.where(kinds == "mlp", poor, good), np.where(kinds == "mlp", good, poor)
    silent = np.where(kinds == "head", 0.0, poor)
    found = choose(
        kinds,
        {"a": a[None], "b": b[None], "silent": silent[None]},
        exact,
        np.arange(42) % 2 == 0,
        np.ones(42, dtype=bool),
    )
    assert {kind: fit.method for kind, fit in found.per_kind.items()}["head"] == "a"
    assert found.per_kind["mlp"].method == "b" and found.per_kind["head"].slope == pytest.approx(3, abs=0.4)
    assert ("head", "silent") not in {(fit.kind, fit.method) for fit in found.fits}
    assert [fit.chosen for fit in found.fits].count(True) == 3


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


def test_a_meter_expects_what_the_largest_call_took() -> None:
    meter = Meter(Budget(100.0))
    assert meter.affordable() == 97
    meter.calls.append((20, Cost(2 + 20 * 0.25, 0, 3.0)))
    assert meter.left == 93 and meter.per_part == 0.25 and meter.affordable() == (93 - 3) * 4
    assert meter.affordable(keep=40) == (53 - 3) * 4 and meter.expected(8) == 5.0
    meter.calls.append((4, Cost(2 + 4 * 0.75)))
    assert meter.per_part == 0.25 and meter.affordable(top=True) == int((meter.left - 3) / 0.75)
    meter.sample = meter.calls[-1]
    assert meter.per_part == 0.75
    clock = Meter(Budget(10.0, "seconds"), [(20, Cost(7, 1, 4.0))])
    assert clock.left == 6.0 and clock.per_part == 0.2 and clock.affordable() == 30
    assert Cost(3, 2).equivalents == 7
