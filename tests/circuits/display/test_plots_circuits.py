"""Figures of circuits: every part stands where the forward pass has it, with its score and the colour of its sign."""

from __future__ import annotations

import html
from dataclasses import replace
from typing import Any

import pytest

from circuits.circuit.circuit import CircuitError
from circuits.circuit.selection import discover
from circuits.display.circuit_plots import plot_circuit, plot_evaluation
from circuits.report.sections.edges_section import MOST_DRAWN
from interp.attribution.feature_edges import feature_edges
from interp.attribution.request import attribute_all
from interp.display.plots import MOST_BARS, plot_agreement, plot_scores
from interp.errors import ScoreError
from interp.parts.graph import Edge, parse_edge
from interp.scores.scores import Scores
from tests.circuits.runs.edge_records import GPT2, edge_record, edge_scores
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task


@pytest.fixture(scope="module")
def found() -> dict[str, Scores]:
    """Estimate and exact scores of a tiny model with more than one K/V head and MLP."""
    return attribute_all(hooked("llama"), toy_task(), methods=["relp", "exact"], level="heads")


def hovers(figure: Any) -> dict[str, tuple[str, tuple[float, float], tuple[float, float]]]:
    """Edge name -> what the pointer shows, and where its curve begins and ends."""
    found = {}
    for trace in figure.data:
        gaps = [i for i, x in enumerate(trace.x) if x is None]
        for start, stop in zip([0, *(gap + 1 for gap in gaps)], gaps, strict=False):
            (text,) = set(trace.text[start:stop])
            ends = [(trace.x[i], trace.y[i]) for i in (start, stop - 1)]
            found[html.unescape(text).partition(": ")[0]] = (html.unescape(text), *ends)
    return found


def test_circuit_shows_every_edge_with_its_score() -> None:
    record = edge_record(n=40)
    assert record.circuit is not None
    scores = record.scores[0]
    figure = plot_circuit(record.circuit, scores)
    shown = hovers(figure)
    assert {name: text for name, (text, _, _) in shown.items()} == {
        e.name: f"{e.name}: {scores[e.name]:+.4f} logits" for e in record.circuit.edges
    }
    assert all(start[1] < stop[1] for _, start, stop in shown.values())
    labels = {note.text for note in figure.layout.annotations}
    assert labels == {str(e.sender) for e in record.circuit.edges} | {
        str(e.receiver).partition("<")[0] for e in record.circuit.edges
    }


def test_circuit_is_coloured_by_the_sign_of_importance() -> None:
    record = edge_record(n=40, importance_sign=-1, direction="noise")
    assert record.circuit is not None
    for trace in plot_circuit(record.circuit, record.scores[0]).data:
        names = {html.unescape(text).partition(": ")[0] for text in trace.text}
        importances = [-record.scores[0][name] for name in names]
        assert all((value > 0) == trace.name.startswith("for the answer") for value in importances)
        assert {parse_edge(name).receiver.kind == "q" for name in names} == {trace.line.dash == "dash"}


def test_circuit_draws_the_strongest_and_counts_the_rest() -> None:
    record = edge_record(GPT2, n=260)
    assert record.circuit is not None
    figure = plot_circuit(record.circuit, record.scores[0])
    assert set(hovers(figure)) == {edge.name for edge in record.circuit.edges[:MOST_DRAWN]}
    assert "the strongest 200 drawn, 60 left out" in figure.layout.title.text


def test_circuit_without_scores_and_with_scores_of_nodes() -> None:
    record = edge_record(n=12)
    assert record.circuit is not None
    assert {trace.name.partition(",")[0] for trace in plot_circuit(record.circuit).data} == {"no score"}
    with pytest.raises(ScoreError, match="of nodes, not of edges"):
        plot_circuit(record.circuit, attribute_all(hooked("gpt2"), toy_task(), methods=["atp"], level="heads")["atp"])


def marks(figure: Any) -> dict[str, tuple[str, str, float]]:
    """Node -> what the pointer shows, its colour and its height."""
    (trace,) = [trace for trace in figure.data if trace.name == "nodes"]
    both = zip(trace.text, trace.marker.color, trace.y, strict=True)
    return {html.unescape(text).partition(": ")[0]: (html.unescape(text), colour, y) for text, colour, y in both}


