"""What a report says in words is true of its numbers: signs that scores have not, edges not drawn, orders that are no ranking."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from circuits.circuit.circuit import Circuit
from circuits.report.drawing.view_picture import chosen
from circuits.report.pages import circuit_page, render
from circuits.report.view.view_parts import UNCLEAR
from circuits.runs.record import Record
from interp.parts.nodes import Node
from interp.scores.scores import Scores
from tests.circuits.report.view.test_report_view import seen
from tests.circuits.runs.edge_records import GROUPED, edge_record, node_record
from tests.circuits.runs.records import a_record
from tests.interp.formatting.tags import Tags


def scored(record: Record, **changes: Any) -> Record:
    scores = record.scores[0]
    own = {"per_example": np.abs(scores.per_example)} if changes.get("unsigned") else {}
    made = Scores(scores.parts, own.get("per_example", scores.per_example), replace(scores.provenance, **changes))
    return replace(record, scores=(made,))


@pytest.mark.parametrize("changes", [{"unsigned": True, "method": "atp-star"}, {"method": "ifr"}])
def test_scores_without_a_sign_say_of_no_part_which_way_it_works(changes: dict[str, Any]) -> None:
    record = edge_record() if changes["method"] == "ifr" else a_record()
    record = replace(scored(record, **changes), agreements=(), exact=None)
    found = seen(record)
    assert not any(part["works"] for part in [*found["nodes"], *found["edges"]])
    assert "works for" not in render(record).partition('<script type="application/json"')[0]


def test_boxes_without_a_sign_beside_edges_with_one_say_so() -> None:
    record = scored(replace(node_record(), agreements=(), exact=None), unsigned=True, method="atp-star")
    assert "boxes: how important only" in render(record)
    assert "boxes: how important only" not in render(node_record())


def test_a_metric_that_is_not_about_the_answer_is_not_called_so() -> None:
    known = {part["works"] for part in seen(a_record())["nodes"]}
    assert known == {"for the answer", "against the answer", UNCLEAR, ""}
    record = scored(a_record(), metric="kl_source")
    assert {part["works"] for part in seen(record)["nodes"]} == {"for the metric", "against the metric", UNCLEAR, ""}
    assert "works for the answer" not in render(record).partition('<script type="application/json"')[0]


def test_the_picture_says_which_edges_it_leaves_out() -> None:
    record = node_record()
    assert record.circuit is not None
    parts = [part for part in record.scores[0].parts if part.name != "embed"]
    record = replace(record, circuit=replace(record.circuit, parts=tuple(parts)))
    found = seen(record)
    edges = chosen(found)[1]
    inside = {n["id"] for n in found["nodes"]}
    all_edges = [e for e in found["edges"] if {e["source"], e["target"]} <= inside]
    assert len(edges) < len(all_edges) and {e["id"] for e in edges} <= {e["id"] for e in all_edges}
    assert f"the strongest {len(edges)} of {len(all_edges)} edges" in render(record)


def test_the_curve_of_a_circuit_in_an_order_of_its_own_is_not_called_the_top_of_the_ranking() -> None:
    record = a_record()
    assert record.circuit is not None
    assert "circuits taken from the top of the ranking" in render(record)
    scores = record.scores[0]
    last = [scores.parts[i] for i in np.argsort(np.abs(scores.mean)) if scores.parts[i].name != "embed"][:6]
    page = render(replace(record, circuit=replace(record.circuit, parts=tuple(last))))
    assert "circuits taken from the top of the ranking" not in page and "in their own order" in page


def test_a_dashed_border_is_explained_where_there_is_one() -> None:
    assert "dashed border: keys and values that several heads share" in render(edge_record(GROUPED))
    assert "dashed border:" not in render(node_record())


def test_a_circuit_alone_shows_nothing_that_it_has_not() -> None:
    page = circuit_page(Circuit((Node("head", 0, 1), Node("mlp", 1)), "heads", "m", "t", "relp", "n=2"))
    assert "<nav" not in page and '<div class="view-size" hidden>' in page
    assert '<div class="view-size">' in render(a_record()) and "<nav" in render(a_record())


def test_scores_of_acdc_are_called_exact_when_its_removal_was_tried() -> None:
    record = replace(scored(edge_record(), method="acdc"), agreements=(), exact=None)
    page = render(record)
    assert {edge["known"] for edge in seen(record)["edges"]} == {"exact when its removal was tried (by acdc)"}
    assert ">estimated" not in page.partition('<script type="application/json"')[0].partition("<main")[2]
    header, row, *_ = Tags(page).rows["ranking-table"]
    assert row[header.index("score is")] == "exact when its removal was tried"
    assert "exact when its removal was tried" in record.scores[0]._repr_html_()


def test_both_directions_have_the_same_columns_with_the_importance() -> None:
    heads = []
    for sign, direction in ((1, "denoise"), (-1, "noise")):
        record = scored(a_record(), direction=direction, importance_sign=sign)
        header, *rows = Tags(render(record)).rows["circuit-table"]
        heads.append(header)
        found = [dict(zip(header, row, strict=True)) for row in rows]
        sizes = [sign * float(row["score"].split(" ")[0].replace("−", "-")) for row in found]
        assert [float(row["importance"].replace("−", "-")) for row in found] == sizes
        share = [float(row["of the largest"].removesuffix(" %").replace("−", "-")) / 100 for row in found]
        assert share == pytest.approx([size / max(map(abs, sizes)) for size in sizes], abs=0.01)
    assert heads[0] == heads[1]


def test_the_report_says_what_rules_do() -> None:
    page = render(a_record())
    assert "What the rules of <bdi>relp</bdi> do in this model" in page
    assert "<dt><bdi>RMSNorm</bdi></dt><dd><bdi>scale frozen (5 modules)</bdi></dd>" in page
