"""Every method on functions whose values can be worked out, and against captum called directly."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.attribution.token_methods import METHODS
from interp.attribution.tokens.draws import drawn, seed_of
from interp.errors import MethodError
from tests.interp.attribution.on_tokens.functions import ByHand, linear, table, task_of
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

#: Methods of rules need a model with operations that have them.
OF_RULES = tuple(name for name, method in METHODS.items() if method.rules != interp.GRADIENT)
FITTED = ("kernel-shap", "lime")
OF_SIZE = ("saliency", "smooth-grad")
ANY = tuple(name for name in METHODS if name not in (*OF_RULES, *FITTED, *OF_SIZE))
TASK = task_of(((2, 3, 4, 5), (6, 3, 7, 8)), ((3, 4, 5), (9, 10, 11)))


def attributed(function: Any, task: Any, method: str, **options: Any) -> list[np.ndarray]:
    found = interp.attribute_tokens(ByHand(function, table()), task, method=method, batch_size=8, **options)
    return [np.array(row) for row in found.values]


def needs_extra() -> None:
    if find_spec("sklearn") is None:
        pytest.skip("scikit-learn is not installed")


@pytest.mark.parametrize("method", ANY)
def test_on_a_linear_model_every_method_is_the_weight_times_the_change(method: str) -> None:
    w = table(4, seed=1)
    baseline = "corrupt" if "corrupt" in METHODS[method].baselines else "zero"
    options = {"window": 1} if METHODS[method].window else {}
    found = attributed(linear(w), TASK, method, baseline=baseline, **options)
    for row, pair in zip(found, TASK.pairs, strict=True):
        x, b = table()[list(pair.ids.clean)], table()[list(pair.ids.corrupt)]
        change = x - b if baseline == "corrupt" else x
        assert np.allclose(row, (w[: len(x)] * change).sum(-1), atol=1e-9)


@pytest.mark.parametrize("method", OF_SIZE)
def test_on_a_linear_model_sizes_of_gradients_are_those_of_the_weights(method: str) -> None:
    w = table(4, seed=1)
    for row in attributed(linear(w), TASK, method):
        assert np.allclose(row, w[: len(row)].abs().sum(-1), atol=1e-9)


@pytest.mark.parametrize("method", FITTED)
def test_linear_fits_of_a_linear_model_are_its_values(method: str) -> None:
    """Shapley's kernel gives them exactly; the lasso of lime shrinks them by what its penalty says, so the order is theirs."""
    needs_extra()
    w = 10 * table(4, seed=1)
    for row, pair in zip(attributed(linear(w), TASK, method), TASK.pairs, strict=True):
        x, b = table()[list(pair.ids.clean)], table()[list(pair.ids.corrupt)]
        expected = np.array((w[: len(x)] * (x - b)).sum(-1))
        assert np.allclose(row, expected, atol=1e-3 if method == "kernel-shap" else 0.2)
        assert row[expected == 0].tolist() == [0.0] * int((expected == 0).sum())


def test_without_the_extra_fits_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.attribution.token_methods.find_spec", lambda name: None)
    for method in FITTED:
        with pytest.raises(
            MethodError, match=rf"'{method}' needs sklearn: pip install 'relevance-circuits\[perturbation\]'"
        ):
            attributed(linear(table(4)), TASK, method)


# ---------------------------------------------------------------- two features, worked out


def extreme(x: Tensor) -> Tensor:
    """max of the first numbers of the first two tokens minus their min over three: max - min / 3."""
    a, b = x[:, 0, 0], x[:, 1, 0]
    return torch.maximum(a, b) - torch.minimum(a, b) / 3


