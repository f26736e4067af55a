"""The slope of an approximation on exact scores: what correlations do not see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from interp.scores.agreement import agreement
from interp.scores.scores import Scores
from tests.interp.scores.random_scores import head_nodes, some_scores


def pair(**of: str) -> tuple[Scores, Scores]:
    return some_scores(head_nodes(), 1, method="relp", **of), some_scores(head_nodes(), 0, method="exact")


def test_the_slope_is_that_of_the_best_line_through_zero() -> None:
    ours, exact = pair()
    keep = [i for i, part in enumerate(exact.parts) if part.kind == "head"]
    wanted = np.linalg.lstsq(exact.mean[keep][:, None], ours.mean[keep], rcond=None)[0][0]
    assert agreement(ours, exact)["head"].slope == pytest.approx(wanted)


def test_estimates_of_twice_the_size_keep_their_correlation_and_double_their_slope() -> None:
    ours, exact = pair()
    twice = replace(ours, per_example=2 * ours.per_example)
    one, two = (agreement(found, exact)["head"] for found in (ours, twice))
    assert one.slope is not None and two.slope == pytest.approx(2 * one.slope)
    assert two.pearson == pytest.approx(one.pearson)


def test_without_a_common_unit_or_an_effect_there_is_no_slope() -> None:
    ours, exact = pair(unit="share of what the reader reads")
    assert agreement(ours, exact)["head"].slope is None
    ours, exact = pair()
    assert agreement(ours, replace(exact, per_example=0 * exact.per_example))["head"].slope is None
