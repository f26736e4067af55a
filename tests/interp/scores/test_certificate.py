"""What a certificate claims, by counting every draw."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest

from interp.scores.certificate import Certificate, chance_wrong, missed_at_most


def test_certified_takes_nearly_a_sweep() -> None:
    """1 - m / M <= 5 %, by counting: 950 of 1,000 and no surprise; and a small random check is called checked."""
    states = {m: Certificate.of(10, 1100, 100 + m, 1000, m, 0, 0, 0.01, "nodes").state for m in (50, 99, 949, 950)}
    assert states == {50: "uncertified", 99: "checked", 949: "checked", 950: "certified"}
    assert Certificate.of(10, 1100, 1050, 1000, 950, 0, 1, 0.01, "nodes").state == "uncertified"


def _draws(rest: int, drawn: int, members: int) -> list[int]:
    """How many of the first `members` parts each possible draw holds."""
    return [sum(i < members for i in draw) for draw in itertools.combinations(range(rest), drawn)]


SHAPES = [(rest, drawn, n) for rest in range(1, 10) for drawn in range(1, rest + 1) for n in (1, 2, 4)]


@pytest.mark.broad
@pytest.mark.parametrize("rest,drawn,n", SHAPES)
def test_chance_wrong_is_valid_for_every_number_of_members(rest: int, drawn: int, n: int) -> None:
    """Both statements of `interp.scores.certificate`, (A) and (B), over all draws, for every true number of members left."""
    for members in range(min(n, rest) + 1):
        counts = _draws(rest, drawn, members)
        stated = np.array([chance_wrong(rest, drawn, k, n) for k in counts])
        wrong = np.array(counts) < members
        assert wrong.mean() <= stated.mean() + 1e-12
        for a in np.unique(stated):
            assert ((stated <= a) & wrong).mean() <= a + 1e-12


@pytest.mark.parametrize("rest,drawn,n", SHAPES)
def test_missed_at_most_covers_95_percent_of_all_draws(rest: int, drawn: int, n: int) -> None:
    for members in range(min(n, rest) + 1):
        missed = [members - k > missed_at_most(rest, drawn, k, n) for k in _draws(rest, drawn, members)]
        assert np.mean(missed) <= 0.05 + 1e-12


def test_chance_wrong_is_what_counting_gives() -> None:
    """1 - C(M - k - 1, m - k - 1) / C(M, m), and 1 where too little was drawn to say anything."""
    for k in range(4):
        expected = 1 - comb(200 - k - 1, 190 - k - 1) / comb(200, 190)
        assert chance_wrong(200, 190, k, 10) == pytest.approx(expected, abs=1e-12)
    assert chance_wrong(200, 60, 0, 10) == 1.0 and chance_wrong(200, 200, 3, 10) == 0.0
