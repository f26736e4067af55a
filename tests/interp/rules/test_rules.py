"""Each propagation rule of norms and activations against its formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.olmo.modeling_olmo import OlmoLayerNorm

from interp.rules.activations import identity_rule, recognise_activation
from interp.rules.rules import frozen_norm, recognise_norm
from tests.interp.rules.float64 import true_float64

CPU = torch.device("cpu")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("module", "centred", "offset"),
    [
        (nn.LayerNorm(16), True, 0.0),
        (nn.LayerNorm(16, elementwise_affine=False), True, None),
        (nn.RMSNorm(16, eps=1e-6), False, 0.0),
        (LlamaRMSNorm(16), False, 0.0),
        (GemmaRMSNorm(16), False, 1.0),
        (OlmoLayerNorm(16), True, None),
    ],
    ids=["LayerNorm", "LayerNorm-plain", "RMSNorm", "Llama", "Gemma", "Olmo"],
)
def test_ln_rule(module: Any, centred: bool, offset: float | None) -> None:
    with true_float64():
        module = module.double()
        for i, p in enumerate(module.parameters()):
            nn.init.normal_(p, 0.5, generator=torch.Generator().manual_seed(i))
        x, g = draw(3, 5, 16).requires_grad_(), draw(3, 5, 16, seed=1)
        norm = recognise_norm(module, x)
        assert norm is not None and (norm.centred, norm.offset) == (centred, offset)
        inner = x - x.mean(-1, keepdim=True) if centred else x
        eps = next(getattr(module, n) for n in ("eps", "variance_epsilon", "normalized_shape") if hasattr(module, n))
        eps = eps if isinstance(eps, float) else 1e-5
        y = inner / (inner.square().mean(-1, keepdim=True) + eps).sqrt().detach()
        y = y * (module.weight.detach() + offset) if offset is not None else y
        y = y if getattr(module, "bias", None) is None else y + module.bias
        assert torch.allclose(y, module(x), rtol=0, atol=1e-12)
        assert torch.allclose(frozen_norm(norm, module, x)(g), torch.autograd.grad(y, x, g)[0], rtol=1e-9, atol=1e-12)


ACTIVATIONS = {
    "silu": nn.SiLU(), "gelu": ACT2FN["gelu"], "gelu_tanh": ACT2FN["gelu_new"], "quick_gelu": ACT2FN["quick_gelu"],
    "relu": nn.ReLU(), "relu_squared": ACT2FN["relu2"], "tanh": nn.Tanh(),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_identity_rule(name: str) -> None:
    module = ACTIVATIONS[name]
    found = recognise_activation(module, CPU)
    assert found is not None and found.name == name
    x, g = (3 * draw(1000)).requires_grad_(), draw(1000, seed=1)
    y = x * (module(x) / x).detach()
    assert torch.allclose(identity_rule(found, x)(g), torch.autograd.grad(y, x, g)[0], rtol=1e-9, atol=1e-14)
    at_zero = float(identity_rule(found, torch.zeros(1))(torch.ones(1)))
    assert at_zero == {"relu": 0.0, "relu_squared": 0.0, "tanh": 1.0}.get(name, 0.5)


def test_other_names_of_the_same_activation() -> None:
    for module, name in (
        (nn.GELU("tanh"), "gelu_tanh"),
        (ACT2FN["gelu_pytorch_tanh"], "gelu_tanh"),
        (nn.GELU(), "gelu"),
    ):
        found = recognise_activation(module, CPU)
        assert found is not None and found.name == name
    for odd in (nn.Mish(), nn.Softplus(), nn.Softmax(-1), nn.Identity()):
        assert recognise_activation(odd, CPU) is None


@given(st.floats(-1e4, 1e4), st.sampled_from(sorted(ACTIVATIONS)), st.sampled_from([torch.float16, torch.bfloat16]))
@settings(max_examples=60, deadline=None)
def test_coefficients_are_finite_in_half_precision(x: float, name: str, dtype: torch.dtype) -> None:
    found = recognise_activation(ACTIVATIONS[name], CPU)
    assert found is not None and bool(torch.isfinite(found.coefficient(torch.tensor([x], dtype=dtype))).all())
