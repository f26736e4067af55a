"""The page of two runs side by side: the same numbers, places that stay, and no stranger's markup."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from circuits.comparison.matching import side_by_side
from circuits.comparison.sides import SideBySide
from circuits.report.side.side import payload
from circuits.report.side.side_graph import graphs
from circuits.runs.record import Record
from tests.circuits.comparison.test_side_by_side import HEADS, run_of
from tests.circuits.runs.edge_records import edge_record
from tests.circuits.runs.records import a_record, compare_record
from tests.interp.formatting.tags import FORBIDDEN, NASTY, Tags


@pytest.fixture(scope="module")
def values() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    first = rng.normal(size=len(HEADS)) ** 3
    return first, first + rng.normal(size=len(HEADS))


def test_units_are_never_mixed(values: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = values
    found = side_by_side(run_of(a), run_of(b, unit="nats", metric="log_prob"))
    assert "logits" in found.unmixed and "nats" in found.unmixed
    assert (found.common, found.pearson, found.spearman, found.unit) == ((), None, None, "")
    assert found.rows[0].place_a == 1 or found.rows[0].place_b == 1, "places need no unit"
    page = payload(found)
    assert page["scatter"] is None and page["ranking"]["units"] == ["logits", "nats"]


def test_a_run_without_a_circuit_has_scores_only() -> None:
    found = side_by_side(compare_record(), a_record())
    assert found.comparison is None and payload(found)["overlap"] is None
    assert found.n_common == len(HEADS)
    assert all(row.in_a is None for row in found.rows)


@pytest.fixture(scope="module")
def of_edges() -> SideBySide:
    a, b = edge_record(n=30), edge_record(n=30)
    assert b.circuit is not None
    others = [edge for edge in b.scores[0].edges if edge not in b.circuit.parts]
    return side_by_side(a, replace(b, circuit=replace(b.circuit, parts=(*b.circuit.parts[5:], *others[:5]))))


def test_the_page_is_whole_and_asks_for_nothing(of_edges: SideBySide) -> None:
    page = of_edges.render()
    assert page == of_edges.render()
    assert "default-src 'none'" in page and "<script" not in page and "style=" not in page.split("</style>")[1]
    assert not re.search(r"(src|href)=\"(?!#)", page)
    for name in ("conventions", "scores", "circuits", "ranking", "faithfulness", "reproduce"):
        assert f'id="{name}"' in page and f'href="#{name}"' in page


def test_edges_without_a_sign_are_not_said_to_work_for_anything() -> None:
    def run(method: str) -> Record:
        record = edge_record(n=30)
        scores = record.scores[0]
        return replace(record, scores=(replace(scores, provenance=replace(scores.provenance, method=method)),))

    for methods, has, lacks in (
        (("relp", "relp"), "only, works for the answer", "no sign"),
        (("ifr", "ifr"), "only: the size of the effect, as these scores have no sign", "works for"),
        (("relp", "ifr"), "only, in B: the size of the effect, as these scores have no sign", "in A:"),
    ):
        page = side_by_side(*map(run, methods)).render()
        legend = page[page.index('id="circuits"') : page.index('id="ranking"')]
        assert has in legend and lacks not in legend


def test_a_node_stands_in_the_same_place_in_both_drawings(of_edges: SideBySide) -> None:
    shown = payload(of_edges)["graphs"]["drawings"]
    places = []
    for drawing in shown:
        tree = ElementTree.fromstring(drawing)
        boxes = {
            g.find(".//title").text: (g.find("rect").attrib, g.get("class"))
            for g in tree.iter("g")
            if g.find("rect") is not None
        }  # type: ignore[union-attr]
        places.append(boxes)
    assert places[0].keys() == places[1].keys() and len(places[0]) > 4
    for name in places[0]:
        (a, mark_a), (b, mark_b) = places[0][name], places[1][name]
        assert (a["x"], a["y"]) == (b["x"], b["y"])
        assert {mark_a, mark_b} in ({"both"}, {"only", "absent"})


@pytest.mark.parametrize("most", [2, 150])
def test_every_edge_is_drawn_on_the_sides_that_hold_it_and_marked(
    of_edges: SideBySide, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is among the strongest of one side only; and what both hold is thin, however important."""
    monkeypatch.setattr("circuits.report.side.side_graph.MOST_EDGES", most)
    made = graphs(of_edges)
    assert made is not None and of_edges.a.circuit and of_edges.b.circuit
    held = [{e.name for e in side.circuit.parts} for side in (of_edges.a, of_edges.b) if side.circuit]
    for i, picture in enumerate(made["pictures"]):
        marks = {link["name"]: link["mark"] for link in picture["links"]}
        for name, mark in marks.items():
            here, there = name in held[i], name in held[1 - i]
            assert mark == ("both" if here and there else "only" if here else "absent")
        drawn = ElementTree.fromstring(payload(of_edges)["graphs"]["drawings"][i])
        titles = [t.text or "" for t in drawn.iter("title")]
        assert {t.split(": ")[0] for t in titles if "->" in t} == held[i] & marks.keys()
        assert (marks.keys() >= held[i]) is (most == 150)
        thin = [g.find("path") for g in drawn.iter("g") if g.get("class") == "both" and g.find("path") is not None]
        assert thin and all(path is not None and float(path.get("stroke-width", "9")) <= 1 for path in thin)


def test_one_row_for_each_size_of_either_curve() -> None:
    a = a_record()
    assert a.evaluation is not None
    b = replace(a, evaluation=replace(a.evaluation, curve=a.evaluation.curve[:-3], size=4))
    shown = payload(side_by_side(a, b))["faithfulness"]
    sizes = [row["size"] for row in shown["rows"]]
    assert sizes == [p.size for p in a.evaluation.curve] and all(x < y for x, y in pairwise(sizes))
    assert [row["b"] is None for row in shown["rows"]] == [False] * (len(sizes) - 3) + [True] * 3


def test_circuits_among_other_numbers_of_parts_share_an_axis_of_shares() -> None:
    drawn = payload(side_by_side(a_record(), edge_record()))["faithfulness"]
    assert drawn["rows"] == [] and "share of all parts" in drawn["drawing"]


@pytest.fixture(scope="module")
def benign() -> list[tuple[str, ...]]:
    return Tags(page_of("benign")).tags


def page_of(text: str) -> str:
    """A page with this text wherever text comes from outside; the same on both sides, or nothing would be matched."""
    record = a_record(lambda own: f"{text} {own}")
    return side_by_side(record, record, names=(f"{text} a", f"{text} b")).render()


@pytest.mark.parametrize("nasty", NASTY, ids=[ascii(n)[:30] for n in NASTY])
def test_text_from_outside_is_text(nasty: str, benign: list[tuple[str, ...]]) -> None:
    page = page_of(nasty)
    assert Tags(page).tags == benign
    assert not FORBIDDEN.search(page)
