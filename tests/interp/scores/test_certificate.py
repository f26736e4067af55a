"""What a certificate claims, by counting every draw."""

from __future__ import annotations

import itertools
from functools import cache
from math import comb

import numpy as np
import pytest

from interp.scores.certificate import Certificate, Near, chance_wrong, missed_at_most


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


@cache
def _said(n: int, rest: int, drawn: int, found: int, beat: int) -> tuple[int, int]:
    c = Certificate.of(n, n + rest, n + drawn, rest, drawn, found, 0, 0.01, "nodes", beat=beat)
    assert c.sure is not None and c.within is not None
    return c.sure, c.within


@pytest.mark.parametrize("rest,drawn,n", [shape for shape in SHAPES if shape[0] in (1, 4, 7)])
def test_what_is_found_is_within_the_first_so_many_in_95_percent_of_all_draws(rest: int, drawn: int, n: int) -> None:
    """Every draw from a rest of which the first few are above the last of `n` that were scored before, in every place among them; the
    place of the last part found is counted in the list of all, and so is what becomes of the first that are called sure."""
    for above in itertools.product(range(rest + 1), repeat=min(n, 2)):
        # Scored before: n parts, the last two of which have so many of the rest above them.
        before = [-1.0 - i for i in range(n - len(above))] + [max(above[: i + 1]) - 0.5 for i in range(len(above))]
        farther, unsure = [], []
        for draw in itertools.combinations(range(rest), drawn):
            order = sorted([*before, *draw])[:n]
            beat = sum(i < max(before) for i in draw)
            found = len(set(order) & set(draw))
            sure, within = _said(n, rest, drawn, found, beat)
            truth = sorted([*before, *range(rest)])
            farther.append(truth.index(order[-1]) + 1 > within)
            unsure.append(any(truth.index(i) + 1 > n for i in order[:sure]))
        assert np.mean(farther) <= 0.05 + 1e-12 and np.mean(unsure) <= 0.05 + 1e-12


@pytest.mark.parametrize("rest,drawn", sorted({(rest, drawn) for rest, drawn, _ in SHAPES}))
def test_how_many_are_off_by_more_covers_95_percent_of_all_draws(rest: int, drawn: int) -> None:
    """Residuals 0 to rest - 1; the error given is that of the drawn part in each place."""
    for beyond in range(drawn):
        more = []
        for draw in itertools.combinations(range(rest), drawn):
            radius = sorted(draw)[drawn - 1 - beyond]
            off = sum(i > radius for i in range(rest) if i not in draw)
            c = Certificate.of(
                1, 1 + rest, 1 + drawn, rest, drawn, 0, 0, 0.01, "nodes", beat=0, near=Near(0, beyond, 0.5)
            )
            more.append(off > (c.off_at_most or 0))
        assert np.mean(more) <= 0.05 + 1e-12


def test_what_is_known_of_a_top_that_is_not_certified_is_said() -> None:
    """99 of 1,000 drawn, none of which belongs: by counting, at most 28 of a set have no member among them in 5 % of the draws."""
    c = Certificate.of(10, 1100, 199, 1000, 99, 0, 0, 0.01, "nodes", beat=0, near=Near(24, 0, 0.01))
    most = next(w for w in itertools.count(1) if comb(1000 - w, 99) / comb(1000, 99) <= 0.05) - 1
    assert (c.sure, c.within, c.off_at_most) == (0, 10 + most, most) and most == 28
    assert "The 10 found are among the true first 38 of 1,100, and of none of them is it sure" in str(c)
    assert "among these and 24 others" in str(c) and "at most 28 are" in str(c)
    some = Certificate.of(10, 1100, 700, 1000, 600, 0, 0, 0.01, "nodes", beat=0)
    assert (some.sure, some.within) == (7, 13) and "the first 7 of them surely belong" in str(some)
    swept = Certificate.of(10, 1100, 1100, 0, 0, 0, 0, 0.01, "nodes")
    assert swept.sure == 10 and "among the true" not in str(swept)
    few = Certificate.of(10, 1100, 9, 1000, 5, 0, 0, 0.01, "nodes", beat=5)
    assert few.sure is None and few.within is None


def test_chance_wrong_is_what_counting_gives() -> None:
    """1 - C(M - k - 1, m - k - 1) / C(M, m), and 1 where too little was drawn to say anything."""
    for k in range(4):
        expected = 1 - comb(200 - k - 1, 190 - k - 1) / comb(200, 190)
        assert chance_wrong(200, 190, k, 10) == pytest.approx(expected, abs=1e-12)
    assert chance_wrong(200, 60, 0, 10) == 1.0 and chance_wrong(200, 200, 3, 10) == 0.0
