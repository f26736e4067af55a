"""Figures of evaluations: the measured curve, or why there is none."""

from __future__ import annotations

import pytest

from circuits.circuit.selection import discover
from circuits.display.circuit_plots import plot_evaluation
from circuits.evaluation.evaluation import Evaluation, Point
from circuits.evaluation.faithfulness import evaluate
from interp.attribution.request import attribute_all
from interp.scores.resampling import Estimate
from interp.scores.scores import Scores
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task


@pytest.fixture(scope="module")
def found() -> dict[str, Scores]:
    """Estimate and exact scores of a tiny model with more than one K/V head and MLP."""
    return attribute_all(hooked("llama"), toy_task(), methods=["relp", "exact"], level="heads")


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


def test_the_same_value_gives_the_same_figure(found: dict[str, Scores]) -> None:
    relp, exact = found["relp"], found["exact"]
    circuit = discover(relp, n=3)
    for make in (relp.plot, lambda: relp.plot_against(exact), lambda: circuit.plot(relp)):
        text = make().to_json()
        assert text == make().to_json() and '"uid"' not in text
