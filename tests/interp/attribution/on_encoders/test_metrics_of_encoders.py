"""Metrics and rules on encoders and classifiers: the values of the plain model, or a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import interp
from interp.errors import MethodError
from tests.interp.attribution.on_encoders.asked import asked
from tests.interp.model.encoders.models import hooked
from tests.interp.parts.masks import wordpiece


@pytest.mark.parametrize("name", ["bert-mlm", "bert-classes", "gpt2-classes", "by-hand-before"])
@pytest.mark.parametrize("metric", ["logit_diff", "log_prob", "cross_entropy", "logsumexp", "prob_diff"])
def test_metrics_of_one_output(name: str, metric: str) -> None:
    """Their values on the clean prompt, from the plain model."""
    own = asked(name)
    (pair, *_) = own.pairs
    scores = interp.attribute(
        own.model, own.task.at([0]), method="atp", level="blocks", metric=metric, direction="noise"
    )
    with torch.no_grad():
        logits = own.logits(pair.clean).double()
    answers, wrong = list(pair.answers), list(pair.wrong)
    probabilities = logits.softmax(-1)
    expected = {
        "logit_diff": logits[answers].mean() - logits[wrong].mean(),
        "log_prob": probabilities[answers].sum().log(),
        "cross_entropy": -probabilities[answers].sum().log(),
        "logsumexp": logits[answers].logsumexp(-1) - logits[wrong].logsumexp(-1),
        "prob_diff": probabilities[answers].sum() - probabilities[wrong].sum(),
    }[metric]
    assert abs(scores.provenance.base_metric - float(expected)) < 1e-4


@pytest.mark.parametrize("name", ["bert-classes", "gpt2-classes"])
@pytest.mark.parametrize("metric", ["projection", "largest_change"])
def test_metrics_of_all_positions_read_the_one_output(name: str, metric: str) -> None:
    """Or are refused: 0 for every part is the worst answer."""
    own = asked(name)
    try:
        scores = interp.attribute(own.model, own.task, method="exact", level="blocks", metric=metric)
    except interp.InterpError:
        return
    assert np.abs(scores.per_example).max() > 1e-3


@pytest.mark.parametrize("name", ["roberta-mlm", "roberta-classes"])
def test_methods_without_a_rule_for_the_head_name_it(name: str) -> None:
    own = asked(name)
    with pytest.raises(interp.InterpError, match=r"lm_head \(gelu in|classifier \(tanh in"):
        interp.attribute(own.model, own.task, method="relp", level="heads")
    assert interp.attribute(own.model, own.task, method="relp", level="heads", allow_unsupported=True)


def test_a_method_of_edges_is_none_of_nodes() -> None:
    own = asked("bert-mlm")
    with pytest.raises(MethodError, match="scores edges"):
        interp.attribute(own.model, own.task, method="ifr", level="heads")


@pytest.mark.parametrize("metric", ["log_prob", "cross_entropy", "kl_source"])
def test_one_number_is_no_distribution(metric: str) -> None:
    """Models of one label (rewards, scores, regressions) have no probabilities."""
    model = hooked("bert-classes", wordpiece(), num_labels=1)
    task = interp.Task("one", (interp.Pair("the film was good", "the film was bad", (), answer_ids=0),))
    try:
        scores = interp.attribute(model, task, method="exact", level="blocks", metric=metric)
    except interp.InterpError:
        return
    assert np.abs(scores.per_example).max() > 1e-4
