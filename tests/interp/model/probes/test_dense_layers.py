"""Dense layers of models with experts: found by the probe, under the rules of any other MLP; only sparse layers are experts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import interp
from interp.errors import SiteError, UnsupportedRuleError
from interp.model.model import HookedModel
from interp.parts.nodes import groups
from interp.rules.rules import DEEPLIFT, GRADIENT, PRESETS, RELP, RELP_AH
from tests.interp.model.probes.causal_lms import causal_lm
from tests.interp.model.tiny import ids, tiny
from tests.interp.rules.float64 import true_float64


def model_of(model_type: str, **changes: Any) -> HookedModel:
    hf = causal_lm(model_type, **changes)
    assert hf is not None
    return HookedModel(hf)


@pytest.mark.parametrize("rules", [own.rules for own in PRESETS.values()], ids=list(PRESETS))
def test_a_model_of_dense_layers_only_is_the_dense_model(rules: interp.Rules) -> None:
    experts = model_of("qwen3_moe", mlp_only_layers=[0, 1])
    dense = HookedModel(tiny("qwen3", intermediate_size=48, attn="sdpa"))
    dense.hf.load_state_dict(experts.hf.state_dict())
    assert not experts.missing_sites() and experts.layout.d_mlp == 48
    kinds = ["embed", "z", "mlp_pre", "mlp_post", "mlp_out"]
    both = experts, dense
    others = [model.run(ids(seed=2), keep_operands=True) if rules.secants else None for model in both]
    runs = [model.run(ids(), reads=kinds, rules=rules, toward=o) for model, o in zip(both, others, strict=True)]
    assert torch.equal(runs[0].logits, runs[1].logits)
    found = [
        torch.autograd.grad(run.logits.square().sum(), list(run.reads.values()), allow_unused=True) for run in runs
    ]
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    assert sum(x is not None for x in found[0]) >= 7


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("qwen3_moe", {"mlp_only_layers": [0]}),
        ("deepseek_v3", {}),
        ("glm4_moe", {}),
        ("llama4_text", {"moe_layers": [1], "intermediate_size_mlp": 40}),
    ],
)
def test_only_sparse_layers_are_experts(model_type: str, changes: dict[str, Any]) -> None:
    model = model_of(model_type, **changes)
    dense, sparse = model.layout.blocks
    assert dense.mlp.act is not None and dense.mlp.gated and sparse.mlp.act is None
    rows = model.coverage(RELP).rows
    assert [row.path for row in rows if row.operation == "experts"] == [sparse.mlp.module]
    assert [row.rule for row in rows if row.operation == "gated product"] == ["half rule"]
    assert any(row.treatment == "unsupported" for row in model.coverage(DEEPLIFT).rows)
    with pytest.raises(UnsupportedRuleError, match=rf"{sparse.mlp.module} \(experts: which"):
        model.run(ids(), rules=DEEPLIFT, toward=model.run(ids(), keep_operands=True))
    assert model.missing_sites()["mlp_post"].startswith("not in layer 1: ") and "mlp_post" not in model.sites()
    width = model.run(ids(), reads=["mlp_post.0"])["mlp_post.0"].shape[-1]
    assert width == model.layout.d_mlp == (40 if model_type == "llama4_text" else 48)
    with pytest.raises(SiteError, match=r"mlp_post\.1"):
        model.run(ids(), reads=["mlp_post"])
    with pytest.raises(SiteError, match=r"neuron.*mlp_post\.1"):
        groups("neurons", model.layout)


def test_layers_of_different_width_have_no_level_of_neurons() -> None:
    hf = tiny("llama")
    other = tiny("llama", intermediate_size=24)
    hf.model.layers[1].mlp = other.model.layers[1].mlp
    model = HookedModel(hf)
    assert model.layout.d_mlp is None and not model.missing_sites()
    widths = [x.shape[-1] for x in model.run(ids(), reads=["mlp_post"]).reads.values()]
    assert widths == [48, 24]
    with pytest.raises(SiteError, match="different numbers"):
        groups("neurons", model.layout)


def test_relevance_is_conserved_through_dense_layers_of_deepseek() -> None:
    with true_float64():
        hf = causal_lm("deepseek_v3", first_k_dense_replace=2)
        assert hf is not None
        model = HookedModel(hf.double())
        run = model.run(ids(), reads=["embed", "resid_pre"], rules=RELP_AH)
        m = run.logits[:, -1, 7] - run.logits[:, -1, 11]
        cuts = list(run.reads.values())
        for x, rho in zip(cuts, torch.autograd.grad(m.sum(), cuts), strict=True):
            assert torch.allclose((x * rho).sum((1, 2)), m, rtol=1e-9, atol=0)


def test_experts_with_the_gradient_are_what_they_were() -> None:
    model = model_of("qwen3_moe")
    assert {row.treatment for row in model.coverage(GRADIENT).rows} == {"plain gradient"}
    assert model.missing_sites()["mlp_post"].startswith("its MLP has no single activation")
