"""Classes of captum on the live model through `interp.captum_function`: inputs, layers, neurons, and captum's own measures."""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.errors import MethodError, MetricError, TaskError
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task


def test_captums_integrated_gradients_are_ours() -> None:
    model, task = hooked("gpt2", dtype=torch.float64), toy_task(3, changed=3)
    f, inputs, baselines, args = interp.captum_function(model, task)
    found = captum.attr.IntegratedGradients(f).attribute(
        inputs, baselines, additional_forward_args=args, n_steps=32, method="gausslegendre"
    )
    assert np.allclose(found.sum(-1).detach(), interp.attribute_tokens(model, task).values, atol=1e-6)
    plain = [float(model.hf(input_ids=torch.tensor([p.ids.clean])).logits[0, -1] @ _sets(p)) for p in task.pairs]
    assert f(inputs, *args).tolist() == pytest.approx(plain, abs=1e-9)


def _sets(pair: interp.Pair) -> Tensor:
    row = torch.zeros(64, dtype=torch.float64)
    row[pair.ids.answers[0]], row[pair.ids.wrong[0]] = 1.0, -1.0  # type: ignore[union-attr]
    return row


def test_layers_and_neurons_on_embeddings() -> None:
    """Conductance of a layer that everything goes through adds up to the change of the metric; captum cannot do this on ids."""
    model, task = hooked("gpt2", dtype=torch.float64), toy_task(2, changed=3)
    f, inputs, baselines, args = interp.captum_function(model, task)
    found = captum.attr.LayerConductance(f, model.hf.transformer.ln_f).attribute(
        inputs, baselines, additional_forward_args=args, n_steps=64, method="gausslegendre"
    )
    change = (f(inputs, *args) - f(baselines, *args)).detach()
    assert torch.allclose(found.flatten(1).sum(-1).detach(), change, rtol=2e-2)
    mlp = model.hf.transformer.h[0].mlp.c_fc
    neuron = captum.attr.NeuronGradient(f, mlp).attribute(inputs.clone().requires_grad_(), (5, 3), args)
    x = inputs.clone().requires_grad_()
    seen: list[Tensor] = []
    handle = mlp.register_forward_hook(lambda module, given, out: seen.append(out))
    f(x, *args)
    handle.remove()
    (expected,) = torch.autograd.grad(seen[0].view(2, 6, -1)[:, 5, 3].sum(), x)
    assert torch.allclose(neuron, expected, atol=1e-9)


def test_captums_infidelity_of_an_exact_gradient_is_small_for_small_steps() -> None:
    from captum.metrics import infidelity

    model, task = hooked("gpt2", dtype=torch.float64), toy_task(2)
    f, inputs, _, args = interp.captum_function(model, task)
    gradient = captum.attr.Saliency(f).attribute(
        inputs.clone().requires_grad_(), additional_forward_args=args, abs=False
    )

    def step(x: Tensor) -> tuple[Tensor, Tensor]:
        noise = 1e-4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
        return noise, x - noise

    found = infidelity(f, step, inputs, gradient, additional_forward_args=args, n_perturb_samples=3)
    assert float(found.max()) < 1e-8


def test_what_no_single_call_can_take_is_refused() -> None:
    model = hooked("gpt2")
    with pytest.raises(TaskError, match=r"prompts of one length .* has 6, 8 tokens"):
        interp.captum_function(model, toy_task(2, lengths=(6, 8)))
    with pytest.raises(MetricError, match="one of all pairs together"):
        interp.captum_function(model, toy_task(2), metric="normalized_logit_diff")
    with pytest.raises(MetricError, match="distance to another run"):
        interp.captum_function(model, toy_task(2), metric="kl_source")
    with pytest.raises(MethodError, match="baseline of shape"):
        interp.captum_function(model, toy_task(2), baseline=torch.zeros(3))
