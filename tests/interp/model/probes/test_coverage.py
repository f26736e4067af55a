"""What has no rule is named: strange modules, misspelt rule sets, and a table that leaves nothing out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interp.errors import UnsupportedRuleError
from interp.model.model import HookedModel
from interp.rules.rules import GRADIENT, PRESETS, RELP, RELP_AH, Rules, preset
from tests.interp.model.tiny import hooked, ids, tiny


class L1Norm(nn.Module):
    """A norm that we have no rule for."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(32))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x / x.abs().mean(-1, keepdim=True)


def _mish(model: Any) -> str:
    model.model.layers[1].mlp.act_fn = nn.Mish()
    return "model.layers.1.mlp.act_fn (Mish)"


def _norm(model: Any) -> str:
    model.model.layers[0].input_layernorm = L1Norm()
    return "model.layers.0.input_layernorm (L1Norm)"


def _softsign(model: Any) -> str:
    attn = model.model.layers[1].self_attn
    attn.q_proj = nn.Sequential(attn.q_proj, nn.Softsign())
    return "model.layers.1.self_attn.q_proj.1 (Softsign)"


@pytest.mark.parametrize("change", [_mish, _norm, _softsign])
def test_an_unknown_module_is_named(change: Callable[[Any], str]) -> None:
    model = tiny("llama")
    named = change(model)
    ours, expected = HookedModel(model), model(input_ids=ids(), use_cache=False).logits
    other = ours.run(ids(seed=2), keep_operands=True)
    for rules in (own.rules for own in PRESETS.values()):
        toward = other if rules.secants else None
        if rules == GRADIENT:
            assert torch.equal(ours.run(ids(), rules=rules).logits, expected)
            continue
        with pytest.raises(UnsupportedRuleError) as raised:
            ours.run(ids(), rules=rules, toward=toward)
        assert named in str(raised.value)
        run = ours.run(ids(), reads=["embed"], rules=rules, allow_unsupported=True, toward=toward)
        assert torch.equal(run.logits, expected)
        assert torch.isfinite(torch.autograd.grad(run.logits[:, -1, 7].sum(), run["embed"])[0]).all()


def test_a_rule_set_is_checked() -> None:
    for wrong in ({"norm": "frosen"}, {"act": "linear"}, {"gate": 0.3}, {"attention": 0.0}):
        with pytest.raises(UnsupportedRuleError):
            Rules(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedRuleError, match="relp"):
        preset("rel-p")


@pytest.mark.parametrize(
    ("name", "norms", "gated"),
    [("gpt2", 5, 0), ("llama", 5, 2), ("qwen3", 9, 2), ("gemma2", 9, 2), ("gemma3_text", 13, 2), ("olmo2", 9, 2),
     ("phi", 3, 0), ("cohere-qk-norm", 7, 2), ("bloom", 5, 0)],
)  # fmt: skip
def test_coverage_counts_every_operation(name: str, norms: int, gated: int) -> None:
    model = hooked(name)
    table = model.coverage(RELP).to_pandas()
    ruled_rows = table[table.treatment == "rule"]
    assert ruled_rows.operation.str.endswith("Norm").sum() == norms
    assert (ruled_rows.operation == "gated product").sum() == gated
    assert ruled_rows.rule.str.startswith("f(x)/x").sum() == 2 == (table.operation == "attention").sum()
    assert model.layout.ln_final in set(ruled_rows.path)
    plain = model.coverage(GRADIENT).to_pandas()
    assert set(plain.treatment) == {"plain gradient"} and set(plain.path) == set(table.path)
    before = {"transformer.word_embeddings_layernorm"}  # gradients end at `embed`, which is behind it
    leaves = {
        p for p, m in model.hf.named_modules() if not any(m.children()) and not isinstance(m, nn.Embedding)
    } - before
    assert not {p for p in leaves if "drop" not in p and "rotary" not in p} - set(table.path)


@pytest.mark.parametrize(
    ("architecture", "option", "operation"),
    [
        ("gemma2", {"attn_logit_softcapping": 3.0}, "soft cap 3 of the scores"),
        ("olmo", {"clip_qkv": 0.5}, "clip of q, k, v at 0.5"),
    ],
)
def test_functions_inside_attention_are_listed(architecture: str, option: dict[str, float], operation: str) -> None:
    model = HookedModel(tiny(architecture, **option))
    rows = [row for row in model.coverage(RELP_AH).rows if row.operation == operation]
    assert len(rows) == model.layout.n_layers and all(row.treatment == "plain gradient" for row in rows)
    assert not any(
        "soft cap" in r.operation or "clip" in r.operation for r in HookedModel(tiny("gpt2")).coverage(RELP_AH).rows
    )
