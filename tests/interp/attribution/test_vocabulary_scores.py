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
from interp.tasks.metric import Metric
from interp.tasks.metrics import METRICS
from interp.tasks.task import Task
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
@pytest.mark.parametrize("metric", ["logit_diff", "normalized_logit_diff", "logsumexp"])
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


def several(task: Task, answers: int, wrong: int) -> Task:
    """The task with so many answers and wrong tokens, others in each pair."""
    tokens = range(3, 3 + answers + wrong)
    pairs = []
    for i, pair in enumerate(task.pairs):
        own = [3 + (token - 3 + 5 * i) % 60 for token in tokens]
        assert pair.ids is not None
        pairs.append(replace(pair, ids=replace(pair.ids, answers=tuple(own[:answers]), wrong=tuple(own[answers:]))))
    return replace(task, pairs=tuple(pairs))


def slow(name: str) -> Metric:
    """The metrics of answer sets from their formulas, token by token and without any trick."""

    def odds(row: Tensor, right: list[int], wrong: list[int]) -> Tensor:
        return row[right].exp().sum().log() - row[wrong].exp().sum().log()

    def difference(row: Tensor, right: list[int], wrong: list[int]) -> Tensor:
        shares = row.exp() / row.exp().sum()
        return sum((shares[i] for i in right), row.new_zeros(())) - sum((shares[i] for i in wrong), row.new_zeros(()))

    one = {"logsumexp": odds, "prob_diff": difference}[name]

    def measure(logits: Tensor, t: Any) -> Tensor:
        sets = [[row.nonzero().flatten().tolist() for row in side] for side in (t.answers, t.wrong)]
        return torch.stack([one(*row) for row in zip(logits, *sets, strict=True)])

    return Metric(name, measure, METRICS[name].unit, "slowly")


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("metric", ["logsumexp", "prob_diff"])
@pytest.mark.parametrize(
    ("method", "level"),
    [("exact", "heads"), ("exact", "edges"), ("relp", "neurons"), ("atp-ig", "blocks"), ("eap-ig", "edges")],
)
def test_metrics_of_answer_sets_are_their_formulas_on_every_engine(
    method: str, level: str, metric: str, direction: str
) -> None:
    with true_float64():
        model, task = hooked("llama", dtype=torch.float64), several(toy_task(3, lengths=(6, 5)), 3, 4)
        some = {"parts": ["a1.h0->logits", "embed->m0"]} if (method, level) == ("exact", "edges") else {}
        found, expected = (
            attribute(model, task, method=method, level=level, metric=chosen, direction=direction, **some)
            for chosen in (metric, slow(metric))
        )
    np.testing.assert_allclose(found.per_example, expected.per_example, rtol=1e-9, atol=1e-12)
    assert found.provenance.base_metric == pytest.approx(expected.provenance.base_metric, rel=1e-11)
    assert found.provenance.importance_sign == (1 if direction == "denoise" else -1)
    assert np.abs(found.per_example).max() > 0


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
