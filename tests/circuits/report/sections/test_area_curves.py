"""The areas in a report: the trapezoid rule by hand, and the same as the evaluation measures."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from circuits.circuit.selection import discover
from circuits.evaluation.areas import area_sizes, ranking_areas_on
from circuits.evaluation.faithfulness import evaluate_on
from circuits.report.sections.area_curves import areas_measured, areas_of_run
from circuits.runs.record import Record
from tests.circuits.evaluation.running.hand import EDGES, Hand, N, additive, scored, weighted
from tests.circuits.runs.records import a_record, an_evaluation

#: Weights of every edge: some work against the answer, so that the two rankings differ.
WEIGHTS = [float((-1) ** (i % 5 == 0) * (N - i)) for i in range(N)]

SIZES = area_sizes(N)


def a_run(ranking: Any = "absolute", n: int = 5, sizes: Any = SIZES, **changes: Any) -> Record:
    """A run over all edges of a model whose metric is a sum of their weights."""
    scores = scored(WEIGHTS, **changes)
    circuit = discover(scores, n=n, ranking=ranking)
    runner = Hand(additive(weighted(WEIGHTS)))
    found = evaluate_on(runner, circuit, scores=scores, sizes=sizes, n_random=3, ranking=ranking, show_progress=False)
    return Record({}, (scores,), circuit=circuit, evaluation=found)


def charts(record: Record) -> dict[tuple[str, str], dict[str, Any]]:
    found = areas_of_run(record)
    assert found is not None
    return {(c["measure"], c["axis"]): c for c in found["charts"]}


@pytest.mark.parametrize(("ranking", "measure"), [("absolute", "CMD"), ("signed", "CPR")])
@pytest.mark.parametrize("axis", ["linear", "log"])
def test_the_area_is_that_of_the_trapezoids(ranking: str, measure: str, axis: str) -> None:
    record = a_run(ranking)
    total = sum(WEIGHTS)
    order = sorted(WEIGHTS, key=lambda w: -abs(w) if ranking == "absolute" else -w)
    sizes = sorted({*SIZES, 5})
    f = [sum(order[:k]) / total for k in sizes]
    height = [v if measure == "CPR" else abs(1 - v) for v in f]
    at = [k / N if axis == "linear" else math.log10(k / N) for k in sizes]
    area = sum((at[i + 1] - at[i]) * (height[i] + height[i + 1]) / 2 for i in range(len(at) - 1))
    chart = charts(record)[measure, axis]
    assert chart["area"] == pytest.approx(area)
    assert chart["width"] == pytest.approx(at[-1] - at[0]) and chart["mean"] == pytest.approx(area / (at[-1] - at[0]))


def test_a_curve_gives_the_area_of_its_own_ranking_only() -> None:
    for ranking, own, other in (("absolute", "CMD", "CPR"), ("signed", "CPR", "CMD")):
        record = a_run(ranking)
        found = areas_of_run(record)
        assert found is not None and {c["measure"] for c in found["charts"]} == {own}
        assert [m.split(" ")[0] for m in found["missing"]] == [other] and "circuits evaluate" in found["missing"][0]


def test_where_both_rankings_are_the_same_the_curve_gives_both() -> None:
    scores = scored([abs(w) for w in WEIGHTS])
    record = replace(a_run(), scores=(scores,), circuit=discover(scores, n=5))
    assert {measure for measure, _ in charts(record)} == {"CPR", "CMD"}


def test_a_circuit_that_is_no_top_of_a_ranking_gives_no_area() -> None:
    record = a_run()
    assert record.circuit is not None
    odd = replace(record.circuit, parts=tuple(reversed(EDGES[-5:])))
    found = areas_of_run(replace(record, circuit=odd))
    assert found is not None and found["charts"] == []
    assert len(found["missing"]) == 2 and all("not the top of a ranking" in m for m in found["missing"])


def test_a_curve_that_ends_early_gives_no_area() -> None:
    found = areas_of_run(a_run(sizes=[1, 2, 5]))
    assert found is not None and found["charts"] == [] and "whole model" in found["missing"][0]


def test_scores_without_sign_have_no_cpr() -> None:
    found = areas_of_run(a_run(unsigned=True))
    assert found is not None
    assert {c["measure"] for c in found["charts"]} == {"CMD"} and "no sign" in found["missing"][0]


def test_the_same_as_the_evaluation_measures() -> None:
    # Same sizes, and a circuit whose size is one of them; random circuits are drawn in another order.
    n = SIZES[3]
    for ranking in ("absolute", "signed"):
        record = a_run(ranking, n=n)
        runner = Hand(additive(weighted(WEIGHTS)))
        measured = ranking_areas_on(runner, record.scores[0], n_random=3, show_progress=False)
        shown = areas_measured(measured)
        assert shown is not None
        theirs = {(c["measure"], c["axis"]): c for c in shown["charts"]}
        assert len(theirs) == 4 and all(c["interval"] for c in theirs.values())
        for key, chart in charts(record).items():
            assert chart["area"] == pytest.approx(theirs[key]["area"])
            curve = measured.signed if key[0] == "CPR" else measured.absolute
            area = curve.linear if key[1] == "linear" else curve.log
            assert area.capped is not None and area.compactness is not None
            assert (chart["capped"], chart["compactness"]) == pytest.approx((area.capped.value, area.compactness.value))
            assert theirs[key]["random_compactness"] == pytest.approx(area.random_compactness)
            assert "sizes of the curve" in chart["named"] and "fixed shares of all edges" in theirs[key]["named"]
        assert [row["measure"] for row in shown["own"]] == ["CPR", "CMD"]
        own = measured.signed.own
        assert own is not None and shown["own"][0]["area"] == own.cpr.value and "own sizes" in shown["axes"]["own"]
        assert theirs["CPR", "linear"]["area"] == pytest.approx(measured.cpr.value)
        assert theirs["CMD", "linear"]["area"] == pytest.approx(measured.cmd.value)
        assert theirs["CMD", "log"]["random"] == pytest.approx(measured.absolute.log.random_cmd)


def test_runs_without_a_defined_curve_show_no_areas() -> None:
    undefined = replace(a_run(), evaluation=an_evaluation(reason="the ends do not differ"))
    assert areas_of_run(undefined) is None and areas_of_run(replace(a_record(), evaluation=None)) is None
