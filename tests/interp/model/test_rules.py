"""Each propagation rule against a slow twin in float64, written as in the papers; and what has no rule is named."""

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

from interp.attribution.request import attribute_all
from interp.errors import UnsupportedRuleError
from interp.model.attention import ruled
from interp.rules.rules import (
    GRADIENT,
    PRESETS,
    RELP_AH,
    AttentionRule,
    Rules,
    frozen_norm,
    identity_rule,
    preset,
    recognise_activation,
    recognise_norm,
)
from tests.interp.model.tiny import ARCHITECTURES, OWN_ATTENTION, VARIANTS, architecture, hooked, ids, true_float64
from tests.interp.rules.twin import Twin
from tests.interp.tasks.toy import toy_task

ALL = (*ARCHITECTURES, *VARIANTS)
CPU = torch.device("cpu")
POST_NORM = ("gemma2", "gemma3_text", "olmo2")
NO_BIAS = ("llama", "mistral", "qwen3", "gemma", "gemma3_text", "phi3", "olmo", "olmo2", "cohere", "granite", "smollm3")


def supported(name: str, rules: Rules) -> bool:
    """What we claim: all but experts, and attention rules where attention goes through AttentionInterface."""
    return rules == GRADIENT or (
        name != "mixtral" and (rules.attention == AttentionRule() or architecture(name) not in OWN_ATTENTION)
    )


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------- one rule at a time


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
    "relu": nn.ReLU(), "relu_squared": ACT2FN["relu2"],
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
    assert at_zero == (0.0 if name.startswith("relu") else 0.5)


def test_other_names_of_the_same_activation() -> None:
    for module, name in (
        (nn.GELU("tanh"), "gelu_tanh"),
        (ACT2FN["gelu_pytorch_tanh"], "gelu_tanh"),
        (nn.GELU(), "gelu"),
    ):
        found = recognise_activation(module, CPU)
        assert found is not None and found.name == name
    for odd in (nn.Mish(), nn.Tanh(), nn.Softplus(), nn.LeakyReLU(), nn.ELU(), nn.Softmax(-1), nn.Identity()):
        assert recognise_activation(odd, CPU) is None


@given(st.floats(-1e4, 1e4), st.sampled_from(sorted(ACTIVATIONS)), st.sampled_from([torch.float16, torch.bfloat16]))
@settings(max_examples=60, deadline=None)
def test_coefficients_are_finite_in_half_precision(x: float, name: str, dtype: torch.dtype) -> None:
    found = recognise_activation(ACTIVATIONS[name], CPU)
    assert found is not None and bool(torch.isfinite(found.coefficient(torch.tensor([x], dtype=dtype))).all())