def test_shapley_values_of_a_maximum_and_a_minimum_by_hand() -> None:
    """x = (3, 1), baseline (0, 0). f: nothing 0, first 3, second 1, both 3 - 1/3. First in: 3 and 1; behind the other: 5/3 and -1/3."""
    own = torch.zeros(4, 3, dtype=torch.float64)
    own[2, 0], own[3, 0] = 3.0, 1.0
    model = ByHand(extreme, own)
    task = task_of(((2, 3), (0, 0)))
    found = interp.attribute_tokens(model, task, method="shapley", batch_size=4)
    assert found.values[0] == pytest.approx(((3 + 5 / 3) / 2, (1 - 1 / 3) / 2), abs=1e-6)
    assert found.delta == pytest.approx((0.0,), abs=1e-6)
    ablated = interp.attribute_tokens(model, task, method="feature-ablation", batch_size=4)
    assert ablated.values[0] == pytest.approx((5 / 3, -1 / 3), abs=1e-6)


def test_windows_of_occlusion_are_averaged_over_those_that_hold_a_position() -> None:
    """Sum of the first numbers: windows of two take two of x = 1, 2, 4 out, 3 and 6; the middle one stands in both."""
    own = torch.zeros(6, 3, dtype=torch.float64)
    own[2:5, 0] = torch.tensor([1.0, 2.0, 4.0])
    model = ByHand(lambda x: x[..., 0].sum(-1), own)
    found = interp.attribute_tokens(model, task_of(((2, 3, 4), (0, 0, 0))), method="occlusion", batch_size=4)
    assert found.values[0] == pytest.approx((3.0, 4.5, 6.0))
    with pytest.raises(MethodError, match="window=4 with 3 positions in a row"):
        interp.attribute_tokens(model, task_of(((2, 3, 4), (0, 0, 0))), method="occlusion", window=4, batch_size=4)


def test_what_equals_its_baseline_costs_no_run() -> None:
    model = ByHand(linear(table(4)), table())
    interp.attribute_tokens(model, task_of(((2, 3, 4, 5), (6, 3, 4, 8))), method="shapley", samples=24, batch_size=8)
    # Both runs and both ends, and of two players' two orders (all of them) the first of each.
    assert model.examples <= 2 + 2 + 1 + 4


# ---------------------------------------------------------------- captum itself


def direct(method: str, model: Any, pair: Any, **options: Any) -> Tensor:
    """captum called by hand on one prompt of the live model, with the seed of the first pair."""
    ids = torch.tensor([pair.clean])
    x, b = (model.run(torch.tensor([side]), reads=["embed"])["embed"].detach() for side in (pair.clean, pair.corrupt))

    def f(x: Tensor) -> Tensor:
        logits = model.run(ids.expand(len(x), -1), edits=[interp.Edit("embed", lambda _: x)]).logits[:, -1]
        return logits[:, pair.answers[0]] - logits[:, pair.wrong[0]]

    mask = torch.arange(x.shape[1])[None, :, None].expand(x.shape).contiguous()
    own, given = captum.attr, {"baselines": b}
    with drawn(seed_of(0, 0), x.device):
        if method == "saliency":
            return own.Saliency(f).attribute(x.requires_grad_()).sum(-1)
        if method == "smooth-grad":
            tunnel = own.NoiseTunnel(own.Saliency(f))
            std = 0.15 * float(x.std())
            return tunnel.attribute(x.requires_grad_(), nt_samples=16, stdevs=std, abs=False).abs().sum(-1)
        if method == "gradient-shap":
            return own.GradientShap(f).attribute(x.requires_grad_(), n_samples=16, **given).sum(-1)
        if method == "occlusion":
            return own.Occlusion(f).attribute(x, (2, x.shape[2]), **given)[..., 0]
        if method == "shapley":
            return own.ShapleyValueSampling(f).attribute(x, feature_mask=mask, n_samples=24, **given)[..., 0]
        kind = {"kernel-shap": own.KernelShap, "lime": own.Lime}[method]
        return kind(f).attribute(x, feature_mask=mask, n_samples=128, **given)[..., 0]


