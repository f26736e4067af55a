"""Options of a training, and activations, that cannot be: one sentence each, and nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training.steps.learner import ARCHITECTURES, make_learner
from tests.interp.dictionaries.training.steps.test_dictionary_learner import D_IN, FEATURES, STEPS, batches, learner


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "topp"}, "unknown architecture 'topp'. Did you mean topk"),
        ({"options": {"l1_coeficient": 1}}, "unknown option of standard 'l1_coeficient'. Did you mean l1_coefficient"),
        ({"options": {"k": 3}}, "unknown option of standard 'k'"),
        ({"d_sae": 0}, "d_sae=0: expected a whole number, 1 or more"),
        ({"steps": 0}, "steps=0"),
        ({"options": {"lr": -1.0}}, "lr=-1.0: expected a number above 0"),
        ({"options": {"lr": float("nan")}}, "lr=nan"),
        ({"options": {"lr": True}}, "lr=True"),
        ({"options": {"lr_warm_up_steps": 60}}, "60 steps of warm-up"),
        ({"options": {"lr_scheduler_name": "linear"}}, "expected one of constant"),
        ({"options": {"normalize_activations": "covariance_whitening"}}, "expected one of none"),
        ({"architecture": "topk", "options": {"k": 97}}, "k=97: there are 96 features"),
        ({"architecture": "topk", "options": {"k": 2.5}}, "topk keeps k features of each token"),
        ({"architecture": "topk", "options": {"k": "abc"}}, "k='abc': expected a whole number, 1 or more"),
        ({"architecture": "batchtopk", "options": {"k": 0}}, "k=0: expected a whole number, 1 or more"),
        ({"architecture": "matryoshka", "options": {"matryoshka_widths": [8, 8]}}, "expected growing widths"),
        ({"architecture": "matryoshka", "options": {"matryoshka_widths": [200]}}, "expected growing widths"),
        ({"architecture": "jumprelu", "options": {"jumprelu_sparsity_loss_mode": "quadratic"}}, "target_l0"),
        ({"architecture": "transcoder", "options": {"normalize_activations": "layer_norm"}}, "another width"),
        ({"d_out": 20}, "an autoencoder makes up what it reads"),
        ({"dtype": torch.bfloat16}, "float32 or float64"),
    ],
)
def test_bad_options_are_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "architecture": "standard", "d_in": D_IN, "d_out": D_IN, "d_sae": FEATURES, "options": {}, "steps": STEPS,
        "seed": 0, "device": "cpu", "dtype": torch.float32,
    }  # fmt: skip
    with pytest.raises(DictionaryError, match=message):
        make_learner(**(given | change))


def test_bad_activations_are_refused_and_cost_nothing() -> None:
    x, y = batches(1)[0]
    with pytest.raises(DictionaryError, match=r"x of shape \(64, 20\): expected \[token 24\]"):
        learner("topk").learn(y)
    with pytest.raises(DictionaryError, match="at least one token"):
        learner("topk").learn(x[:0])
    with pytest.raises(DictionaryError, match="beside x"):
        learner("transcoder").learn(x)
    with pytest.raises(DictionaryError, match="as many as in x"):
        learner("transcoder").learn(x, y[1:])
    with pytest.raises(DictionaryError, match="all zero"):
        learner("topk", normalize_activations="expected_average_only_in").prepare(0 * x)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_numbers_that_are_not_finite_leave_the_weights_alone(architecture: str) -> None:
    mine = learner(architecture)
    x, y = batches(1)[0]
    mine.learn(x, y)
    before = mine.state()
    for bad in (torch.nan, torch.inf):
        x = x.clone()
        x[3, 5] = bad
        with pytest.raises(DictionaryError, match="step 2: activations have numbers that are not finite"):
            mine.learn(x, y)
        with pytest.raises(DictionaryError, match="not finite"):
            mine.prepare(x, y)
    after = mine.state()
    assert all(torch.equal(before[name], after[name]) for name in before if name != "threshold")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_training_that_runs_away_is_stopped_by_name(architecture: str) -> None:
    mine = learner(architecture, lr=1e25, lr_warm_up_steps=0)
    with pytest.raises(DictionaryError, match=r"step \d: loss .* expected finite numbers. Use a smaller lr"):
        for x, y in batches(5):
            mine.learn(x, y)
