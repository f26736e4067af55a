"""A circuit under another ablation: what is measured there, and when it is said to be made for its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import interp
from circuits.circuit.circuit import CircuitError
from circuits.circuit.selection import discover
from circuits.evaluation.evaluation import Evaluation, OtherAblation
from circuits.evaluation.faithfulness import CURVE_RANDOM, evaluate, evaluate_on
from circuits.evaluation.running.runner import PartSet
from interp.errors import MethodError
from interp.scores.resampling import Estimate, resample_weights
from interp.tasks.replacements import Ablation
from tests.circuits.evaluation.running.hand import EDGES, Hand, additive, circuit, falling, weighted
from tests.interp.attribution.features.given_dictionaries import given, stub
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import answered, toy_task

OWN = frozenset(EDGES[:2])


def hand(kind: str, weights: Sequence[float], **changes: Any) -> Hand:
    return Hand(additive(weighted(weights)), ablation=Ablation(kind), **changes)


def other(found: Evaluation) -> OtherAblation:
    assert found.other is not None
    return found.other


def test_the_same_sets_give_their_share_of_the_other_weight() -> None:
    """f is the share of the weight: 4 of 5 under its own ablation, 1 of 4 under the other, so by .55 further from 1."""
    own, there = hand("counterfactual", [3.0, 1.0, 1.0]), hand("mean", [1.0, 0.0, 2.0, 1.0])
    found = evaluate_on(own, circuit(*EDGES[:2]), others=[there], sizes=[2], n_random=9)
    assert found.faithfulness.value == pytest.approx(0.8)
    judged = other(found)
    assert (judged.ablation, judged.passed_over, judged.reason) == ("mean", (), "")
    assert judged.faithfulness.value == pytest.approx(0.25) and judged.further.value == pytest.approx(0.55)
    assert judged.falls_short and "under mean ablation: faithfulness 0.250" in str(found)
    base, scale = np.mean(there.base), np.mean(there.scale)
    assert [judged.full, judged.circuit, judged.empty] == pytest.approx([base + 4 * scale, base + scale, base])
    # The random circuits are the first of those of the curve; nothing else is run there.
    twins = there.runs[3:]
    assert len(twins) == CURVE_RANDOM and set(twins) <= set(own.runs)
    assert judged.random == pytest.approx([additive(weighted([1.0, 0.0, 2.0, 1.0]))(twin) / 4 for twin in twins])


def test_the_distance_has_the_interval_of_a_slow_bootstrap_over_both() -> None:
    class Noisy(Hand):
        def metrics(self, sets: Sequence[PartSet], show_progress: bool | None) -> dict[PartSet, np.ndarray]:
            found = super().metrics(sets, show_progress)
            return {s: m + (0.3 * np.sin(np.arange(4) * self.scale[0]) if s == OWN else 0) for s, m in found.items()}

    own, there = (
        Noisy(additive(weighted(w)), scale=scale, ablation=Ablation(kind))
        for w, scale, kind in (([3.0, 1.0, 2.0], (1.0, 2.0, 0.5, 1.5), "zero"), ([1.0, 0.5, 2.0], (2.0, 1.0, 1.5, 3.0), "mean"))
    )  # fmt: skip
    judged = other(evaluate_on(own, circuit(*EDGES[:2]), others=[there], sizes=[2], n_random=1, seed=3))
    table = [runner.metrics([OWN, runner.full, frozenset()], None) for runner in (own, there)]
    further = []
    for row in np.rint(resample_weights(4, 3) * 4).astype(int):
        drawn = np.repeat(np.arange(4), row)
        f = []
        for part, full, empty in (t.values() for t in table):
            f.append((part[drawn].mean() - empty[drawn].mean()) / (full[drawn].mean() - empty[drawn].mean()))
        further.append(abs(1 - f[1]) - abs(1 - f[0]))
    assert (judged.further.low, judged.further.high) == pytest.approx(tuple(np.percentile(further, [2.5, 97.5])))


def test_where_f_is_undefined_the_next_is_taken_and_both_are_named() -> None:
    class Broken(Hand):
        def metrics(self, sets: Sequence[PartSet], show_progress: bool | None) -> dict[PartSet, np.ndarray]:
            raise CircuitError("metric 'logit_diff' is not finite on an ablated run.")

    level, own, last = (
        hand("mean", [0.0]),
        hand("counterfactual", [1.0, 1.0]),
        hand("resample", [1.0, 1.0]),
    )
    bad = Broken(additive(falling()), ablation=Ablation("zero"))
    judged = other(evaluate_on(own, circuit(*EDGES[:2]), others=[level, bad, last], sizes=[2], n_random=1))
    assert judged.ablation == "resample" and judged.faithfulness.value == pytest.approx(1.0) and not judged.falls_short
    assert [why.split(":")[0] for why in judged.passed_over] == ["mean", "zero"] and "not finite" in judged.passed_over[
        1
    ]
    judged = other(evaluate_on(own, circuit(*EDGES[:2]), others=[level, bad], sizes=[2], n_random=1))
    assert judged.ablation == "zero" and judged.faithfulness.value is None and "not finite" in str(judged)
    assert judged.full is None and not judged.falls_short
    assert evaluate_on(own, circuit(*EDGES[:2]), sizes=[2], n_random=1).other is None


def test_an_evaluation_of_before_loads_and_one_of_now_reads_back(tmp_path: Path) -> None:
    judged = OtherAblation("zero", Estimate(0.29, 0.2, 0.4), Estimate(0.6, 0.5, 0.7), 3.0, 0.5, 1.2, (None, 0.034))
    found = replace(evaluate_on(hand("mean", [1.0, 1.0]), circuit(*EDGES[:2]), sizes=[2], n_random=1), other=judged)
    found.save(tmp_path / "now.json")
    assert Evaluation.load(tmp_path / "now.json") == found
    before = {key: value for key, value in found.to_dict().items() if key != "other"}
    (tmp_path / "before.json").write_text(json.dumps(before))
    assert Evaluation.load(tmp_path / "before.json") == replace(found, other=None)


def test_where_the_empty_model_does_better_the_next_is_taken() -> None:
    """Its span has the other sign: f is a number, and 1 no aim. Asked for alone it is given all the same."""
    turned, own, last = (
        hand(kind, [weight] * 2) for kind, weight in (("mean", -1.0), ("zero", 1.0), ("resample", 2.0))
    )
    judged = other(evaluate_on(own, circuit(EDGES[0]), others=[turned, last], sizes=[1], n_random=1))
    assert judged.ablation == "resample" and judged.faithfulness.value == pytest.approx(0.5)
    assert judged.passed_over[0].startswith("mean: the empty model (1.75) is beyond the whole one (-0.75)")
    judged = other(evaluate_on(own, circuit(EDGES[0]), others=[turned], sizes=[1], n_random=1))
    assert judged.ablation == "mean" and judged.faithfulness.value == pytest.approx(0.5) and not judged.passed_over


@pytest.mark.parametrize(("level", "n"), [("heads", 3), ("edges", 20)])
def test_it_is_what_an_evaluation_under_that_ablation_gives(level: str, n: int) -> None:
    model = hooked("llama")
    task = answered(model, toy_task())
    method = "eap" if level == "edges" else "atp"
    found = discover(interp.attribute(model, task, method=method, level=level, direction="noise"), n=n)
    for kind in ("zero", "mean", "resample"):
        judged = other(evaluate(model, task, found, n_random=2, other_ablation=kind))
        apart = evaluate(model, task, found, n_random=2, ablation=kind, other_ablation="none")
        assert apart.other is None and judged.ablation == kind
        assert (judged.faithfulness, judged.full, judged.empty) == (apart.faithfulness, apart.full, apart.empty)


def test_features_that_only_the_other_prompts_wake_are_parts_there_too() -> None:
    model, task = stub()
    dictionaries = given(model)
    scores = interp.attribute(model, task, method="atp", level="features", direction="noise", dictionaries=dictionaries)
    found = discover(scores, n=4)
    how: Any = {"dictionaries": dictionaries, "n_random": 2}
    judged = other(evaluate(model, task, found, scores=scores, other_ablation="zero", **how))
    apart = evaluate(model, task, found, scores=scores, ablation="zero", **how)
    assert judged.faithfulness == apart.faithfulness


def test_what_cannot_be_another_ablation_is_refused_before_any_work() -> None:
    model = hooked("llama")
    task = answered(model, toy_task())
    found = discover(interp.attribute(model, task, method="atp", level="heads"), n=3)
    with pytest.raises(MethodError, match="is the one that is used already"):
        evaluate(model, task, found, other_ablation="counterfactual")
    with pytest.raises(MethodError, match="none"):
        evaluate(model, task, found, other_ablation="nothing")