@pytest.mark.parametrize(
    "method", ("saliency", "smooth-grad", "gradient-shap", "occlusion", "shapley", "kernel-shap", "lime")
)
def test_a_method_is_captums_own_on_the_live_model(method: str) -> None:
    if method in FITTED:
        needs_extra()
    model, task = hooked("gpt2", dtype=torch.float64), toy_task(1, lengths=(6,), changed=5)
    # All positions but the last differ; the last must too, or captum plays with one more player.
    pair = task.pairs[0].ids
    corrupt = (*pair.corrupt[:-1], (pair.clean[-1] + 1) % 60 + 3)
    task = interp.Task(
        "toy", (interp.Pair("", "", (), (), ids=type(pair)(pair.clean, corrupt, pair.answers, pair.wrong)),)
    )
    found = interp.attribute_tokens(model, task, method=method)
    expected = direct(method, model, task.pairs[0].ids)[0].detach().numpy()
    assert np.abs(expected).max() > 1e-2
    assert np.allclose(found.values[0], expected, atol=1e-6)


@pytest.mark.parametrize("method", ("gradient-shap", "smooth-grad", "shapley", "feature-ablation", "occlusion"))
def test_values_do_not_depend_on_the_batch_and_leave_the_random_numbers_alone(method: str) -> None:
    model, task = hooked("llama", dtype=torch.float64), toy_task(3, lengths=(6, 8), changed=3)
    before, own = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, many = (interp.attribute_tokens(model, task, method=method, batch_size=n) for n in (1, 64))
    for a, b in zip(one.values, many.values, strict=True):
        assert np.allclose(a, b, atol=1e-9)
    assert torch.equal(torch.get_rng_state(), before) and (np.random.get_state()[1] == own).all()
    other = interp.attribute_tokens(model, task, method=method, seed=1)
    same = all(np.allclose(a, b, atol=1e-9) for a, b in zip(one.values, other.values, strict=True))
    assert same == (method not in ("gradient-shap", "smooth-grad"))  # three players of shapley: all of their orders


def test_options_of_other_methods_are_refused() -> None:
    model = ByHand(linear(table(4)), table())
    for method, options, said in (
        ("shapley", {"steps": 3}, "steps=3 belongs to integrated-gradients and deeplift"),
        ("feature-ablation", {"samples": 3}, "samples=3 belongs to .*gradient-shap.*given with feature-ablation"),
        ("shapley", {"window": 2}, "window=2 belongs to occlusion"),
        ("shapley", {"noise": 0.1}, "noise=0.1 belongs to smooth-grad"),
        ("smooth-grad", {"noise": -1.0}, "noise=-1.0: expected a positive number"),
        ("shapley", {"samples": 0}, "samples=0"),
        ("saliency", {"baseline": "corrupt"}, "baseline 'corrupt' with saliency: expected 'zero'"),
        ("occlusion", {"features": [0, 0, 1, 1]}, "features with occlusion"),
        ("shapley", {"per_token": True}, "expected a target"),
    ):
        with pytest.raises(MethodError, match=said):
            interp.attribute_tokens(model, TASK, method=method, batch_size=4, **options)


def test_a_baseline_of_ones_own_has_the_size_of_the_embeddings() -> None:
    w, own = table(4, seed=1), table(4, seed=2)
    task = TASK.limit(1)
    x = table()[list(task.pairs[0].ids.clean)]
    for baseline in (own, own[0]):
        (row,) = attributed(linear(w), task, "shapley", baseline=baseline)
        assert np.allclose(row, (w * (x - baseline)).sum(-1), atol=1e-9)
    for wrong in (table(5), torch.zeros(4), torch.zeros(1, 4, 3)):
        with pytest.raises(MethodError, match=r"baseline of shape \[.*expected embeddings \[d_model 3\]"):
            attributed(linear(w), task, "shapley", baseline=wrong)
    with pytest.raises(MethodError, match="not finite"):
        attributed(linear(w), task, "shapley", baseline=torch.full((3,), torch.nan))
    with pytest.raises(MethodError, match=r"baseline of shape \[3\] with saliency"):
        attributed(linear(w), task, "saliency", baseline=torch.zeros(3))
