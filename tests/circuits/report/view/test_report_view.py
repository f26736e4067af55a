"""The interactive view of a circuit: its data says what the values say, and its places do not collide."""

from __future__ import annotations

import html
import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from circuits.anatomy.anatomy import Anatomy
from circuits.anatomy.closeups_edges import with_exact
from circuits.circuit.circuit import Circuit
from circuits.report.drawing.shared_groups import sharing
from circuits.report.drawing.view_picture import at_layout, chosen, picture
from circuits.report.view.view import MOST_EDGES, MOST_NODES, view
from circuits.report.view.view_layouts import DRAWN
from circuits.runs.record import Record
from interp.formatting.numbers import percent_interval, percent_range
from interp.parts.graph import Edge, parse_edge
from interp.parts.nodes import Node
from interp.scores.scores import Scores
from tests.circuits.runs.edge_records import GROUPED, MIDDLE, SMALL, edge_record, edge_scores, large_record, node_record
from tests.circuits.runs.records import a_record, an_evaluation
from tests.interp.scores.random_scores import provenance, some_scores


def seen(record: Record) -> dict[str, Any]:
    found = view(record)
    assert found is not None
    return found


# ------------------------------------------------------------ nodes, edges, stops


def test_every_node_carries_its_score_interval_rank_and_membership() -> None:
    record = a_record()
    scores, circuit = record.scores[0], record.circuit
    assert circuit is not None
    by_name = {node["name"]: node for node in seen(record)["nodes"]}
    assert set(by_name) == {part.name for part in scores.parts} | {"logits"}
    by_size = sorted(range(len(scores.parts)), key=lambda i: -abs(scores.mean[i]))
    for i, part in enumerate(scores.parts):
        node = by_name[part.name]
        mean = scores.per_example[:, i].mean()
        half = 1.96 * scores.per_example[:, i].std(ddof=1) / np.sqrt(len(scores.per_example))
        low, high = (float(text) for text in node["interval"].replace("−", "-").strip("[]").split(","))
        assert float(node["score"].split(" ")[0].replace("−", "-")) == pytest.approx(mean, abs=1e-3)
        assert (low, high) == pytest.approx((mean - half, mean + half), abs=2e-3)
        assert node["rank"] == f"{by_size.index(i) + 1} of {len(scores.parts)}"
        assert node["known"] == "estimated (by relp)" and node["sign"] == ("neg" if mean < 0 else "pos")
        assert node["chosen"] == (part in circuit.parts) and node["importance"] == pytest.approx(mean, abs=1e-6)


def test_importance_turns_the_sign() -> None:
    scores = some_scores(
        (Node("head", 0, 0), Node("head", 0, 1)), 1, method="exact", importance_sign=-1, direction="noise"
    )
    circuit = Circuit(scores.parts[:1], "heads", "m", "t", "exact", "n=1")
    for node in seen(Record({}, (scores,), circuit=circuit))["nodes"]:
        if node["score"]:
            mean = float(scores.mean[[p.name for p in scores.parts].index(node["name"])])
            assert node["sign"] == ("neg" if mean > 0 else "pos") and node["known"] == "exact"


def test_a_node_is_in_from_its_place_in_the_ranking() -> None:
    record = a_record()
    scores, circuit = record.scores[0], record.circuit
    assert circuit is not None
    at = {node["name"]: node["at"] for node in seen(record)["nodes"]}
    ranking = [scores.parts[i].name for i in np.argsort(-np.abs(scores.mean)) if scores.parts[i].name != "embed"]
    assert [name for name, _ in sorted(at.items(), key=lambda item: item[1]) if at[name]] == ranking
    assert at["embed"] == at["logits"] == 0


