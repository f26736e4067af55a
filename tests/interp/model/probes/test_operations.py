"""What is not linear in a block is in the coverage table, wherever the code of the model puts it; nothing is passed over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interp.errors import UnsupportedRuleError
from interp.model.model import HookedModel
from interp.rules.rules import CP_LRP, GIM, GRADIENT, PRESETS, RELP, RELP_AH, Rules
from tests.interp.model.probes.causal_lms import causal_lm
from tests.interp.model.tiny import ARCHITECTURES, VARIANTS, hooked, ids, tiny
from tests.interp.rules.float64 import true_float64
from tests.interp.rules.twin import HeldRules, rotate

FULL = {"layer_types": ["full_attention"] * 2}
ATTENTION = "model.layers.0.self_attn"


def gated(model_type: str = "qwen3_5_text", dtype: torch.dtype = torch.float32) -> HookedModel:
    """A model whose attention multiplies z by a gate."""
    more = {"mlp_only_layers": [0, 1]} if model_type == "qwen3_next" else {}
    hf = causal_lm(model_type, **FULL, **more)
    assert hf is not None
    return HookedModel(hf.to(dtype))


def rows_of(model: HookedModel, rules: Rules, path: str = ATTENTION) -> dict[str, str]:
    return {row.operation: row.treatment for row in model.coverage(rules).rows if row.path == path}


@pytest.mark.parametrize("name", (*ARCHITECTURES, *VARIANTS))
def test_architectures_that_are_plain_have_nothing_outside(name: str) -> None:
    found = hooked(name).operations
    assert not found.outside and not found.attention_gates


# ---------------------------------------------------------------- gated attention


@pytest.mark.parametrize("model_type", ["qwen3_5_text", "qwen3_next"])
def test_the_gate_of_an_attention_is_named(model_type: str) -> None:
    model = gated(model_type)
    gate, act = "gated product of z", "sigmoid in no module of its own"
    assert rows_of(model, GRADIENT)[gate] == rows_of(model, GRADIENT)[act] == "plain gradient"
    assert (rows_of(model, RELP)[gate], rows_of(model, RELP)[act]) == ("rule", "unsupported")
    assert (rows_of(model, GIM)[gate], rows_of(model, GIM)[act]) == ("rule", "plain gradient")
    assert (rows_of(model, CP_LRP)[gate], rows_of(model, CP_LRP)[act]) == ("unsupported", "plain gradient")
    for rules, said in ((RELP, "sigmoid"), (RELP_AH, "sigmoid"), (CP_LRP, "gated product of z")):
        with pytest.raises(UnsupportedRuleError, match=rf"{ATTENTION} \({said}"):
            model.run(ids(), rules=rules)
    eager = model.run(ids(), reads=["pattern"]).logits
    assert torch.equal(model.run(ids(), reads=["q", "z"], rules=GIM).logits, eager)


class GatedTwin(HeldRules):
    """Qwen3.5 with full attention only, written from its equations. `values`: what each site held."""

    def __init__(self, hf: Any, preset: str) -> None:
        self.hf, self.preset, self.constants, self.held = hf, preset, None, {}
        self.w = {name: p.detach() for name, p in hf.state_dict().items()}
        self.values: dict[str, Tensor] = {}

    def norm(self, name: str, x: Tensor, w: Tensor) -> Tensor:
        sigma = (x.square().mean(-1, keepdim=True) + self.hf.config.rms_norm_eps).sqrt()
        return (1 + w) * x / (sigma if self.preset == "gradient" else self.hold(name, sigma))

    def tap(self, name: str, x: Tensor) -> Tensor:
        self.values[name] = x
        return x

    def __call__(self, tokens: Tensor) -> Tensor:
        x = self.tap("embed", self.w["model.embed_tokens.weight"][tokens].requires_grad_())
        for layer in range(2):
            at = {n.removeprefix(f"model.layers.{layer}."): w for n, w in self.w.items() if f".layers.{layer}." in n}
            x = x + self.tap(
                f"attn_out.{layer}", self.attention(layer, at, self.norm(f"1.{layer}", x, at["input_layernorm.weight"]))
            )
            y = self.norm(f"2.{layer}", x, at["post_attention_layernorm.weight"])
            gate = self.act(f"act.{layer}", y @ at["mlp.gate_proj.weight"].T, lambda s: s / (1 + torch.exp(-s)))
            y = self.product(f"mlp.{layer}", gate, y @ at["mlp.up_proj.weight"].T)
            x = x + self.tap(f"mlp_out.{layer}", y @ at["mlp.down_proj.weight"].T)
        return self.norm("end", x, self.w["model.norm.weight"]) @ self.w["lm_head.weight"].T

    def attention(self, layer: int, at: dict[str, Tensor], x: Tensor) -> Tensor:
        """o_proj(z * sigmoid(gate)), the site z being what o_proj reads."""
        d = self.hf.config.head_dim
        q, gate = (x @ at["self_attn.q_proj.weight"].T).unflatten(-1, (-1, 2 * d)).chunk(2, -1)
        k, v = ((x @ at[f"self_attn.{c}_proj.weight"].T).unflatten(-1, (-1, d)) for c in "kv")
        q, k = (self.norm(f"{c}.{layer}", y, at[f"self_attn.{c}_norm.weight"]) for c, y in (("q", q), ("k", k)))
        q, k = (torch.cat([rotate(y[..., : d // 4]), y[..., d // 4 :]], -1) for y in (q, k))
        q, k, v = self.tap(f"q.{layer}", q), self.tap(f"k.{layer}", k), self.tap(f"v.{layer}", v)
        quarter, half = (0.25, 0.5) if self.preset == "gim" else (1, 1)
        k, v = (self.scaled(y, c).repeat_interleave(2, 2) for y, c in ((k, quarter), (v, half)))
        scores = torch.einsum("bqhd,bkhd->bhqk", self.scaled(q, quarter), k) / d**0.5
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
        z = torch.einsum("bhqk,bkhd->bqhd", self.pattern(f"pattern.{layer}", scores), v)
        z = self.tap(f"z.{layer}", self.product(f"z gate.{layer}", torch.sigmoid(gate), z))
        return z.flatten(2) @ at["self_attn.o_proj.weight"].T


@pytest.mark.parametrize("rules", ["gradient", "gim", "relp"])
def test_gated_attention_against_a_slow_twin(rules: str) -> None:
    with true_float64():
        model = gated(dtype=torch.float64)
        kinds = ["embed", "q", "k", "v", "z", "attn_out", "mlp_out"]
        run = model.run(ids(), reads=kinds, rules=PRESETS[rules].rules, allow_unsupported=rules == "relp")
        twin = GatedTwin(model.hf, rules)
        logits = twin(ids())
        assert torch.allclose(run.logits, logits, rtol=0, atol=1e-11)
        sites = [str(site) for site in run.reads]
        ours, theirs = (
            torch.autograd.grad((x[:, -1, 7] - x[:, -1, 11]).sum(), values)
            for x, values in ((run.logits, [run[s] for s in sites]), (logits, [twin.values[s] for s in sites]))
        )
        for site, a, b in zip(sites, ours, theirs, strict=True):
            assert torch.allclose(a, b, rtol=0, atol=1e-9 * float(b.abs().max())), site
            assert float(b.abs().max()) > 1e-6


def test_the_half_rule_of_the_gate_is_not_the_gradient() -> None:
    model = gated()
    half = Rules(gate=0.5)
    found = [
        torch.autograd.grad(run.logits[:, -1].square().sum(), run["attn_out.1"])[0]
        for run in (model.run(ids(), reads=["attn_out"]), model.run(ids(), reads=["attn_out"], rules=half))
    ]
    v = [
        torch.autograd.grad(run.logits[:, -1].square().sum(), run["v.1"])[0]
        for run in (model.run(ids(), reads=["v"]), model.run(ids(), reads=["v"], rules=half))
    ]
    assert not torch.allclose(*found)  # the MLP behind it
    assert not torch.allclose(*v, rtol=0.1)


# ---------------------------------------------------------------- elsewhere in a block


class Squared(nn.Module):
    """A linear map with more in it, of a class that is a linear map's."""

    def __new__(cls, inner: nn.Linear) -> nn.Linear:  # type: ignore[misc]
        class Map(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x) * x.mean(-1, keepdim=True)

        found = Map(inner.in_features, inner.out_features, bias=False)
        found.weight = inner.weight
        return found


