"""Circuits toward a site: judged as circuits of a model that really ends there."""

from __future__ import annotations

import pytest

from circuits.circuit.selection import discover
from circuits.evaluation.faithfulness import evaluate
from interp.attribution.request import attribute
from interp.model.model import HookedModel
from tests.interp.attribution.toward_reads.test_metrics_of_reads import answered, ending, probe, three
from tests.interp.tasks.toy import toy_task


@pytest.mark.parametrize("level", ["heads", "edges"])
def test_a_circuit_toward_a_site_is_judged_as_of_a_model_that_ends_there(level: str) -> None:
    hf, task, metric = three(), answered(toy_task(6)), probe("resid_post.1")
    scores = attribute(HookedModel(hf), task, method="exact", level=level, metric=metric)
    circuit = discover(scores, n=max(2, len(scores.parts) // 3))
    found = evaluate(HookedModel(hf), task, circuit, metric=metric, n_random=2, other_ablation="none")
    twin = evaluate(ending(hf, 2), task, circuit, metric="logit", n_random=2, other_ablation="none")
    assert (found.full, found.circuit, found.empty) == pytest.approx((twin.full, twin.circuit, twin.empty), rel=1e-6)
    assert found.full != pytest.approx(found.empty, abs=1e-3)