def test_a_circuit_of_nodes_stands_layer_above_layer_and_shows_scores(found: dict[str, Scores]) -> None:
    scores = found["relp"]
    circuit = discover(scores, n=4)
    shown = marks(circuit.plot(scores))
    assert set(shown) == {node.name for node in circuit.nodes} | {"embed", "logits"}
    for node in circuit.nodes:
        text, colour, _ = shown[node.name]
        assert text == f"{node.name}: {scores[node.name]:+.4f} logits"
        red, blue = int(colour[1:3], 16), int(colour[5:7], 16)
        assert (red > blue) == (scores[node.name] > 0) or red == blue
    heights = [y for _, (_, _, y) in sorted(shown.items(), key=lambda item: layer_of(item[0]))]
    assert heights == sorted(heights)


def layer_of(name: str) -> float:
    """Where a node stands in the forward pass: an MLP after the heads of its layer."""
    ends = {"embed": -1.0, "logits": 99.0}
    return ends[name] if name in ends else int(name[1:].split(".")[0]) + 0.5 * name.startswith("m")


def test_edges_between_the_nodes_of_a_circuit(found: dict[str, Scores]) -> None:
    circuit = discover(found["relp"], n=4)
    edges = attribute_all(hooked("llama"), toy_task(), methods=["relp"], level="edges")["relp"]
    shown = hovers(circuit.plot(found["relp"], edges=edges))
    inside = {node.name for node in circuit.nodes} | {"embed", "logits"}
    assert shown
    for name, (text, _, _) in shown.items():
        sender, receiver = name.split("->")
        assert {sender, receiver.partition("<")[0]} <= inside or ".kv" in receiver
        assert text == f"{name}: {edges[name]:+.4f} logits"
    with pytest.raises(CircuitError, match="scores of level 'edges' for a circuit of level 'heads'"):
        circuit.plot(edges)
    with pytest.raises(CircuitError, match="edges of level 'heads'"):
        circuit.plot(edges=found["relp"])


def test_a_circuit_of_features_has_a_row_for_each_site() -> None:
    model, names = hooked("gpt2"), ("resid_post.0", "mlp_out.1")
    dictionaries = {d.target: d for d in (made(name, model.layout.d_model, n=40) for name in names)}
    scores = attribute_all(model, toy_task(), methods=["relp"], level="features", dictionaries=dictionaries)["relp"]
    circuit = discover(scores, n=8)
    shown = marks(circuit.plot(scores))
    assert {node.name for node in circuit.nodes} <= set(shown)
    assert len({y for name, (_, _, y) in shown.items() if name.startswith("mlp_out.1.f")}) <= 1
    edges = feature_edges(model, toy_task(), [n.name for n in circuit.nodes], dictionaries=dictionaries)
    figure = circuit.plot(scores, edges=edges)
    both = hovers(figure)
    assert {text for text, _, _ in both.values()} <= {f"{e.name}: {edges[e.name]:+.4f} logits" for e in edges.edges}
    # What reads a feature is a feature: no query, key or value.
    assert both and {trace.name for trace in figure.data} <= {"nodes", "for the answer", "against the answer"}


def test_scores_of_edges_are_bars_of_the_largest() -> None:
    scores = edge_record().scores[0]
    figure = plot_scores(scores)
    bar = figure.data[0]
    assert [html.unescape(name) for name in bar.y[::-1]] == [name for name, _ in scores.top(MOST_BARS)]
    assert list(bar.x[::-1]) == pytest.approx([value for _, value in scores.top(MOST_BARS)])
    assert figure.layout.yaxis.title.text == f"edge, the {MOST_BARS} largest of {len(scores.parts)}"


def test_agreement_of_edges_by_what_reads_them() -> None:
    record = edge_record()
    assert record.exact is not None
    figure = plot_agreement(record.scores[0], record.exact)
    assert {trace.name for trace in figure.data[1:]} == {"into q", "into k", "into v", "into mlp", "into logits"}
    row = record.agreements[0]["all"]
    assert f"over {row.n} edges" in figure.layout.title.text and f"{row.pearson:.2f}" in figure.layout.title.text


def test_evaluation_counts_edges() -> None:
    record = edge_record()
    assert record.evaluation is not None
    figure = plot_evaluation(record.evaluation)
    assert "30 of 479 edges" in figure.layout.title.text and "node" not in figure.to_json()


def test_names_of_edges_are_text_and_never_tags() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    record = edge_record(task=hostile, unit=hostile)
    assert record.circuit is not None
    edge = record.circuit.edges[0]
    placed = edge_scores((Edge(edge.sender, edge.receiver, hostile),), 1, "relp", positions="spans", unit=hostile)
    circuit = replace(record.circuit, task=hostile)
    for figure in (plot_circuit(circuit, record.scores[0]), plot_scores(placed), plot_circuit(circuit, placed)):
        text = figure.to_json()
        assert "<img" not in text and "\\u003cimg" not in text
