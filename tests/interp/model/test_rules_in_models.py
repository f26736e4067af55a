"""Propagation rules in whole models against a slow twin in float64, written as in the papers; and what has no rule is named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from interp.errors import UnsupportedRuleError
from interp.model.model import HookedModel, Run
from interp.model.modules.attention import ruled
from interp.rules.rules import (
    GRADIENT,
    PRESETS,
    RELP_AH,
    Rules,
    preset,
)
from tests.interp.model.tiny import ARCHITECTURES, OWN_ATTENTION, VARIANTS, architecture, hooked, ids
from tests.interp.rules.float64 import true_float64
from tests.interp.rules.test_rules import draw
from tests.interp.rules.twin import Twin

ALL = (*ARCHITECTURES, *VARIANTS)
POST_NORM = ("gemma2", "gemma3_text", "olmo2")
NO_BIAS = (
    "llama", "mistral", "qwen3", "gemma", "gemma3_text", "phi3", "olmo", "olmo2", "cohere", "granite", "smollm3", "mixtral",
)  # fmt: skip


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
@pytest.mark.parametrize("rules", [name for name, own in PRESETS.items() if not own.rules.secants])
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
    for name, rules in ((own.name, own.rules) for own in PRESETS.values()):
        run = model.run(ids(), reads=["embed"], rules=rules, toward=other_run(model, rules))
        found[name] = torch.autograd.grad(run.logits[:, -1, 7].sum(), run["embed"])[0]
    names = sorted(found)
    assert all(not torch.allclose(found[a], found[b], rtol=0.05) for a in names for b in names if a < b)


@pytest.mark.broad
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ALL)
def test_the_forward_is_bit_identical_under_every_preset(name: str, dtype: torch.dtype) -> None:
    model = hooked(name, dtype=dtype)
    expected = model.hf(input_ids=ids(), use_cache=False).logits
    for rules in (own.rules for own in PRESETS.values() if supported(name, own.rules)):
        run = model.run(ids(), reads=model.sites(), rules=rules, toward=other_run(model, rules))
        assert torch.equal(run.logits, expected), rules.describe()
        gradient = torch.autograd.grad(run.logits[:, -1].float().square().sum(), run["embed"])[0]
        assert bool(torch.isfinite(gradient).all()) and bool(gradient.abs().max() > 0)


@pytest.mark.parametrize("name", ALL)
def test_what_has_no_rule_is_named_and_raises(name: str) -> None:
    model = hooked(name)
    for rules in (own.rules for own in PRESETS.values()):
        if supported(name, rules):
            model.coverage(rules).check()
            continue
        path = "mlp" if name == "mixtral" else "attn|self_attention"
        with pytest.raises(UnsupportedRuleError, match=rf"\.0\.({path})"):
            model.run(ids(), rules=rules)


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


def other_run(model: HookedModel, rules: Rules) -> Run | None:
    """A run on other prompts, where rules stand between two runs."""
    return model.run(ids(seed=2), keep_operands=True) if rules.secants else None


def supported(name: str, rules: Rules) -> bool:
    """What we claim: all but experts between two runs, and attention rules where attention goes through AttentionInterface."""
    if name == "mixtral" and rules.secants:
        return False
    return rules == GRADIENT or not rules.in_attention or architecture(name) not in OWN_ATTENTION
