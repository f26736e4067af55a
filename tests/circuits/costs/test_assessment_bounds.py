"""What an evaluation may cost, told before it, against what the ledger says of it."""

from __future__ import annotations

import pytest

import circuits
import interp
from circuits.costs.assessment_bounds import asked_of, bounds
from circuits.costs.bounds import Bounds, one_forward, spent
from interp.errors import InterpError
from interp.ledger import counting
from tests.interp.attribution.features.given_dictionaries import given, stub
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import answered, toy_task


@pytest.mark.parametrize(
    ("name", "level", "ablation", "n"),
    [
        ("llama", "heads", "counterfactual", 3),
        ("llama", "edges", "mean", 20),
        ("llama", "edges@end", "counterfactual", 20),
        ("gemma2", "edges", "counterfactual", 3),
        ("olmo2", "edges", "zero", 20),  # a norm mixes the columns of heads: q, k and v again for each
        ("gpt2", "neurons", "counterfactual", 9),
        ("phi", "blocks", "mean", 1),
        ("llama", "heads", "optimal", 3),
        ("gemma2", "edges", "optimal", 3),
        ("mixtral", "heads", "resample", 3),
        ("falcon", "heads", "counterfactual", 2),  # cannot be restarted: whole forwards
    ],
)
@pytest.mark.parametrize("memory", [None, "40MiB"])
def test_no_phase_costs_more_than_was_said(name: str, level: str, ablation: str, n: int, memory: str | None) -> None:
    model = hooked(name)
    task = answered(model, toy_task())
    level, _, positions = level.partition("@")
    method = "eap" if level == "edges" else "atp"
    asked_for = {"level": level, "positions": positions or "all", "ablation": ablation}
    scores = interp.attribute(model, task, method=method, direction="noise", **asked_for)
    circuit = circuits.discover(scores, n=n)
    asked = asked_of(model, task, circuit, ablation, "logit_diff", max_memory=memory)
    planned = bounds(asked, circuit, scores, n_random=2, n_tests=3)
    with counting() as ledger:
        circuits.assess(model, task, circuit, scores, ablation=ablation, n_random=2, n_tests=3, max_memory=memory)
    cost = spent(ledger, one_forward(model, asked.pairs))
    found = cost["forwards_by_phase"]
    assert set(found) == set(planned.phases) == {"curve", "tests", "minimality", "areas"}
    assert {phase: n for phase, n in found.items() if n > planned.phases[phase] + 0.005} == {}
    assert planned.total < 12 * cost["forwards_total"]


@pytest.mark.parametrize("ablation", ["counterfactual", "mean", "zero", "resample"])
def test_it_does_not_at_level_features(ablation: str) -> None:
    """Errors kept and removed, by dictionaries of every architecture, a transcoder among them."""
    model, _ = stub()
    task = answered(model, toy_task(6, (6, 7)))
    options = {"ablation": ablation, "dictionaries": given(model)}
    scores = interp.attribute(model, task, method="atp", level="features", direction="noise", **options)
    circuit = circuits.discover(scores, n=4)
    found = {d.target: d for d in given(model).values()}
    asked = asked_of(model, task, circuit, ablation, "logit_diff", dictionaries=found)
    planned = bounds(asked, circuit, scores, n_random=2, n_tests=3)
    with counting() as ledger:
        circuits.assess(model, task, circuit, scores, n_random=2, n_tests=3, **options)
    phases = spent(ledger, one_forward(model, asked.pairs))["forwards_by_phase"]
    assert {phase: n for phase, n in phases.items() if n > planned.phases[phase] + 0.005} == {}
    assert planned.total < 2 * sum(phases.values())


def test_what_is_not_measured_is_not_in_the_plan() -> None:
    """No areas without scores, and none of scores without sign."""
    model = hooked("llama")
    task = answered(model, toy_task())
    scores = interp.attribute(model, task, method="atp", level="heads", direction="noise")
    circuit = circuits.discover(scores, n=3)
    asked = asked_of(model, task, circuit, "counterfactual", "logit_diff")
    for with_scores, phases in ((scores, 4), (None, 3)):
        planned = bounds(asked, circuit, with_scores, n_random=2, n_tests=3)
        found = circuits.assess(model, task, circuit, with_scores, n_random=2, n_tests=3)
        assert len(planned.phases) == phases and found.spent is None
        assert ("areas" in planned.phases) == (found.areas is not None)


def test_a_plan_says_its_phases_and_refuses_what_it_cannot_keep() -> None:
    planned = Bounds({"curve": 7.4, "tests": 0.2}, 3, "judged")
    assert str(planned) == "at most 8 forwards of the 3 judged pairs: curve 7"
    planned.check(None, "this", "")
    planned.check(8, "this", "")
    with pytest.raises(InterpError, match=r"max-forwards=7: this may need 8 \(at most 8 .*\)\. Ask for less"):
        planned.check(7, "this", "Ask for less.")
