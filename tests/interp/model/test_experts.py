"""Mixtures of experts under rules: against a slow twin, by conservation, bit by bit; by hand in other forms; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interp.errors import UnsupportedRuleError
from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.rules.rules import CP_LRP, DEEPLIFT, GIM, GRADIENT, PRESETS, RELP, RELP_AH, Rules
from tests.interp.model.discovery.written import FunctionMlp, GatedMlp, Mlp
from tests.interp.model.own_experts import Before, Best, Dense, Rare, Soft, Stacked, Wide, Written, decoder
from tests.interp.model.probes.causal_lms import causal_lm
from tests.interp.model.tiny import ids
from tests.interp.rules.experts_twin import FAMILIES, twin
from tests.interp.rules.float64 import true_float64
from tests.interp.rules.test_rules import draw

ONE_RUN = [own.rules for own in PRESETS.values() if not own.rules.secants]
#: Of transformers' mixtures those without biases and with attention that the rules know.
CONSERVING = (
    "mixtral", "qwen3_moe", "olmoe", "deepseek_v2", "deepseek_v3", "granitemoe", "granitemoeshared", "llama4_text", "ernie4_5_moe",
    "glm4_moe", "glm4_moe_lite", "minimax_m2", "cohere2_moe", "exaone_moe", "flex_olmo", "hunyuan_v1_moe", "solar_open",
)  # fmt: skip
BIASED = ("qwen2_moe", "gpt_oss", "phimoe")
#: Limits that are met, weights of experts that are not made to sum to one.
CHANGES: dict[str, dict[str, Any]] = {"gpt_oss": {"swiglu_limit": 0.5}, "llama4_text": {"num_experts_per_tok": 2}}


def made(model_type: str, **changes: Any) -> nn.Module:
    hf = causal_lm(model_type, **{**CHANGES.get(model_type, {}), **changes})
    assert hf is not None
    return hf


def wide(model_type: str) -> HookedModel:
    """The model in float64, where torch has no grouped products: experts one after the other."""
    hf: Any = made(model_type)
    hf.set_experts_implementation("eager")
    return HookedModel(hf.double())


def is_conserved(model: HookedModel) -> bool:
    """Whether relevance over each cut of the stream adds up to the metric under `relp-ah`."""
    run = model.run(ids(), reads=["embed", "resid_pre", "mlp_out"], rules=RELP_AH)
    m = run.logits[:, -1, 7] - run.logits[:, -1, 11]
    cuts = [x for site, x in run.reads.items() if site.kind != "mlp_out"]
    found = torch.autograd.grad(m.sum(), cuts)
    return all(torch.allclose((x * rho).sum((1, 2)), m, rtol=1e-9, atol=0) for x, rho in zip(cuts, found, strict=True))


# ---------------------------------------------------------------- of transformers


@pytest.mark.parametrize("name", FAMILIES)
def test_what_comes_back_is_that_of_the_slow_twin(name: str) -> None:
    with true_float64():
        model = wide(name)
        layer = next(i for i, block in enumerate(model.layout.blocks) if block.mlp.act is None)
        run = model.run(ids(), reads=["mlp_normed", "mlp_out"], rules=RELP)
        x, y = run[f"mlp_normed.{layer}"], run[f"mlp_out.{layer}"]
        g = draw(*y.shape)
        mlp = model.hf.get_submodule(model.layout.blocks[layer].mlp.module)
        with torch.no_grad():
            value, back = twin(name, mlp, x, g)
        assert torch.allclose(y, value, rtol=0, atol=1e-12)
        assert torch.allclose(torch.autograd.grad(y, x, g)[0], back, rtol=0, atol=1e-12)
        plain = model.run(ids(), reads=["mlp_normed", "mlp_out"])
        x, y = plain[f"mlp_normed.{layer}"], plain[f"mlp_out.{layer}"]
        assert not torch.allclose(torch.autograd.grad(y, x, g)[0], back, rtol=0, atol=1e-3)


def test_the_gradient_through_experts_is_that_of_differences() -> None:
    with true_float64():
        model = wide("qwen3_moe")
        run = model.run(ids(), reads=["mlp_normed.1", "mlp_out.1"], rules=GRADIENT)
        x, y = run["mlp_normed.1"], run["mlp_out.1"]
        g, way, mlp = draw(*y.shape), 1e-6 * draw(*x.shape, seed=1), model.hf.model.layers[1].mlp
        with torch.no_grad():
            step = mlp(x + way) - mlp(x - way)
        assert torch.allclose((torch.autograd.grad(y, x, g)[0] * way).sum(), (step * g).sum() / 2, rtol=1e-6, atol=0)


@pytest.mark.broad
@pytest.mark.parametrize("name", CONSERVING)
def test_relevance_is_conserved_through_experts(name: str) -> None:
    with true_float64():
        model = wide(name)
        assert any(block.mlp.act is None for block in model.layout.blocks)
        assert is_conserved(model)


@pytest.mark.broad
@pytest.mark.parametrize("name", (*CONSERVING, *BIASED))
def test_the_forward_is_bit_identical_under_every_preset(name: str) -> None:
    model = HookedModel(made(name))
    expected = model.run(ids(), reads=["pattern"]).logits
    for rules in ONE_RUN:
        model.coverage(rules).check()
        run = model.run(ids(), reads=model.sites(), rules=rules)
        assert torch.equal(run.logits, expected), rules.describe()
        gradient = torch.autograd.grad(run.logits[:, -1].square().sum(), run["embed"])[0]
        assert bool(torch.isfinite(gradient).all()) and bool(gradient.abs().max() > 0)


def test_every_way_to_compute_experts_gives_the_same_relevance() -> None:
    hf: Any = made("qwen3_moe")
    found = []
    for way in ("eager", "batched_mm", "grouped_mm"):
        hf.set_experts_implementation(way)
        model = HookedModel(hf)
        run = model.run(ids(), reads=["embed"], rules=RELP)
        assert torch.equal(run.logits, model.run(ids()).logits)
        found.append(torch.autograd.grad(run.logits[:, -1, 7].sum(), run["embed"])[0])
    assert all(torch.allclose(x, found[0], rtol=0, atol=1e-5 * float(found[0].abs().max())) for x in found[1:])


def test_a_model_that_was_saved_with_its_load_loss_is_ruled_like_any() -> None:
    """transformers computes that loss behind the head in each forward; no logit depends on it."""
    hf: Any = made("qwen3_moe", output_router_logits=True)
    assert hf(ids(), use_cache=False).aux_loss is not None
    model, plain = HookedModel(hf), HookedModel(made("qwen3_moe"))
    assert not model.coverage(RELP).unsupported and model.coverage(RELP).rows == plain.coverage(RELP).rows
    assert torch.equal(model.run(ids(), rules=RELP).logits, hf(ids(), use_cache=False).logits)


@pytest.mark.parametrize(
    ("name", "preset", "rule"),
    [
        ("qwen3_moe", "relp", "weights held constant, f(x)/x of silu, half rule"),
        ("qwen3_moe", "cp-lrp", "weights held constant, gate detached"),
        ("qwen3_moe", "gim", "weights held constant, half rule"),
        (
            "gpt_oss",
            "relp-ah",
            "weights held constant, f(x)/x of clamp, f(x)/x of an activation written out, half rule",
        ),
    ],
)
def test_coverage_says_what_is_done(name: str, preset: str, rule: str) -> None:
    model = HookedModel(made(name))
    rows = {row.path: row for row in model.coverage(PRESETS[preset].rules).rows}
    for block in model.layout.blocks:
        assert (rows[block.mlp.module].operation, rows[block.mlp.module].rule) == ("experts", rule)
    assert not model.coverage(PRESETS[preset].rules).unsupported
    router = "router" if name == "gpt_oss" else "gate"
    assert rows[f"model.layers.0.mlp.{router}"].rule == "as part of model.layers.0.mlp"


def test_between_two_runs_they_are_refused() -> None:
    model = HookedModel(made("qwen3_moe"))
    more = len(model.layout.blocks) - 1
    said = rf"model.layers.0.mlp \(experts: which of them are chosen jumps between two runs\) and {more} like it"
    with pytest.raises(UnsupportedRuleError, match=said):
        model.run(ids(), rules=DEEPLIFT, toward=model.run(ids(), keep_operands=True))


# ---------------------------------------------------------------- by hand


@pytest.mark.parametrize("kind", [Best, Before, Dense, Stacked])
def test_experts_by_hand_are_conserved_bit_by_bit(kind: type[nn.Module]) -> None:
    with true_float64():
        model = HookedModel(decoder(kind))
        expected = model.run(ids(), reads=["pattern"]).logits
        for rules in ONE_RUN:
            assert torch.equal(model.run(ids(), reads=["pattern"], rules=rules).logits, expected)
        assert is_conserved(model)


@pytest.mark.parametrize("kind", [Wide, Soft])
def test_what_experts_have_no_rule_for_is_named(kind: type[nn.Module]) -> None:
    model = HookedModel(decoder(kind))
    name = {Wide: "sigmoid", Soft: "softsign"}[kind]
    with pytest.raises(UnsupportedRuleError, match=rf"layers\.0\.mlp \(experts: gradients come back through {name}\)"):
        model.run(ids(), rules=RELP)
    both = [
        model.run(ids(), reads=["embed"], rules=rules, allow_unsupported=True) for rules in (Rules(norm="frozen"), RELP)
    ]
    own = [torch.autograd.grad(run.logits[:, -1, 7].sum(), run["embed"])[0] for run in both]
    assert torch.allclose(*own, rtol=1e-9, atol=1e-12)  # nothing but norms has a rule there


@pytest.mark.parametrize("rules", [GIM, CP_LRP], ids=["gim", "cp-lrp"])
def test_rules_without_one_for_activations_take_a_wide_gate_for_a_gate(rules: Rules) -> None:
    model = HookedModel(decoder(Wide))
    run = model.run(ids(), reads=["embed"], rules=rules)
    assert torch.autograd.grad(run.logits[:, -1, 7].sum(), run["embed"])[0].isfinite().all()


def test_an_expert_that_the_probe_did_not_reach_is_refused_in_the_run() -> None:
    model = HookedModel(decoder(Rare))
    model.coverage(RELP).check()
    there = torch.tensor([[next(i for i in range(64) if reaches(model, i))]])
    run = model.run(there, reads=["embed"], rules=RELP)
    with pytest.raises(UnsupportedRuleError, match=r"layers\.[01]\.mlp: a gradient comes back through elu"):
        torch.autograd.grad(run.logits[:, -1, 7].sum(), run["embed"])
    assert torch.equal(run.logits, model.run(there, reads=["pattern"]).logits)


def reaches(model: HookedModel, token: int) -> bool:
    """Whether a token goes to the rare expert."""
    run = model.run(torch.tensor([[token]]), reads=["mlp_normed"])
    return any(bool((x[..., 1] > 1.5).any()) for x in run.reads.values())


@pytest.mark.parametrize(("functions", "modules"), [(FunctionMlp, Mlp), (Written, GatedMlp)])
def test_functions_have_the_rules_of_modules(functions: Any, modules: Any) -> None:
    """An MLP that calls functions, and the same with modules, have the same relevance."""
    ours, theirs = decoder(functions), decoder(modules)
    names = {"gate": "right", "up": "left"} if functions is Written else {}
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        parts = {
            ".".join([names.get(k.split(".")[0], k.split(".")[0]), k.split(".")[1]]): v
            for k, v in mine.mlp.state_dict().items()
        }
        other.mlp.load_state_dict({**{k: torch.zeros_like(v) for k, v in other.mlp.state_dict().items()}, **parts})
    left = {k: v for k, v in ours.state_dict().items() if ".mlp." not in k}
    theirs.load_state_dict({**theirs.state_dict(), **left})
    for rules in ONE_RUN:
        runs = [HookedModel(hf).run(ids(), reads=["embed"], rules=rules) for hf in (ours, theirs)]
        found: list[Tensor] = [torch.autograd.grad(run.logits[:, -1, 7].sum(), run["embed"])[0] for run in runs]
        assert torch.allclose(*found, rtol=1e-9, atol=1e-12), rules.describe()


class Normed(Best):
    """A norm with a mean behind each expert, which is a module that has a rule of its own."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.calm = nn.LayerNorm(c.wide)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.calm(super().forward(x))
        return out


