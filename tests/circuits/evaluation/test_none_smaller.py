"""What a search for a small circuit did not find: counted a second time from the runs, and only ever about these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuits.circuit.circuit import CircuitError
from circuits.evaluation.evaluation import Search
from circuits.evaluation.none_smaller import NoneSmaller, none_smaller
from circuits.evaluation.smallest import find_smallest_on
from interp.parts.graph import Graph
from interp.scores.scores import Scores
from tests.circuits.evaluation.running.hand import Hand, additive, scored

EDGES = Graph(4, 4, 4, (False,) * 4).edges[:300]
#: f of a set: the share of the first 60 edges in it, and beyond them nothing.
VALUE = additive({edge: float(i < 60) for i, edge in enumerate(EDGES)})


def ranking(order: np.ndarray, method: str) -> Scores:
    """Scores of all edges in an order."""
    values = np.empty(300)
    values[order] = np.arange(300.0, 0.0, -1.0)
    found = scored([1.0])
    return replace(found, parts=EDGES, per_example=values[None], provenance=replace(found.provenance, method=method))


def found(order: np.ndarray, method: str, **limits: float) -> tuple[Search, list[int]]:
    """A search, and the sizes of the circuits that were run, but for the whole model and the empty one."""
    hand = Hand(VALUE, parts=EDGES)
    search = find_smallest_on(hand, ranking(order, method), target=0.9, **limits)  # type: ignore[arg-type]
    return search, sorted(len(run) for run in set(hand.runs) if run not in (hand.full, frozenset()))


def test_it_counts_what_was_run_below_the_smallest_that_any_search_found() -> None:
    good, worse = np.arange(300), np.r_[np.arange(100, 160), np.arange(100), np.arange(160, 300)]
    first, ran_first = found(good, "first")
    second, ran_second = found(worse, "second")
    assert first.size == 54 and second.size == 114
    none = none_smaller([second, first])
    assert none is not None
    expected = sorted(size for size in (*ran_first, *ran_second) if size < 54)
    assert none.parts == 53 and list(none.sizes) == expected and none.tried == len(expected) > 10
    assert none.by == ("second (absolute)", "first (absolute)")
    assert str(none).startswith(
        "no circuit of at most 53 of 300 edges with f >= 0.9 was found by second (absolute), first (absolute)"
    )
    assert f"({len(expected)} circuits tried" in str(none) and "others are not ruled out" in str(none)
    alone = none_smaller([second])
    assert alone is not None and alone.parts == 113 and alone.by == ("second (absolute)",)


def test_where_nothing_was_found_it_reaches_to_the_largest_that_was_tried() -> None:
    search, ran = found(np.arange(300), "m", largest=40, at_most=1.1)
    none = none_smaller([search])
    assert none is not None and search.size is None
    assert (none.parts, none.tried) == (40, len(ran)) and max(none.sizes) == 40
    assert "with 0.9 <= f <= 1.1" in str(none)


def test_nothing_is_said_where_nothing_smaller_was_tried_or_f_is_undefined() -> None:
    one, _ = found(np.arange(300), "m")
    at_once = replace(one, size=1, tried=(replace(one.tried[-1], size=1, faithfulness=one.faithfulness),))
    assert none_smaller([at_once]) is None
    assert none_smaller([one, replace(one, size=None, tried=(), reason="flat")]) is None


def test_searches_for_something_else_are_refused() -> None:
    one, _ = found(np.arange(300), "m")
    for wrong in (
        [],
        [one, replace(one, target=0.8)],
        [one, replace(one, n_parts=299)],
        [one, replace(one, counts="nodes")],
    ):
        with pytest.raises(CircuitError, match="expected one or more with the same limits"):
            none_smaller(wrong)


def test_it_is_kept_and_shown(tmp_path: Path) -> None:
    none = none_smaller([found(np.arange(300), "<b>m")[0]])
    assert none is not None
    none.save(tmp_path / "n.json")
    assert NoneSmaller.load(tmp_path / "n.json") == none
    assert "No smaller circuit" in none._repr_html_() and "<b>m" not in none._repr_html_()


def test_a_search_of_before_is_read_and_has_no_name(tmp_path: Path) -> None:
    """Without `by`, as files were written."""
    import json

    search, _ = found(np.arange(300), "m")
    data = search.to_dict()
    assert data.pop("by") == "m (absolute)"
    (tmp_path / "s.json").write_text(json.dumps(data))
    none = none_smaller([Search.load(tmp_path / "s.json")])
    assert none is not None and none.by == () and " was found (" in str(none)
