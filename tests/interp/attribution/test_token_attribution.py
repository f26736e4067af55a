"""Attribution to input tokens: complete where promised, equal to slow twins, and nothing left on the model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.attribution.batching.quadrature import quadrature
from interp.attribution.token_attribution import attribute_tokens
from interp.attribution.token_methods import METHODS
from interp.errors import MethodError, MetricError, UnsupportedRuleError
from interp.rules.layer_rules import PLAIN
from interp.rules.rules import PRESETS, preset
from interp.tasks.metrics import get_metric
from interp.tasks.targets import make_targets
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

#: Those that need no package of an extra, without the rules of linear layers, which are for nets without blocks.
OF_STACKS = {name: method for name, method in METHODS.items() if not method.needs and method.rules.linear == PLAIN}
RELEVANCE = tuple(name for name in PRESETS if name != "gradient")
TASK = toy_task(4, lengths=(6, 8), changed=3)


@pytest.fixture(scope="module")
def stories(assets: Path) -> Any:
    return interp.load(assets / "models" / "stories260K")


@pytest.fixture(scope="module")
def plural(assets: Path) -> Any:
    return interp.load_task(assets / "models" / "stories260K" / "tasks" / "they_plural.json").limit(5)


def embedded(model: Any, ids: Any) -> Tensor:
    return model.run(torch.tensor([ids]), reads=["embed"])["embed"].detach()


def measured(model: Any, pair: Any, x: Tensor, metric: str = "logit_diff") -> Tensor:
    """The metric of one pair on the embeddings `x`."""
    run = model.run(torch.tensor([pair.clean]), edits=[interp.Edit("embed", lambda _: x)])
    return get_metric(metric)(run.logits[:, -1], make_targets([pair], 64, x.device))[0]


@pytest.mark.broad
@pytest.mark.parametrize("name", ("gpt2", "llama", "gemma2", "phi"))
@pytest.mark.parametrize("metric", ("logit_diff", "log_prob"))
def test_captums_integrated_gradients_equal_a_plain_loop(name: str, metric: str) -> None:
    model = hooked(name, dtype=torch.float64)
    found = attribute_tokens(model, TASK, steps=7, metric=metric, batch_size=2)
    for i, pair in enumerate(pair.ids for pair in TASK.pairs):
        x, b = embedded(model, pair.clean), embedded(model, pair.corrupt)
        total = torch.zeros_like(x)
        for alpha, weight in quadrature("gauss-legendre", 7):
            point = (b + alpha * (x - b)).requires_grad_()
            total += weight * torch.autograd.grad(measured(model, pair, point, metric), point)[0]
        assert np.allclose(found.values[i], ((x - b) * total).sum(-1)[0], rtol=1e-5, atol=1e-6)
        gap = measured(model, pair, x, metric) - measured(model, pair, b, metric) - sum(found.values[i])
        assert found.delta[i] == pytest.approx(float(gap), abs=1e-7)


def test_integrated_gradients_are_complete_as_steps_grow(stories: Any, plural: Any) -> None:
    few, many = (attribute_tokens(stories, plural, steps=n) for n in (2, 64))
    assert max(map(abs, many.delta)) < 1e-3 < max(map(abs, few.delta))
    effect = np.array([v for row in many.values for v in row if v != 0])
    assert len(effect) == 5 and effect.min() > 1


def test_no_delta_is_claimed_where_none_is_promised(stories: Any, plural: Any) -> None:
    for name, method in OF_STACKS.items():
        found = attribute_tokens(stories, plural.limit(1), method=name)
        assert (found.delta is None) == (name not in ("integrated-gradients", "deeplift", "shapley"))
        steps = {"integrated-gradients": 32, "deeplift": 8}.get(name)
        assert (found.baseline, found.steps) == (method.baselines[0], steps)


@pytest.mark.broad
@pytest.mark.parametrize("baseline", ("corrupt", "zero"))
@pytest.mark.parametrize("batch_size", (1, 4))
def test_feature_ablation_replaces_one_token_at_a_time(baseline: str, batch_size: int) -> None:
    model = hooked("gpt2", dtype=torch.float64)
    found = attribute_tokens(model, TASK, method="feature-ablation", baseline=baseline, batch_size=batch_size)
    for i, pair in enumerate(pair.ids for pair in TASK.pairs):
        x = embedded(model, pair.clean)
        b = embedded(model, pair.corrupt) if baseline == "corrupt" else torch.zeros_like(x)
        for p in range(pair.length):
            changed = x.clone()
            changed[:, p] = b[:, p]
            effect = float(measured(model, pair, x) - measured(model, pair, changed))
            assert found.values[i][p] == pytest.approx(effect, abs=1e-6)


@pytest.mark.parametrize("name", ("gpt2", "gemma2"))
@pytest.mark.parametrize("method", ("gradient-x-input", "relp", "gim"))
def test_input_times_coefficient_is_that_of_a_run(name: str, method: str) -> None:
    model = hooked(name, dtype=torch.float64)
    found = attribute_tokens(model, TASK, method=method)
    rules = preset(method) if method in PRESETS else interp.GRADIENT
    for i, pair in enumerate(pair.ids for pair in TASK.pairs):
        run = model.run(torch.tensor([pair.clean]), reads=["embed"], rules=rules)
        logits = run.logits[0, -1]
        (rho,) = torch.autograd.grad(logits[pair.answers[0]] - logits[pair.wrong[0]], run["embed"])
        assert np.allclose(found.values[i], (run["embed"] * rho).sum(-1)[0].detach(), rtol=1e-6, atol=1e-8)


def test_relevance_with_a_frozen_pattern_is_conserved_without_biases(stories: Any, plural: Any) -> None:
    """Every path from the embeddings to the logits is then linear, and there is nothing else to explain them."""
    found = attribute_tokens(stories, plural, method="relp-ah")
    assert np.allclose(found.totals, found.clean_metric, rtol=1e-4)
    assert not np.allclose(attribute_tokens(stories, plural, method="relp").totals, found.clean_metric, rtol=0.1)


def test_prompts_of_several_lengths_come_back_in_order() -> None:
    model = hooked("llama")
    whole = attribute_tokens(model, TASK, method="relp", batch_size=4)
    assert [len(row) for row in whole.values] == [6, 8, 6, 8] == [len(row) for row in whole.tokens]
    for i, pair in enumerate(TASK.pairs):
        alone = attribute_tokens(model, interp.Task("one", (pair,)), method="relp")
        assert np.allclose(whole.values[i], alone.values[0], atol=1e-5)
        assert whole.clean_metric[i] == pytest.approx(alone.clean_metric[0], abs=1e-5)
    table = whole.to_pandas()
    assert len(table) == 28 and table[(table.pair == 1) & (table.position == 3)].value.item() == whole.values[1][3]
    assert attribute_tokens(model, TASK, method="relp", limit=2).tokens == whole.tokens[:2]


def test_a_normalised_metric_divides_by_the_span(stories: Any, plural: Any) -> None:
    plain = attribute_tokens(stories, plural, method="integrated-gradients")
    normed = attribute_tokens(stories, plural, method="integrated-gradients", metric="normalized_logit_diff")
    assert np.mean(normed.totals) == pytest.approx(1, abs=1e-3)
    assert normed.unit != plain.unit
    ratio = np.array(plain.totals) / np.array(normed.totals)
    assert np.allclose(ratio, ratio[0]) and ratio[0] == pytest.approx(np.mean(plain.totals), abs=1e-3)
    lower = attribute_tokens(stories, plural, metric="cross_entropy")
    assert np.mean(lower.totals) < 0 and lower.unit == "nats"


def state(model: Any) -> tuple[Any, ...]:
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.hf.modules()]
    grads = [(p.requires_grad, p.grad is None) for p in model.hf.parameters()]
    return hooks, grads, model.hf.config._attn_implementation, torch.is_grad_enabled()


@pytest.mark.broad
@pytest.mark.parametrize("method", OF_STACKS)
def test_nothing_is_left_on_the_model_and_no_parameter_gets_a_gradient(method: str) -> None:
    model = hooked("llama")
    before = state(model)
    assert all(learns and none for learns, none in before[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_grad = attribute_tokens(model, TASK, method=method)
    with torch.no_grad():
        without = attribute_tokens(model, TASK, method=method)
    assert state(model) == before
    assert with_grad.values == without.values and any(v != 0 for row in without.values for v in row)


def test_refusals_say_why_and_what_instead() -> None:
    model = hooked("gpt2")
    for name, why in (("lrp", "no rule for GELU"), ("deep-lift", "silently equals")):
        with pytest.raises(MethodError, match=why):
            attribute_tokens(model, TASK, method=name)
    with pytest.raises(MethodError, match="Did you mean relp"):
        attribute_tokens(model, TASK, method="relpp")
    for metric in ("kl_source", "l2_base"):
        with pytest.raises(MetricError, match="distance to another run"):
            attribute_tokens(model, TASK, metric=metric)
    with pytest.raises(MethodError, match="baseline 'corrupt' with relp: expected 'zero'"):
        attribute_tokens(model, TASK, method="relp", baseline="corrupt")
    with pytest.raises(MethodError, match="steps=8 belongs"):
        attribute_tokens(model, TASK, method="relp", steps=8)
    with pytest.raises(MethodError, match="limit=0"):
        attribute_tokens(model, TASK, limit=0)
    with pytest.raises(UnsupportedRuleError, match="outside AttentionInterface"):
        attribute_tokens(hooked("bloom"), TASK, method="relp-ah")


def test_captums_deep_lift_is_gradient_x_input_here() -> None:
    """The reason for its refusal, kept true."""
    from captum.attr import DeepLift

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = hooked("gpt2", dtype=torch.float64)
            self.live = self.inner.hf

        def forward(self, x: Tensor) -> Tensor:
            ids = torch.tensor([pair.clean]).expand(len(x), -1)  # captum runs input and baseline as one batch
            logits = self.inner.run(ids, edits=[interp.Edit("embed", lambda _: x)]).logits[:, -1]
            return logits[:, pair.answers[0]] - logits[:, pair.wrong[0]]

    pair, model = TASK.pairs[0].ids, Model()
    x = embedded(model.inner, pair.clean).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = DeepLift(model).attribute(x, baselines=torch.zeros_like(x))
    plain = attribute_tokens(model.inner, TASK.limit(1), method="gradient-x-input")
    assert np.allclose(found.sum(-1)[0].detach(), plain.values[0], rtol=1e-6)
