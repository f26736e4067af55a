"""What the interactive view says in words is true of its numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from circuits.report.view.view_parts import UNCLEAR
from interp.scores.resampling import Estimate
from interp.scores.scores import Scores
from tests.circuits.report.view.test_report_view import seen
from tests.circuits.runs.edge_records import edge_record, node_record
from tests.circuits.runs.records import a_record, an_evaluation


def test_a_score_whose_interval_holds_zero_works_for_nothing_and_against_nothing() -> None:
    record = a_record()
    scores, told = record.scores[0], {node["name"]: node for node in seen(record)["nodes"]}
    for i, part in enumerate(scores.parts):
        values = scores.per_example[:, i]
        holds = abs(values.mean()) <= 1.96 * values.std(ddof=1) / np.sqrt(len(values))
        assert (told[part.name]["works"] == UNCLEAR) == holds
    assert UNCLEAR == "not clear: the interval holds 0"


def test_a_part_without_effect_works_neither_way() -> None:
    record = a_record()
    scores = record.scores[0]
    still = Scores(scores.parts, 0 * scores.per_example, scores.provenance)
    assert {(n["sign"], n["works"]) for n in seen(replace(record, scores=(still,)))["nodes"]} == {("plain", "")}


def test_small_importances_keep_their_order() -> None:
    """Scores of 1e-9 are as good as any other."""
    record = edge_record()
    scores = record.scores[0]
    small = Scores(scores.parts, 1e-9 * scores.per_example, scores.provenance)
    names = [edge["name"] for edge in seen(replace(record, scores=(small,)))["edges"]]
    by_size = [scores.parts[i].name for i in np.argsort(-np.abs(scores.mean), kind="stable")]
    assert names == [name for name in by_size if name in set(names)]


def test_sizes_beyond_the_circuit_say_that_no_edges_were_scored_there() -> None:
    for stop in seen(node_record())["stops"]:
        assert ("Edges were scored only" in stop["note"]) == (stop["size"] > 6)


def test_the_slider_says_why_faithfulness_is_undefined() -> None:
    none = Estimate(None, None, None)
    found = an_evaluation(faithfulness=none, completeness=none, curve=(), reason="the interval includes 0.")
    (stop,) = seen(replace(a_record(), evaluation=found))["stops"]
    assert stop["faithful"] == "undefined" and stop["note"] == "Faithfulness is undefined: the interval includes 0."
