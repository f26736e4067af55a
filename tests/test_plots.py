"""Figures hold the numbers of the values they show, centred at zero, with units, and harmless text."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from circuits.evaluation import Estimate, Evaluation, Point
from circuits.faithfulness import evaluate
from circuits.plots import MOST_BARS, plot_agreement, plot_evaluation, plot_scores
from circuits.selection import discover
from interp.attribution import attribute_all
from interp.errors import ScoreError
from interp.scores import Scores

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