def test_norms_among_experts_have_their_own_rule() -> None:
    with true_float64():
        model = HookedModel(decoder(Normed))
        assert is_conserved(model)
        held, free = (
            model.run(ids(), reads=["embed"], rules=Rules(norm=norm, act="identity", gate=0.5))
            for norm in ("frozen", "gradient")
        )
        found = [torch.autograd.grad(run.logits[:, -1, 7].sum(), run["embed"])[0] for run in (held, free)]
        assert torch.isfinite(found[1]).all() and not torch.allclose(*found, rtol=0.1)


@pytest.mark.parametrize("kind", [FunctionMlp, Best])
def test_no_rule_acts_on_what_an_edit_does(kind: type[nn.Module]) -> None:
    """A factor of one number, put on what an MLP adds, is no weight: its slope is what is added times what comes back there."""
    model, m = HookedModel(decoder(kind)), torch.ones(1, dtype=torch.float64, requires_grad=True)
    run = model.run(ids(), reads=["mlp_out.0"], rules=RELP)
    (rho,) = torch.autograd.grad(run.logits[:, -1, 7].sum(), run["mlp_out.0"])
    edited = model.run(ids(), edits=[Edit("mlp_out.0", lambda x: x * m)], rules=RELP)
    (slope,) = torch.autograd.grad(edited.logits[:, -1, 7].sum(), m)
    assert torch.allclose(slope, (run["mlp_out.0"] * rho).sum(), rtol=1e-9)