def test_the_slider_stops_where_the_curve_was_measured() -> None:
    record = a_record()
    found, evaluation = seen(record), record.evaluation
    assert evaluation is not None
    points = {p.size: p for p in evaluation.curve}
    assert [stop["size"] for stop in found["stops"]] == sorted(points)
    assert found["stops"][found["start"]]["size"] == 6 == len(record.circuit or ())
    for stop in found["stops"]:
        f = evaluation.faithfulness if stop["chosen"] else points[stop["size"]].faithfulness
        assert stop["faithful"] == percent_interval(f.value, f.low, f.high)
        random = [r for r in points[stop["size"]].random if r is not None]
        assert stop["random"] == f"{percent_range(min(random), max(random))} ({len(random)} circuits)"
        assert stop["words"].startswith("the chosen circuit" if stop["chosen"] else "the first")


def test_a_circuit_that_is_not_the_top_of_the_ranking_is_never_called_that() -> None:
    record = a_record()
    assert record.circuit is not None
    scores = record.scores[0]
    last = [scores.parts[i] for i in np.argsort(np.abs(scores.mean)) if scores.parts[i].name != "embed"][:6]
    found = seen(replace(record, circuit=replace(record.circuit, parts=tuple(last))))
    assert not [stop for stop in found["stops"] if "first" in stop["words"] and "of the ranking" in stop["words"]]
    words = {stop["size"]: stop["words"] for stop in found["stops"]}
    assert words[6] == "the chosen circuit: 6 nodes"
    assert words[4] == "the first 4 nodes of the chosen circuit, in its own order"
    assert words[10] == "the chosen circuit and the next 4 nodes of the ranking"


def test_without_an_evaluation_there_is_one_stop_and_no_number() -> None:
    (stop,) = seen(replace(a_record(), evaluation=None))["stops"]
    assert stop["faithful"] == stop["random"] == "not measured in this run" and stop["gauge"] == [None] * 5


def test_edges_of_a_node_circuit_join_nodes_that_are_there() -> None:
    found = seen(node_record())
    nodes = {node["id"]: node["name"] for node in found["nodes"]}
    known = {part.name for part in a_record().scores[0].parts} | {"logits"}
    expected = {e.name for e in SMALL.edges if {e.sender.name, e.receiver.name.partition("<")[0]} <= known}
    assert {edge["name"] for edge in found["edges"]} == expected
    for edge in found["edges"]:
        sender, receiver = edge["name"].split("->")
        assert nodes[edge["source"]] == sender and nodes[edge["target"]] == receiver.partition("<")[0]
        assert edge["channel"] == ("" if "<" not in receiver else receiver[-2])
    sizes = [abs(edge["importance"]) for edge in found["edges"]]
    assert sizes == sorted(sizes, reverse=True) and found["drawn"] <= DRAWN


def test_without_edges_the_page_says_why() -> None:
    assert "edges between these nodes were not scored" in seen(a_record())["noEdges"]
    assert not seen(node_record())["noEdges"]


def test_a_large_circuit_of_edges_holds_the_first_and_says_what_is_left() -> None:
    record = edge_record(MIDDLE, 3000, pairs=4)
    found = seen(record)
    assert len(found["edges"]) == MOST_EDGES and found["drawn"] == DRAWN
    assert found["left"] == f"{len(MIDDLE.edges) - MOST_EDGES:,} weaker edges are not on this page"
    big = [stop for stop in found["stops"] if stop["size"] > MOST_EDGES]
    assert big and all(stop["note"] == f"The page holds the first {MOST_EDGES:,} of them." for stop in big)
    assert record.circuit is not None
    assert {edge["name"] for edge in found["edges"]} == {part.name for part in record.circuit.parts[:MOST_EDGES]}


def neurons_record() -> Record:
    nodes = tuple(Node("neuron", layer, unit) for layer in range(4) for unit in range(500))
    scores = some_scores(nodes, 1, method="relp", level="neurons")
    order = [nodes[i] for i in scores.rank()]
    circuit = Circuit(tuple(order[:150]), "neurons", "m", "t", "relp", "n=150")
    return Record({}, (scores,), circuit=circuit, evaluation=an_evaluation(size=150, n_nodes=2000))


