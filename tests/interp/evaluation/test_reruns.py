"""Measures that run methods again: at other embeddings, and on models of shuffled weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

import interp
from interp.attribution.token_methods import METHODS
from interp.attribution.token_request import TokenOptions, plan
from interp.attribution.tokens.draws import drawn, seed_of
from interp.evaluation.reruns import max_sensitivity, randomisation, shuffled
from interp.rules.layer_rules import PLAIN
from tests.interp.attribution.on_tokens.functions import ByHand, linear, table, task_of
from tests.interp.model.tiny import hooked, tiny
from tests.interp.tasks.toy import toy_task

#: Those that need no package of an extra, without the rules of linear layers, which are for nets without blocks.
OF_STACKS = tuple(name for name, m in METHODS.items() if not m.needs and m.rules.linear == PLAIN)
TASK = toy_task(1, lengths=(6,), changed=4)


def prepared(model: Any, method: str, task: Any = TASK, **options: Any) -> tuple[Any, Any]:
    request = plan(model, task, TokenOptions(method, batch_size=8, **options))
    return request.job, request.job.batch(list(request.pairs), [0])


@pytest.mark.parametrize("method", OF_STACKS)
def test_at_the_same_embeddings_put_in_every_method_gives_the_same(method: str) -> None:
    job, batch = prepared(hooked("llama", dtype=torch.float64), method)
    (values,), (again,) = job.values(batch), job.values(replace(batch, x=batch.x.clone(), moved=True))
    assert np.allclose(values, again, atol=1e-9) and np.any(values)
    (elsewhere,) = job.values(replace(batch, x=1.1 * batch.x, moved=True))
    assert not np.allclose(values, elsewhere, atol=1e-6)


def test_sensitivity_of_a_linear_model_by_hand() -> None:
    """Values are w x, so they change by w e."""
    w = table(4, seed=1)
    job, batch = prepared(ByHand(linear(w), table()), "gradient-x-input", task_of(((2, 3, 4, 5), (6, 9, 7, 8))))
    (values,) = job.values(batch)
    found = max_sensitivity(job, batch, values, draws=5, radius=0.5, seed=9)
    sizes = []
    for k in range(5):
        with drawn(seed_of(9, k), batch.x.device):
            e = 0.5 * float(batch.x.std()) * (2 * torch.rand_like(batch.x) - 1)
        sizes.append(float((w * e).sum(-1).norm()))
    assert found == pytest.approx(max(sizes) / np.linalg.norm(values))
    saliency, batch = prepared(ByHand(linear(w), table()), "saliency", task_of(((2, 3, 4, 5), (6, 9, 7, 8))))
    assert max_sensitivity(saliency, batch, saliency.values(batch)[0], draws=3, radius=0.5, seed=0) == pytest.approx(0)
    assert max_sensitivity(job, batch, np.zeros(4), draws=3, radius=0.5, seed=0) is None


def test_a_shuffled_model_has_the_same_numbers_elsewhere_and_the_model_is_as_it_was() -> None:
    model = hooked("gpt2")
    before = {name: p.clone() for name, p in model.hf.named_parameters()}
    other = shuffled(model, 3)
    moved = 0
    for name, p in other.hf.named_parameters():
        assert torch.equal(p.flatten().sort().values, before[name].flatten().sort().values)
        moved += not torch.equal(p, before[name])
    assert moved > 10 and all(torch.equal(p, before[name]) for name, p in model.hf.named_parameters())


def test_shuffling_a_model_of_constant_weights_changes_nothing() -> None:
    """Every parameter is one number, so that its order is no order: the rank correlation is 1 whatever the method."""
    hf = tiny("gpt2")
    with torch.no_grad():
        for i, p in enumerate(hf.parameters()):
            p.fill_(0.1 + 0.03 * (i % 7))
        hf.transformer.wte.weight.copy_(torch.randn(64, 32, generator=torch.Generator().manual_seed(0)))
    model = interp.HookedModel(hf)
    other = shuffled(model, 0)
    with torch.no_grad():
        other.hf.transformer.wte.weight.copy_(hf.transformer.wte.weight)  # tied to the head, which must stay too
    job, batch = prepared(model, "saliency")
    (values,) = job.values(batch)
    assert np.ptp(values) > 1e-6 and randomisation(job, other, batch, values) == pytest.approx(1.0)


@pytest.mark.parametrize("method", ("gradient-x-input", "relp", "integrated-gradients"))
def test_randomisation_is_the_rank_correlation_at_the_same_embeddings(method: str) -> None:
    model, task = hooked("gpt2", dtype=torch.float64), toy_task(2, lengths=(8,), changed=6)
    found = interp.evaluate_tokens(model, task, method, measures=["randomisation"], seed=5)
    other = shuffled(model, 5)
    own = interp.attribute_tokens(model, task, method=method)
    for i, pair in enumerate(p.ids for p in task.pairs):
        sides = [model.run(torch.tensor([s]), reads=["embed"])["embed"].detach() for s in (pair.clean, pair.corrupt)]
        job, _ = prepared(other, method, interp.Task("one", (task.pairs[i],)))
        request = job.batch([pair], [0])
        b = sides[1] if job.baseline == "corrupt" else torch.zeros_like(sides[0])
        (again,) = job.values(replace(request, x=sides[0], b=b, moved=True))
        expected = scipy.stats.spearmanr(own.values[i], again).statistic
        assert found.rows[0].per_pair[i] == pytest.approx(expected, abs=1e-9) and expected < 0.99
    few = interp.evaluate_tokens(model, task, method, measures=["randomisation"], features=[0, 0, 0, 0, 1, 1, 1, 1])
    assert few.rows[0].per_pair == (None, None) and few.rows[0].estimate.value is None


def test_the_tokens_of_a_target_are_not_disturbed() -> None:
    model, task = hooked("gpt2", dtype=torch.float64), toy_task(1, lengths=(6,), changed=4)
    pair = task.pairs[0].ids
    longer = type(pair)((*pair.clean, 9, 8), (*pair.corrupt, 9, 8), (7,), (), {}, 2)
    job, batch = prepared(
        model, "shapley", interp.Task("t", (interp.Pair("", "", (), (), ids=longer),)), metric="log_prob"
    )
    held = replace(job, held=True, places=((0, 1, 2, 3, 4, 5),))
    batch = held.batch([longer], [0])
    (values,) = held.values(batch)
    assert len(values) == 6 and torch.equal(batch.x[:, 6:], batch.b[:, 6:])
    assert 0 < max_sensitivity(held, batch, values, draws=1, radius=0.1, seed=0) < 1
