"""The slow twin: Llama and GPT-2 written a second time in float64, with the propagation rules as in their papers.

Every rule is a constant in the forward pass (`x.detach()` in autograd's terms). With `constants` of another run given,
the same code is the replacement model: the model whose coefficients are frozen at that run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

#: Which constants each preset holds, written from methods.md and not from the engine.
FROZEN_NORM = ("relp", "relp-ah", "attnlrp", "cp-lrp", "gim")
IDENTITY = ("relp", "relp-ah", "attnlrp")
HALF = ("relp", "relp-ah", "attnlrp", "gim")
FROZEN_PATTERN = ("relp-ah", "cp-lrp")
QUARTER = ("attnlrp", "gim")


class HeldRules:
    """The rules of a preset, as constants of the forward pass. `held`: what was held constant, by name; with `constants`
    of another run given, those are taken."""

    preset: str
    constants: Mapping[str, Tensor] | None
    held: dict[str, Tensor]

    def hold(self, name: str, x: Tensor) -> Tensor:
        """A coefficient: constant in the backward pass, or that of the run that the replacement model is built from."""
        self.held[name] = x.detach()
        return x.detach() if self.constants is None else self.constants[name]

    def scaled(self, x: Tensor, c: float) -> Tensor:
        """Gradient times c, value as it is. In the replacement model of `relp-ah` no such coefficient is left."""
        return x if c == 1 else x.detach() + c * (x - x.detach())

    def act(self, name: str, x: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
        """Identity rule: x times the constant f(x)/x. No entry of `x` may be zero."""
        return x * self.hold(name, f(x) / x) if self.preset in IDENTITY else f(x)

    def product(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Half rule; with CP-LRP the activated gate `a` is a constant."""
        if self.preset in HALF:
            return (a * self.hold(f"{name} b", b) + self.hold(f"{name} a", a) * b) / 2
        return (self.hold(f"{name} a", a) if self.preset == "cp-lrp" else a) * b

    def pattern(self, name: str, scores: Tensor) -> Tensor:
        """The softmax of attention scores: a constant, or with the gradient of a softer one."""
        pattern = scores.softmax(-1)
        if self.preset in FROZEN_PATTERN:
            pattern = self.hold(name, pattern)
        if self.preset == "gim":  # gradient of 2 softmax(s / 2) is p (g - <g, p>) at p = softmax(s / 2)
            soft = 2 * (scores / 2).softmax(-1)
            pattern = pattern.detach() + soft - soft.detach()
        return pattern


