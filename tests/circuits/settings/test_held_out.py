"""Which pairs are scored and which are evaluated, and what is said of pairs that are there more than once."""

from __future__ import annotations

from circuits.settings.held_out import Halves
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task


def _halves(ids: list[tuple[int, int]], wanted: bool = True) -> Halves:
    """Pairs of one token each: (clean, corrupt)."""
    tokens = [TokenPair((a,), (b,), (7,), (8,)) for a, b in ids]
    pairs = tuple(Pair(f"text {i}", "other", (" a",), (" b",)) for i in range(len(ids)))
    return Halves.of(Task("mine", pairs), tokens, 0, wanted)


def test_different_pairs_are_held_out_without_a_word() -> None:
    found = _halves([(i, 9) for i in range(6)])
    assert found.held_out and not list(found.notes())
    assert not set(found.scoring.pairs) & set(found.evaluation.pairs) and len(found.scoring) == 3


def test_duplicates_are_counted_and_named() -> None:
    found = _halves([(0, 9), (1, 9), (0, 9), (2, 9), (1, 9)])
    assert found.held_out and len(found.repeats) == 2
    (said,) = found.notes()
    assert said.startswith(
        "WARNING: 2 of 5 pairs are duplicates (mine pair 3 of 5 has the prompts of mine pair 1 of 5)"
    )


def test_all_the_same_are_evaluated_as_they_were_scored_and_it_is_said() -> None:
    found = _halves([(0, 9)] * 4)
    assert not found.held_out and found.scoring is found.evaluation
    assert any("none can be held out" in said for said in found.notes())


def test_where_nobody_wants_pairs_held_out_duplicates_are_told_all_the_same() -> None:
    found = _halves([(0, 9)] * 4, wanted=False)
    assert [said[:33] for said in found.notes()] == ["WARNING: 3 of 4 pairs are duplica"]
    assert not list(_halves([(0, 9), (1, 9)], wanted=False).notes())


def test_one_pair_is_no_duplicate() -> None:
    found = _halves([(0, 9)])
    assert not found.held_out and not list(found.notes())


def test_a_clean_prompt_with_two_corrupt_ones_makes_two_pairs_and_a_note() -> None:
    found = _halves([(0, i) for i in range(6)])
    assert found.held_out and found.shared == 3 and not found.repeats
    (said,) = found.notes()
    assert said.startswith("NOTE: 3 of 3 evaluated pairs have the clean prompt of a scored pair")
