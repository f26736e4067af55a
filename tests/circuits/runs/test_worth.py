"""The clause that says when an approximation saved next to nothing beside exact patching."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from circuits.runs.finding import finding
from circuits.runs.record import Record
from circuits.runs.worth import cost_of_finding, hardly_worth
from interp.scores.scores import Scores
from tests.circuits.runs.records import a_record, compare_record


def costing(scores: Scores, forwards: float, backwards: float) -> Scores:
    return replace(scores, provenance=replace(scores.provenance, forwards=forwards, backwards=backwards))


def compared(exact: float, **passes: tuple[float, float]) -> Record:
    """A comparison in which exact patching took so many forwards, and each method these forwards and backwards."""
    record = compare_record()
    assert record.exact is not None
    scores = [costing(s, *passes.get(s.provenance.method, (0.0, 0.0))) for s in record.scores]
    return replace(record, scores=tuple(scores), exact=costing(record.exact, exact, 0.0))


@pytest.mark.parametrize(
    ("passes", "said"),
    [
        # A backward is worth two forwards, and twice the price is still too near: 26 against 52 is named, 25.9 is not.
        (
            {"relp": (10.0, 8.0)},
            "exact patching of all 46 nodes cost 52 forward equivalents over the pairs, so relp (26) is hardly worth its error here",
        ),
        ({"relp": (9.9, 8.0)}, ""),
        (
            {"relp": (10.0, 8.0), "atp": (70.0, 0.0)},
            "exact patching of all 46 nodes cost 52 forward equivalents over the pairs, so relp (26) and atp (70) are hardly worth their error here",
        ),
    ],
)
def test_methods_that_cost_half_of_exact_patching_or_more_are_named(passes: Any, said: str) -> None:
    record = compared(52.0, **passes)
    assert hardly_worth(record) == said
    assert said in finding(record)


def test_nothing_is_said_of_a_sample() -> None:
    """What a few parts cost says nothing of all."""
    record = compared(5.0, relp=(10.0, 8.0))
    assert record.exact is not None
    assert hardly_worth(replace(record, exact=record.exact.select(range(10)))) == ""
    assert hardly_worth(replace(record, exact=None)) == ""


def test_a_run_that_chose_a_circuit_is_judged_by_the_method_that_chose_it() -> None:
    record = a_record()
    assert record.exact is not None
    dear = replace(record, exact=costing(record.exact, 5.0, 0.0), scores=(costing(record.scores[0], 4.0, 1.0),))
    assert hardly_worth(dear).endswith("so relp (6) is hardly worth its error here")
    other = costing(record.scores[0], 40.0, 1.0)
    cheap = costing(record.scores[0], 2.0, 0.0)
    assert hardly_worth(replace(dear, scores=(cheap, other))) == ""


def test_exact_scores_are_not_compared_with_themselves() -> None:
    record = a_record()
    assert record.exact is not None
    assert hardly_worth(replace(record, scores=(record.exact,), agreements=())) == ""


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        (
            {"loading": 1, "scoring": 4.0, "searching": 9.3, "evaluating": 80.0},
            "finding it cost 14.3 forwards of the scored pairs (loading 1.0, scoring 4.0, searching 9.3)",
        ),
        ({"accuracy": 4.0}, ""),
        ({"scoring": "<b>"}, ""),
        (None, ""),
    ],
)
def test_a_size_stands_beside_what_finding_it_cost(phases: Any, said: str) -> None:
    record = replace(a_record(), manifest={"forwards_by_phase": phases})
    assert cost_of_finding(record) == said
    assert said in finding(record) and ("finding it cost" in finding(record)) is bool(said)
    assert not cost_of_finding(replace(compare_record(), manifest={"forwards_by_phase": phases}))
