"""A circuit of a deep model: what does not fit its frame waits, layers without a node fold in their place, and everything can be reached."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from circuits.circuit.circuit import Circuit
from circuits.evaluation.evaluation import Point
from circuits.report.drawing.row_heights import heights
from circuits.report.drawing.view_picture import at_layout, chosen, left_out, picture
from circuits.report.view.view import view
from circuits.runs.record import Record
from interp.parts.graph import Graph
from interp.parts.nodes import Node
from interp.scores.resampling import Estimate
from interp.scores.scores import Scores
from tests.circuits.report.drawing.test_report_routes import in_picture, in_view
from tests.circuits.report.view.test_report_view import assert_apart
from tests.circuits.runs.edge_records import edge_record, edge_scores
from tests.circuits.runs.records import an_evaluation
from tests.interp.scores.random_scores import PAIRS, provenance

#: As deep as SmolLM2, with fewer heads.
DEEP = Graph(n_layers=30, n_heads=4, n_kv_heads=2, parallel=(False,) * 30)
#: On a page 1280 pixels wide the drawing has so many (70rem less the margins and the panel of 21rem), and at most so many are above each other.
WIDE, HIGH = 1120 - 48 - 336 - 2, 760
#: Pixels of text in the drawing at its own size, as the script writes it, and the least that is read.
FONT, LEAST = 12.5, 11.0


def deep_record(n: int = 53) -> Record:
    """A run over the heads and MLPs of a deep model, whose circuit is the first `n`, with edges between these."""
    nodes = [Node("head", layer, head) for layer in range(30) for head in range(4)]
    nodes = [Node("embed"), *nodes, *(Node("mlp", layer) for layer in range(30))]
    rng = np.random.default_rng(7)
    mean = rng.normal(size=len(nodes)) * np.exp(rng.normal(size=len(nodes)))
    scores = Scores(tuple(nodes), mean + 0.1 * rng.normal(size=(PAIRS, len(nodes))), provenance("relp", level="heads"))
    order = [scores.parts[i] for i in scores.rank() if scores.parts[i].name != "embed"]
    circuit = Circuit(tuple(order[:n]), "heads", scores.provenance.model, scores.provenance.task, "relp", f"n={n}")
    inside = {node.name for node in circuit.parts} | {"embed"}
    between = [e for e in DEEP.edges if e.sender.name in inside and _reader(e.receiver.name) in {*inside, "logits"}]
    points = tuple(Point(s, Estimate(s / 150, 0.0, 1.0), (0.1,)) for s in (5, 20, n, 150))
    found = an_evaluation(size=n, n_nodes=150, curve=points)
    return Record({}, (scores,), circuit=circuit, evaluation=found, node_edges=edge_scores(tuple(between), 1, "relp"))


def _reader(name: str) -> str:
    """The box that an edge ends at; keys and values that heads share count as the first of these heads."""
    name = name.partition("<")[0]
    return re.sub(r"kv(\d+)", lambda group: f"h{2 * int(group[1])}", name)


RECORDS = {"heads": deep_record, "edges": lambda: edge_record(DEEP, 200, pairs=4)}


@pytest.fixture(scope="module", params=RECORDS)
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    made = view(RECORDS[request.param]())
    assert made is not None
    return made


def layers_of(label: str) -> list[int]:
    """The layers that a strip says it is."""
    first, last = re.findall(r"^layers? (\d+)(?:–(\d+))?$", label)[0]
    return list(range(int(first), int(last or first) + 1))


# ---------------------------------------------------------------- the first view


def test_the_first_view_is_the_strongest_at_a_size_that_is_read(found: dict[str, Any]) -> None:
    size = found["stops"][found["start"]]["size"]
    assert 6 < found["first"] < size and found["order"] == "strongest"
    parts = found["edges"] if found["level"] == "edges" else found["nodes"]
    sizes = {p["at"]: abs(p["importance"]) for p in parts if 0 < p["at"] <= size and p["importance"] is not None}
    weakest = min(v for at, v in sizes.items() if at <= found["first"])
    assert weakest >= max(v for at, v in sizes.items() if at > found["first"])
    nodes, _ = chosen(found)
    rows = found["layouts"][0]["rows"]
    left = min(n["x"] - n["width"] / 2 for n in nodes) - found["layouts"][0]["names"]
    wide = max(n["x"] + n["width"] / 2 for n in nodes) - left + 12
    high = max([n["y"] + 13 for n in nodes] + [r["y"] + r["high"] / 2 for r in rows]) - min(
        [n["y"] - 13 for n in nodes] + [r["y"] - r["high"] / 2 for r in rows]
    )
    scale = min((WIDE - 20) / wide, (HIGH - 20) / high)
    assert FONT * scale >= LEAST, (scale, wide, high)


def test_names_fit_their_boxes_and_strips(found: dict[str, Any]) -> None:
    """At about 7 pixels a letter, which is more than the fonts of the page take; a strip is as high as its name."""
    for layout in found["layouts"]:
        labels = {n["id"]: n["label"] for n in found["nodes"]}
        for key, (_, _, width, dot) in layout["places"].items():
            assert dot or 7 * len(labels[key]) <= width
        assert all(row["high"] >= FONT * 1.2 for row in layout["rows"])
        assert all(7 * len(row["label"]) <= layout["names"] for row in layout["rows"] if not row["folded"])


def test_the_picture_shows_the_first_view_and_says_what_it_leaves_out(found: dict[str, Any]) -> None:
    size = found["stops"][found["start"]]["size"]
    what = "edges" if found["level"] == "edges" else "nodes"
    assert f"its {found['first']} strongest of {size} {what}" in left_out(found)
    drawing = ElementTree.fromstring(str(picture(found)))
    texts = [(text.text or "", float(text.get("x", ""))) for text in drawing.iter("text")]
    assert {n["label"] for n in chosen(found)[0]} <= {text for text, _ in texts}
    wide = float(drawing.get("width", ""))
    assert all(x >= 0 and x + 5 * len(text) <= wide for text, x in texts if ":" in text)


def test_a_picture_in_a_file_holds_the_whole_circuit(found: dict[str, Any]) -> None:
    drawing = ElementTree.fromstring(str(picture(found, whole=True)))
    texts = {text.text for text in drawing.iter("text")}
    assert {n["label"] for n in found["nodes"] if n["chosen"]} <= texts
    assert len(chosen(found, whole=True)[0]) > len(chosen(found)[0])


# ---------------------------------------------------------------- folds


def test_strips_hold_every_layer_once_in_the_order_of_the_model(found: dict[str, Any]) -> None:
    for layout in found["layouts"]:
        rows = layout["rows"]
        assert [layer for row in rows for layer in layers_of(row["label"])] == list(range(30))
        for low, high in itertools.pairwise(rows):
            assert high["y"] + high["high"] / 2 == pytest.approx(low["y"] - low["high"] / 2, abs=0.11)
            assert not (low["folded"] and high["folded"])
    assert sum(row["folded"] for row in found["layouts"][0]["rows"]) >= 3


def test_a_strip_is_folded_where_no_box_stands_and_nowhere_else(found: dict[str, Any]) -> None:
    for place, layout in enumerate(found["layouts"]):
        nodes, _ = at_layout(found, place)
        for row in layout["rows"]:
            low, top = row["y"] + row["high"] / 2, row["y"] - row["high"] / 2
            within = {n["layer"] for n in nodes if top < n["y"] < low}
            assert within <= set(layers_of(row["label"])) and bool(within) != row["folded"]
            assert all(
                top <= n["y"] - 13 and n["y"] + 13 <= low for n in nodes if n["layer"] in layers_of(row["label"])
            )


def test_a_fold_counts_the_nodes_of_the_circuit_that_it_hides(found: dict[str, Any]) -> None:
    names = {n["id"]: n["name"] for n in found["nodes"]}
    for layout in found["layouts"]:
        for row in layout["rows"]:
            layers = layers_of(row["label"])
            hidden = {n["id"] for n in found["nodes"] if n["layer"] in layers and n["id"] not in layout["places"]}
            assert set(row["hides"]) == (hidden if row["folded"] else set()), [names[i] for i in row["hides"]]


def test_labels_of_folds_tell_how_many_weaker_nodes_wait(found: dict[str, Any]) -> None:
    size, drawing = found["stops"][found["start"]]["size"], str(picture(found))
    ends = {end for e in found["edges"] if e["at"] <= size for end in (e["source"], e["target"])}
    inside = [n for n in found["nodes"] if (n["id"] in ends if found["level"] == "edges" else n["chosen"])]
    for row in found["layouts"][0]["rows"]:
        if row["folded"]:
            n = sum(node["layer"] in layers_of(row["label"]) for node in inside)
            said = f"{n} weaker {'node' if n == 1 else 'nodes'}" if n else "none"
            assert f">{row['label']}: {said}<" in drawing


# ---------------------------------------------------------------- the rest


def test_every_part_of_the_circuit_is_in_a_layout_of_its_size(found: dict[str, Any]) -> None:
    """For each number that the slider may stop at there is a layout, not larger than it need be, that holds all its nodes and edges."""
    size = found["stops"][-1]["size"]
    at = {n["id"]: n["at"] for n in found["nodes"]}
    whole = found["layouts"][-1]
    assert set(whole["places"]) == set(at) and set(whole["curves"]) == {e["id"] for e in found["edges"]}
    sizes = [layout["size"] for layout in found["layouts"]]
    assert sizes == sorted(set(sizes)) and sizes[0] == found["first"]
    for cut in range(1, min(size, 260) + 1):
        layout = next((one for one in found["layouts"] if one["size"] >= cut), whole)
        if found["level"] == "edges":
            edges = [e for e in found["edges"] if e["at"] <= cut]
            assert all(e["id"] in layout["curves"] for e in edges[:300])
            assert {end for e in edges[:300] for end in (e["source"], e["target"])} <= set(layout["places"])
        else:
            assert {key for key, when in at.items() if 0 < when <= cut and not _loose(found, key)} <= set(
                layout["places"]
            )


def _loose(found: dict[str, Any], key: str) -> bool:
    return bool(next(n["loose"] for n in found["nodes"] if n["id"] == key))


def test_no_box_meets_another_and_no_arrow_a_box_of_the_first_view(found: dict[str, Any]) -> None:
    for place in range(len(found["layouts"])):
        assert_apart(at_layout(found, place)[0])
    for near in (in_picture(found), in_view(found)):
        assert near and min(near.values()) > 0.9, min(near.items(), key=lambda item: item[1])


def test_what_can_be_read_whole_has_one_layout() -> None:
    record = deep_record(5)
    found = view(record)
    assert found is not None and found["first"] == 5
    small = view(replace(edge_record(n=30)))
    assert small is not None and len(small["layouts"]) == 1 and small["first"] == 30


def test_rows_without_a_line_are_folded_together() -> None:
    made = heights({"a": [1.0], "b": [], "c": [], "d": [4.0, 4.5], "e": []}, ([0.0], [6.0]), {"e": 25.0})
    assert [(strip.names, strip.folded) for strip in made.strips] == [
        (("a",), False), (("b", "c"), True), (("d",), False), (("e",), False),
    ]  # fmt: skip
    assert made.strips[1].label == "b to c" and made.strips[3].high == 25
    ys = [made.y[line] for line in (0.0, 1.0, 4.0, 4.5, 6.0)]
    assert ys == sorted(ys, reverse=True) and min(a - b for a, b in itertools.pairwise(ys)) >= 40
