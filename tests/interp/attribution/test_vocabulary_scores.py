"""Scores from the logits of a few tokens are those of all logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.attribution.path_patching import path_patch
from interp.attribution.request import attribute
from interp.errors import MetricError
from interp.model.model import HookedModel
from interp.tasks.metrics import METRICS, Metric
from tests.interp.model.tiny import hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return hooked("llama")


def _everything(name: str) -> Metric:
    """The same metric, given all logits."""
    return replace(METRICS[name], vocabulary="all")


@pytest.mark.broad
@pytest.mark.parametrize("metric", ["logit_diff", "normalized_logit_diff"])
@pytest.mark.parametrize(
    ("method", "level"),
    [
        ("exact", "heads"),
        ("relp", "heads"),
        ("atp-ig", "blocks"),
        ("eap", "edges"),
        ("eap-ig", "edges"),
        ("exact", "edges"),
    ],
)
@pytest.mark.parametrize("name", ["gemma2", "cohere", "phi"])
def test_scores_are_those_of_all_logits(name: str, method: str, level: str, metric: str) -> None:
    with true_float64():
        model, task = hooked(name, dtype=torch.float64), toy_task(3, lengths=(6, 5))
        some = (
            {"parts": ["a1.h0->logits", "embed->m0", "m0->a1.h1<q>"]} if (method, level) == ("exact", "edges") else {}
        )
        found, expected = (
            attribute(model, task, method=method, level=level, metric=chosen, **some)
            for chosen in (METRICS[metric], _everything(metric))
        )
    assert METRICS[metric].vocabulary == "answers"
    np.testing.assert_allclose(found.per_example, expected.per_example, rtol=1e-9, atol=1e-11)
    assert found.provenance.base_metric == pytest.approx(expected.provenance.base_metric, rel=1e-11)


def test_path_patching_is_that_of_all_logits() -> None:
    with true_float64():
        model, task = hooked("granite", dtype=torch.float64), toy_task(3)
        found, expected = (
            path_patch(model, task, senders=["a0.h0"], receivers=["a1.h1<q>", "logits"], metric=chosen).per_example
            for chosen in ("logit_diff", _everything("logit_diff"))
        )
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_metric_of_ones_own_sees_the_whole_vocabulary(model: HookedModel) -> None:
    sizes = []

    def count(logits: Tensor, targets: Any) -> Tensor:
        sizes.append((logits.shape[-1], targets.answers.shape[-1]))
        return logits[:, 5]

    attribute(model, toy_task(2), method="atp", level="blocks", metric=Metric("own", count, "logits", "one logit"))
    assert set(sizes) == {(64, 64)}


def test_a_metric_that_reads_answers_sees_these_and_wrong_ones_only(model: HookedModel) -> None:
    task, seen = toy_task(3), []

    def difference(logits: Tensor, targets: Any) -> Tensor:
        seen.append((tuple(logits.shape), tuple(targets.wrong.shape)))
        return (logits * (targets.answers - targets.wrong)).sum(-1)

    metric = Metric("own", difference, "logits", "as logit_diff", vocabulary="answers")
    attribute(model, task, method="atp", level="blocks", metric=metric)
    n = len({t for p in task.tokenize(None, 64) for t in (*p.answers, *p.wrong)})
    assert set(seen) == {((3, n), (3, n))}


def test_another_vocabulary_is_refused() -> None:
    with pytest.raises(MetricError, match="vocabulary of metric 'm'"):
        Metric("m", lambda x, t: x.sum(-1), "", "", vocabulary="answer")  # type: ignore[arg-type]