RECORDS = {
    "heads": node_record,
    "edges": lambda: edge_record(n=60),
    "grouped": lambda: edge_record(GROUPED, 40),
    "gpt2": lambda: large_record(200),
    "neurons": neurons_record,
}


@pytest.mark.parametrize("kind", RECORDS)
def test_no_two_nodes_touch_and_edges_go_up(kind: str) -> None:
    found = seen(RECORDS[kind]())
    assert 0 < len(found["nodes"]) <= MOST_NODES + 2
    for place in range(len(found["layouts"])):
        nodes, edges = at_layout(found, place)
        assert_apart(nodes)
        height = {n["id"]: n["y"] for n in nodes}
        assert all(height[e["source"]] > height[e["target"]] for e in edges)


def assert_apart(nodes: list[dict[str, Any]]) -> None:
    """No two boxes or dots touch."""
    places = [(n["x"], n["y"], n["width"], n["width"] if n["dot"] else 26.0, n["name"]) for n in nodes]
    for a, b in itertools.combinations(places, 2):
        apart = abs(a[0] - b[0]) >= (a[2] + b[2]) / 2 or abs(a[1] - b[1]) >= (a[3] + b[3]) / 2
        assert apart, (a, b)


def test_query_key_and_value_enter_left_middle_and_right() -> None:
    edges = tuple(parse_edge(f"a0.h{i}->a1.h0<{c}>") for c in "vkq" for i in range(3))
    found = seen(Record({}, (), circuit=Circuit(edges, "edges", "m", "t", "by hand", "by hand")))
    ends = {c: {e["end"][0] for e in at_layout(found, -1)[1] if e["channel"] == c} for c in "qkv"}
    assert max(ends["q"]) < min(ends["k"]) == 0 == max(ends["k"]) < min(ends["v"])


def test_scores_of_one_pair_have_no_interval() -> None:
    scores = Scores((Node("head", 0, 0),), np.ones((1, 1)), provenance("exact", n_pairs=1))
    circuit = Circuit(scores.parts, "heads", "m", "t", "exact", "n=1")
    node = seen(Record({}, (scores,), circuit=circuit))["nodes"][0]
    assert node["score"] and node["interval"] == ""


# ------------------------------------------------------------ shared keys and values, weak edges


def grouped_record(*heads: tuple[int, int]) -> Record:
    """A run over heads of a model whose heads share keys and values by twos, with the edges between some of them."""
    nodes = (*(Node("head", layer, unit) for layer, unit in heads), *(Node("mlp", layer) for layer in range(3)))
    inside = {node.name for node in nodes} | {"embed", "logits"}

    def within(edge: Edge) -> bool:
        reader = edge.receiver
        ends = {reader.name.partition("<")[0]}
        if reader.grouped:
            ends = {f"a{reader.layer}.h{2 * (reader.unit or 0) + i}" for i in (0, 1)}
        return edge.sender.name in inside and bool(ends & inside)

    scores = some_scores((Node("embed"), *nodes), 2, method="relp")
    circuit = Circuit(tuple(node for node in nodes if node.kind == "head"), "heads", "m", "t", "relp", "n")
    edges = edge_scores([edge for edge in GROUPED.edges if within(edge)], 3, "relp")
    return Record({}, (scores,), circuit=circuit, node_edges=edges)


def test_shared_keys_and_values_are_there_only_with_a_head_that_reads_them() -> None:
    found = seen(grouped_record((0, 1), (2, 0), (2, 3)))
    nodes = {node["id"]: node for node in found["nodes"]}
    at = {node["name"]: node["at"] for node in found["nodes"]}
    joined = {(nodes[j["source"]]["name"], nodes[j["target"]]["name"]) for j in found["joins"]}
    assert joined == {("a0.kv0", "a0.h1"), ("a2.kv0", "a2.h0"), ("a2.kv1", "a2.h3")}
    for group, head in joined:
        assert at[group] == at[head] > 0
    assert {n["name"] for n in found["nodes"] if n["role"] == "shared"} == {group for group, _ in joined}


