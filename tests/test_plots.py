"""Figures hold the numbers of the values they show, centred at zero, with units, and harmless text."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from typing import Any

import pytest

from circuits.circuit import Circuit, CircuitError
from circuits.evaluation import Estimate, Evaluation, Point
from circuits.faithfulness import evaluate
from circuits.plots import MOST_BARS, plot_agreement, plot_circuit, plot_evaluation, plot_scores
from circuits.report.edges import MOST_DRAWN
from circuits.selection import discover
from interp.attribution import attribute_all
from interp.errors import ScoreError
from interp.features.edges import feature_edges
from interp.graph import Edge, parse_edge
from interp.scores import Scores

from .dictionaries import made
from .test_report_edges import GPT2, edge_record, edge_scores
from .tiny import hooked, toy_task


@pytest.fixture(scope="module")
def found() -> dict[str, Scores]:
    """Estimate and exact scores of a tiny model with more than one K/V head and MLP."""
    return attribute_all(hooked("llama"), toy_task(), methods=["relp", "exact"], level="heads")


def as_json(figure: Any) -> dict[str, Any]:
    """What a browser is sent."""
    return json.loads(figure.to_json())


def cells(figure: Any) -> dict[tuple[str, str], float]:
    heat = figure.data[0]
    return {(y, x): v for y, row in zip(heat.y, heat.z, strict=True) for x, v in zip(heat.x, row, strict=True)}


def test_score_map_holds_every_score_once(found: dict[str, Scores]) -> None:
    scores = found["relp"]
    shown = cells(plot_scores(scores))
    assert shown["1", "h2"] == pytest.approx(scores["a1.h2"])
    assert shown["0", "mlp"] == pytest.approx(scores["m0"])
    assert shown["none", "embed"] == pytest.approx(scores["embed"])
    assert sum(value is not None for value in shown.values()) == len(scores.parts)


def test_score_map_is_centred_and_has_units(found: dict[str, Scores]) -> None:
    figure = plot_scores(found["relp"])
    heat = figure.data[0]
    assert heat.zmid == 0
    assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text == "layer"
    assert heat.colorbar.title.text == "logits"
    assert "a0.h1" in heat.text[list(heat.y).index("0")][list(heat.x).index("h1")]


@pytest.mark.parametrize(
    ("level", "positions"), [("resid", "each"), ("heads", "end"), ("qkv", "all"), ("blocks", "all")]
)
def test_every_level_has_a_map(level: str, positions: str) -> None:
    scores = attribute_all(hooked("llama"), toy_task(), methods=["atp"], level=level, positions=positions)["atp"]
    figure = plot_scores(scores)
    values = [v for v in cells(figure).values() if v is not None]
    assert sorted(values) == pytest.approx(sorted(scores.mean))
    assert as_json(figure)["data"]


def test_neurons_are_bars_of_the_largest() -> None:
    scores = attribute_all(hooked("gpt2"), toy_task(), methods=["atp"], level="neurons")["atp"]
    bar = plot_scores(scores).data[0]
    assert len(bar.x) == MOST_BARS
    assert (bar.y[-1], bar.x[-1]) == pytest.approx(scores.top(1)[0])


def test_features_and_their_edges_are_bars_of_the_largest() -> None:
    model, names = hooked("gpt2"), ("resid_post.0", "mlp_out.1")
    dictionaries = {d.target: d for d in (made(name, model.layout.d_model, n=40) for name in names)}
    common = {"level": "features", "dictionaries": dictionaries}
    nodes = attribute_all(model, toy_task(), methods=["relp"], **common)["relp"]
    edges = feature_edges(model, toy_task(), [name for name, _ in nodes.top(6)], dictionaries=dictionaries)
    for scores, what in ((nodes, "feature"), (edges, "edge")):
        bar, size = plot_scores(scores).data[0], min(MOST_BARS, len(scores.parts))
        wanted = sorted(scores.mean.tolist(), key=abs, reverse=True)[:size]
        assert bar.type == "bar" and [abs(x) for x in bar.x[::-1]] == pytest.approx([abs(x) for x in wanted])
        assert plot_scores(scores).layout.yaxis.title.text == f"{what}, the {size} largest of {len(scores.parts)}"


def test_agreement_shows_every_node_at_both_scores(found: dict[str, Scores]) -> None:
    figure = plot_agreement(found["relp"], found["exact"])
    points = {
        text: (x, y) for trace in figure.data[1:] for text, x, y in zip(trace.text, trace.x, trace.y, strict=True)
    }
    assert points.keys() == {node.name for node in found["exact"].parts}
    assert points["a1.h3"] == pytest.approx((found["exact"]["a1.h3"], found["relp"]["a1.h3"]))
    assert "logits" in figure.layout.xaxis.title.text and "logits" in figure.layout.yaxis.title.text


def test_agreement_of_a_sample_pairs_nodes_by_name(found: dict[str, Scores]) -> None:
    sample = found["exact"].select_components({"m1", "a0.h0", "a1.h1"})
    figure = plot_agreement(found["relp"], sample)
    assert sum(len(trace.x) for trace in figure.data[1:]) == 3


def test_agreement_refuses_other_conventions(found: dict[str, Scores]) -> None:
    with pytest.raises(ScoreError, match="exact"):
        plot_agreement(found["exact"], found["relp"])


def test_evaluation_curve() -> None:
    model, task = hooked("gpt2"), toy_task(8)
    scores = attribute_all(model, task, methods=["atp"], level="heads")["atp"]
    found = evaluate(model, task, discover(scores, n=3), scores=scores, n_random=4)
    figure = plot_evaluation(found)
    if found.faithfulness.value is not None:
        at = list(figure.data[1].x).index(3)
        assert figure.data[1].y[at] == pytest.approx(found.faithfulness.value)
        assert len(figure.data[0].x) == 4 * len(found.curve)
    assert "faithfulness" in figure.layout.yaxis.title.text and figure.layout.xaxis.type == "log"


def test_undefined_faithfulness_says_why() -> None:
    nothing = Estimate(None, None, None)
    found = Evaluation(
        nothing, nothing, "logit_diff", "logits", 0.0, 0.0, 0.0, 2, 10, "zero", 4, True,
        (Point(2, nothing, (None, None)),), None, 2, 0, reason="the interval includes 0",
    )  # fmt: skip
    figure = plot_evaluation(found)
    assert "the interval includes 0" in figure.layout.title.text
    assert len(figure.data[1].x) == 0


def test_names_from_files_are_text_and_never_tags(found: dict[str, Scores]) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    scores = replace(found["relp"], provenance=replace(found["relp"].provenance, task=hostile, unit=hostile))
    text = plot_scores(scores).to_json()
    assert "<img" not in text and "\\u003cimg" not in text


def test_labels_with_angle_brackets_are_escaped() -> None:
    scores = attribute_all(hooked("llama"), toy_task(), methods=["atp"], level="qkv")["atp"]
    columns = plot_scores(scores).data[0].x
    assert "h0&lt;q&gt;" in columns and "kv1&lt;v&gt;" in columns


# ------------------------------------------------------------ edges


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


def test_circuit_without_scores_and_of_nodes() -> None:
    record = edge_record(n=12)
    assert record.circuit is not None
    assert {trace.name.partition(",")[0] for trace in plot_circuit(record.circuit).data} == {"no score"}
    nodes = Circuit(record.circuit.nodes[:1], "heads", "m", "t", "by hand", "by hand")
    with pytest.raises(CircuitError, match="circuit of nodes"):
        plot_circuit(nodes)
    with pytest.raises(ScoreError, match="of nodes, not of edges"):
        plot_circuit(record.circuit, attribute_all(hooked("gpt2"), toy_task(), methods=["atp"], level="heads")["atp"])


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