class Through(nn.Module):
    """A module around another, with code of its own."""

    def __init__(self, inner: nn.Module, code: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.code = inner, code

    def forward(self, x: Tensor) -> Tensor:
        return self.code(self.inner(x))


class Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0]


def _around(path: str, code: Callable[[Tensor], Tensor]) -> Callable[[Any], None]:
    def change(hf: Any) -> None:
        outer, name = path.rsplit(".", 1)
        setattr(hf.get_submodule(outer), name, Through(hf.get_submodule(path), code))

    return change


def _linear_class(hf: Any) -> None:
    hf.model.layers[1].self_attn.v_proj = Squared(hf.model.layers[1].self_attn.v_proj)


def _hook(hf: Any) -> None:
    hf.model.layers[1].self_attn.k_proj.register_forward_hook(lambda m, a, y: torch.tanh(y))


def rms(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


V = "model.layers.1.self_attn.v_proj"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_around(V, F.silu), f"{V} (silu in no module of its own)"),
        (_around(V, rms), f"{V} (pow, rsqrt, product in no module of its own)"),
        (_around(V, lambda x: x * x.roll(1, -1)), f"{V} (product in no module of its own)"),
        (_around(V, lambda x: x / x.norm(dim=-1, keepdim=True)), f"{V} (linalg_vector_norm, quotient in no module of its own)"),
        (_around(V, Hidden.apply), f"{V} (sigmoid without its gradient, mul without its gradient in no module of its own)"),
        (_around("model.layers.0.post_attention_layernorm", F.softplus),
         "model.layers.0.post_attention_layernorm (softplus in no module of its own)"),
        (_linear_class, f"{V} (Map)"),
        (_hook, "model.layers.1.self_attn.k_proj (Linear)"),
    ],
)  # fmt: skip
def test_what_has_no_rule_is_named_wherever_it_is(change: Callable[[Any], None], named: str) -> None:
    hf = tiny("llama")
    change(hf)
    model, expected = HookedModel(hf), hf(input_ids=ids(), use_cache=False).logits
    assert torch.equal(model.run(ids()).logits, expected)
    with pytest.raises(UnsupportedRuleError) as raised:
        model.run(ids(), rules=RELP)
    assert named in str(raised.value)
    with torch.no_grad():  # with gradients, those that a module hides are refused in their turn
        assert torch.equal(model.run(ids(), rules=RELP, allow_unsupported=True).logits, expected)


def test_linear_code_around_a_module_is_no_alarm() -> None:
    hf = tiny("llama")
    _around(V, lambda x: 0.5 * x.flip(-1) + x.mean(-1, keepdim=True) - 1)(hf)
    HookedModel(hf).coverage(RELP).check()