@pytest.mark.parametrize("size", [2, 3, 4])
def test_groups_are_told_by_the_edges(size: int) -> None:
    graph = replace(GROUPED, n_heads=12, n_kv_heads=12 // size)
    told = {f"a{layer}.h{head}": f"a{layer}.kv{head // size}" for layer in range(graph.n_layers) for head in range(12)}
    assert sharing(graph.edges, graph.edges) == told and sharing(SMALL.edges) == {}


def test_groups_that_the_edges_do_not_tell_are_not_guessed() -> None:
    """Heads 0, 2 and 3 with groups 0 and 1: by twos or by threes?"""
    edges = [parse_edge(f"embed->a0.h{head}<q>") for head in (0, 2, 3)]
    edges += [parse_edge(f"embed->a0.kv{group}<v>") for group in (0, 1)]
    assert sharing(edges) == {}


def test_weak_edges_of_a_circuit_of_nodes_wait_and_those_of_a_circuit_of_edges_do_not() -> None:
    found = seen(node_record())
    limit = max(abs(edge["importance"]) for edge in found["edges"])
    faint = {edge["id"] for edge in found["edges"] if abs(edge["importance"]) < 0.0195 * limit}
    assert faint and not faint & {edge["id"] for edge in chosen(found)[1]}
    assert seen(edge_record())["least"] == 0 < found["least"] == 0.02


def checked_record(error: int, n: int, times: float = 1.0) -> Record:
    """The first `n` arrows are exact; `error`: how far off the estimates are; `times`: how many times the exact scores they are."""
    found = edge_scores(SMALL.edges, 1, "relp")
    estimates = Scores(found.parts, times * found.per_example, found.provenance)
    exact = edge_scores(SMALL.edges, error, "exact").select(estimates.rank()[:n])
    edges, agreed = with_exact(estimates, exact, 0)
    return replace(node_record(), node_edges=edges, anatomy=Anatomy(arrows=agreed))


def test_arrows_that_were_all_patched_are_called_exact() -> None:
    assert seen(checked_record(0, len(SMALL.edges)))["arrows"] == "arrows: exact"


@pytest.mark.parametrize(
    "record", [node_record(), a_record(), edge_record(GROUPED)], ids=["heads", "no edges", "edges"]
)
def test_the_drawing_has_about_the_shape_of_its_frame(record: Record) -> None:
    nodes = chosen(seen(record))[0]
    wide, high = (max(n[key] for n in nodes) - min(n[key] for n in nodes) for key in ("x", "y"))
    assert 0.6 < (wide + 190) / (high + 100) < 1.8


def test_an_edge_at_several_positions_is_one_arrow_of_the_picture() -> None:
    """It tells of each, its positions stand in its middle, and its width is that of the strongest."""
    labels = ("S2", "end", "rest")
    edges = tuple(edge for label in labels for edge in (replace(e, position=label) for e in SMALL.edges[:6]))
    scores = edge_scores(edges, 1, "relp", positions="spans")
    circuit = Circuit(edges, "edges", "m", "t", "relp", "by hand", positions="spans", labels=labels)
    found = seen(Record({}, (scores,), circuit=circuit))
    drawn = str(picture(found))
    titles = [title for t in re.findall(r"<title>([^<]*)</title>", drawn) if "->" in (title := html.unescape(t))]
    assert len(titles) == 6 == drawn.count('class="edge ')
    for edge in SMALL.edges[:6]:
        (own,) = [title for title in titles if title.startswith(f"{edge.name}@")]
        sizes = {
            name: abs(float(scores.mean[i]))
            for i, part in enumerate(edges)
            if (name := part.name).startswith(f"{edge.name}@")
        }
        order = [part.partition(":")[0] for part in own.split("; ")]
        assert order == sorted(sizes, key=lambda name: -sizes[name])
    assert set(re.findall(r'arrow-name">([^<]*)<', drawn)) <= {", ".join(p) for p in itertools.permutations(labels)}
    assert "arrow-name" in drawn