@pytest.mark.parametrize(("qk", "v", "t"), [(1, 1, 1), (0, 1, 1), (0.25, 0.5, 1), (0.25, 0.5, 2), (1, 0, 1), (1, 1, 2)])
def test_attention_rules(qk: float, v: float, t: float) -> None:
    def native(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        p = nn.functional.softmax(a @ b.mT / 8**0.5, dim=-1)
        return (p @ c).transpose(1, 2), p

    x = [draw(2, 3, 5, 8, seed=i).requires_grad_() for i in range(3)]
    g = draw(2, 5, 3, 8, seed=9)
    scores = x[0] @ x[1].mT / 8**0.5
    p = scores.softmax(-1)
    tempered = (scores / t).softmax(-1)
    dp = torch.einsum("bqhd,bhkd->bhqk", g, x[2])
    ds = tempered * (dp - (dp * tempered).sum(-1, keepdim=True)) / 8**0.5
    expected = (qk * ds @ x[1], qk * ds.mT @ x[0], v * torch.einsum("bhqk,bqhd->bhkd", p, g))
    z, pattern = ruled(native, qk, v, t)(*x)
    assert torch.equal(z, native(*x)[0]) and torch.equal(pattern, p)
    found = torch.autograd.grad(z, x, g, allow_unused=True)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(torch.zeros_like(theirs) if ours is None else ours, theirs, rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------- whole models


@pytest.mark.broad
@pytest.mark.parametrize("rules", PRESETS)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_every_preset_against_the_whole_slow_twin(name: str, rules: str) -> None:
    with true_float64():
        bias = {"attention_bias": True, "mlp_bias": True} if name == "llama" else {}
        model = hooked(name, dtype=torch.float64, **bias)
        kinds = ["embed", "resid_pre", "q", "k", "v", "z", "attn_out", "mlp_post", "mlp_out"]
        run = model.run(ids(), reads=kinds, rules=preset(rules))
        twin = Twin(model.hf, rules)
        logits = twin(ids())
        assert torch.allclose(run.logits, logits, rtol=0, atol=1e-12)
        weights = draw(*logits.shape[1:])
        sites = [str(s) for s in run.reads]
        ours = torch.autograd.grad((run.logits * weights).sum(), [run[s] for s in sites], allow_unused=True)
        theirs = torch.autograd.grad((logits * weights).sum(), [twin.values[s] for s in sites], allow_unused=True)
        for site, a, b in zip(sites, ours, theirs, strict=True):
            assert (a is None) == (b is None), site
            assert a is None or torch.allclose(a, b, rtol=0, atol=1e-9 * float(b.abs().max())), site
        assert sum(a is not None and bool(a.abs().max() > 1e-6) for a in ours) >= 11


def test_presets_differ() -> None:
    model = hooked("llama")
    found = {}
    for name, rules in PRESETS.items():
        run = model.run(ids(), reads=["embed"], rules=rules)
        found[name] = torch.autograd.grad(run.logits[:, -1, 7].sum(), run["embed"])[0]
    names = sorted(found)
    assert all(not torch.allclose(found[a], found[b], rtol=0.05) for a in names for b in names if a < b)


@pytest.mark.broad
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ALL)
def test_the_forward_is_bit_identical_under_every_preset(name: str, dtype: torch.dtype) -> None:
    model = hooked(name, dtype=dtype)
    expected = model.hf(input_ids=ids(), use_cache=False).logits
    for rules in filter(lambda r: supported(name, r), PRESETS.values()):
        run = model.run(ids(), reads=model.sites(), rules=rules)
        assert torch.equal(run.logits, expected), rules.describe()
        gradient = torch.autograd.grad(run.logits[:, -1].float().square().sum(), run["embed"])[0]
        assert bool(torch.isfinite(gradient).all()) and bool(gradient.abs().max() > 0)


@pytest.mark.parametrize("name", ALL)
def test_what_has_no_rule_is_named_and_raises(name: str) -> None:
    model = hooked(name)
    for rules in PRESETS.values():
        if supported(name, rules):
            model.coverage(rules).check()
            continue
        path = "mlp" if name == "mixtral" else "attn|self_attention"
        with pytest.raises(UnsupportedRuleError, match=rf"\.0\.({path})"):
            model.run(ids(), rules=rules)


# ---------------------------------------------------------------- sums


@pytest.mark.broad
@pytest.mark.parametrize("name", [n for n in ALL if n != "mixtral" and n not in POST_NORM])
def test_neuron_scores_sum_to_the_score_of_their_mlp(name: str) -> None:
    chosen = [m for m in ("atp", *PRESETS) if m != "gradient" and supported(name, PRESETS.get(m, GRADIENT))]
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        options: dict[str, Any] = {"methods": chosen, "direction": "noise"}
        neurons = attribute_all(model, toy_task(3), level="neurons", **options)
        blocks = attribute_all(model, toy_task(3), level="blocks", **options)
    for method in chosen:
        table = neurons[method].to_pandas().groupby("layer").score.sum()
        for layer in range(2):
            assert table[layer] == pytest.approx(blocks[method][f"m{layer}"], rel=1e-9)
            assert abs(table[layer]) > 1e-6


@pytest.mark.broad
@pytest.mark.parametrize("name", NO_BIAS)
def test_relp_ah_conserves_relevance_without_biases(name: str) -> None:
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        run = model.run(ids(), reads=["embed", "resid_pre"], rules=RELP_AH)
        m = run.logits[:, -1, 7] - run.logits[:, -1, 11]
        cuts = list(run.reads.values())
        for x, rho in zip(cuts, torch.autograd.grad(m.sum(), cuts), strict=True):
            assert torch.allclose((x * rho).sum((1, 2)), m, rtol=1e-9, atol=0)
