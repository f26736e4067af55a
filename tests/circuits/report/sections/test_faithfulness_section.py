"""The facts of a circuit's evaluation on the page."""

from __future__ import annotations

from circuits.evaluation.evaluation import OtherAblation
from circuits.report.sections.faithfulness_section import faithfulness
from interp.scores.resampling import Estimate
from tests.circuits.runs.records import an_evaluation


def test_it_is_on_the_page_with_its_random_circuits() -> None:
    judged = OtherAblation(
        "zero", Estimate(0.29, 0.2, 0.4), Estimate(0.6, 0.5, 0.7), 3.0, 0.5, 1.2, (0.01, 0.034), "", ("mean: <b>",)
    )
    shown = faithfulness(an_evaluation(other=judged)) or {}
    facts = {fact["name"]: fact["value"] for fact in shown["facts"]}
    assert facts["faithfulness of the circuit under zero ablation"] == (
        "29 % [20, 40] (the circuit is made for its own ablation); random circuits 1 to 3 %, n = 2"
    )
    assert (
        facts["logit difference under zero ablation: whole model, circuit alone, empty circuit"]
        == "3.000, 1.200, 0.5000 logits"
    )
    assert facts["tried before, where it says nothing"] == "mean: <b>"
    without = faithfulness(an_evaluation()) or {}
    assert len(without["facts"]) == len(facts) - 3