@dataclass
class Twin(HeldRules):
    """One forward pass. `values`: what each site held, on the graph; `held`: what was held constant, by name."""

    model: Any
    preset: str = "gradient"
    constants: Mapping[str, Tensor] | None = None
    patches: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    held: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, ids: Tensor) -> Tensor:
        """Logits [batch pos d_vocab] of a GPT2LMHeadModel or LlamaForCausalLM in float64."""
        run = {"gpt2": self._gpt2, "llama": self._llama}[self.model.config.model_type]
        return run(ids, {k: p.detach() for k, p in self.model.state_dict().items()})

    # ------------------------------------------------------------ parts

    def tap(self, name: str, x: Tensor) -> Tensor:
        x = self.patches[name](x) if name in self.patches else x
        if name == "embed" and not x.requires_grad:
            x = x.detach().requires_grad_()
        self.values[name] = x
        return x

    def norm(self, name: str, x: Tensor, w: Tensor, b: Tensor | None, eps: float) -> Tensor:
        """LayerNorm where there is a bias, else RMSNorm. LN-rule: sigma is a constant."""
        x = x if b is None else x - x.mean(-1, keepdim=True)
        sigma = (x.square().mean(-1, keepdim=True) + eps).sqrt()
        y = w * x / (self.hold(name, sigma) if self.preset in FROZEN_NORM else sigma)
        return y if b is None else y + b

    def attention(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Causal attention of [batch pos head d_head] -> z of the same shape."""
        q, k, v = self.tap(f"q.{layer}", q), self.tap(f"k.{layer}", k), self.tap(f"v.{layer}", v)
        quarter, half = (0.25, 0.5) if self.preset in QUARTER else (1, 1)
        q, k, v = self.scaled(q, quarter), self.scaled(k, quarter), self.scaled(v, half)
        groups = q.shape[2] // k.shape[2]
        k, v = k.repeat_interleave(groups, 2), v.repeat_interleave(groups, 2)
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, -math.inf)
        pattern = self.pattern(f"pattern.{layer}", scores)
        return self.tap(f"z.{layer}", torch.einsum("bhqk,bkhd->bqhd", pattern, v))

    # ------------------------------------------------------------ models

    def _gpt2(self, ids: Tensor, w: dict[str, Tensor]) -> Tensor:
        c, d = self.model.config, ids.shape[1]
        x = self.tap("embed", w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][:d])
        for i in range(c.n_layer):
            at = f"transformer.h.{i}."
            x = self.tap(f"resid_pre.{i}", x)
            y = self.norm(f"ln1.{i}", x, w[at + "ln_1.weight"], w[at + "ln_1.bias"], c.layer_norm_epsilon)
            y = y @ w[at + "attn.c_attn.weight"] + w[at + "attn.c_attn.bias"]
            z = self.attention(i, *(s.unflatten(-1, (c.n_head, -1)) for s in y.chunk(3, -1))).flatten(2)
            x = x + self.tap(f"attn_out.{i}", z @ w[at + "attn.c_proj.weight"] + w[at + "attn.c_proj.bias"])
            y = self.norm(f"ln2.{i}", x, w[at + "ln_2.weight"], w[at + "ln_2.bias"], c.layer_norm_epsilon)
            y = self.act(f"act.{i}", y @ w[at + "mlp.c_fc.weight"] + w[at + "mlp.c_fc.bias"], gelu_tanh)
            y = self.tap(f"mlp_post.{i}", y)
            x = x + self.tap(f"mlp_out.{i}", y @ w[at + "mlp.c_proj.weight"] + w[at + "mlp.c_proj.bias"])
        ln = self.norm("ln", x, w["transformer.ln_f.weight"], w["transformer.ln_f.bias"], c.layer_norm_epsilon)
        return ln @ w["lm_head.weight"].T

    def _llama(self, ids: Tensor, w: dict[str, Tensor]) -> Tensor:
        c = self.model.config

        def linear(path: str, x: Tensor) -> Tensor:
            return x @ w[path + ".weight"].T + w.get(path + ".bias", torch.zeros(()))

        x = self.tap("embed", w["model.embed_tokens.weight"][ids])
        for i in range(c.num_hidden_layers):
            at = f"model.layers.{i}."
            x = self.tap(f"resid_pre.{i}", x)
            y = self.norm(f"ln1.{i}", x, w[at + "input_layernorm.weight"], None, c.rms_norm_eps)
            q, k, v = (linear(f"{at}self_attn.{n}_proj", y).unflatten(-1, (-1, c.head_dim)) for n in "qkv")
            z = self.attention(i, rotate(q), rotate(k), v).flatten(2)
            x = x + self.tap(f"attn_out.{i}", linear(at + "self_attn.o_proj", z))
            y = self.norm(f"ln2.{i}", x, w[at + "post_attention_layernorm.weight"], None, c.rms_norm_eps)
            gate = self.act(f"act.{i}", linear(at + "mlp.gate_proj", y), lambda s: s / (1 + torch.exp(-s)))
            y = self.tap(f"mlp_post.{i}", self.product(f"gate.{i}", gate, linear(at + "mlp.up_proj", y)))
            x = x + self.tap(f"mlp_out.{i}", linear(at + "mlp.down_proj", y))
        return self.norm("ln", x, w["model.norm.weight"], None, c.rms_norm_eps) @ w["lm_head.weight"].T


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU as GPT-2 computes it."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def rotate(x: Tensor, theta: float = 10000.0) -> Tensor:
    """Rotary embedding of [batch pos head d_head], halves rotated against each other."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[1])[:, None] * theta ** (-torch.arange(half) / half)
    cos, sin = angle.cos()[None, :, None], angle.sin()[None, :, None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
