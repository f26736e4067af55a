"""Six architectures as plain weights and constants, read from a state dict by names typed by hand.

Everything in which they differ is data here, so that one forward pass in `tests/interp/attribution/edges/edge_twin.py` serves all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class NormWeights:
    """w (x - centre) / sigma + b over the last axis; the centre is 0 for RMSNorm."""

    w: Tensor
    b: Tensor | None
    eps: float
    centred: bool


@dataclass(frozen=True)
class LayerWeights:
    """One block. `W`, `b`: input projections by channel, [d_model column]; `channel_norms`: q/k norms over all columns.

    `W_O` [head d_head d_model]. `W_gate` is None for an MLP without a gate. `window`: positions that a query sees.
    """

    ln1: NormWeights | None
    ln2: NormWeights | None
    post1: NormWeights | None
    post2: NormWeights | None
    W: Mapping[str, Tensor]
    b: Mapping[str, Tensor]
    channel_norms: Mapping[str, NormWeights]
    W_O: Tensor
    b_O: Tensor | None
    W_gate: Tensor | None
    W_in: Tensor
    b_in: Tensor | None
    W_out: Tensor
    b_out: Tensor | None
    window: int | None = None


@dataclass(frozen=True)
class ModelWeights:
    """A whole model. `W_P`: learned positions. `rotate`: what q and k go through, [batch pos d_head] to the same."""

    W_E: Tensor
    W_P: Tensor | None
    layers: tuple[LayerWeights, ...]
    ln: NormWeights
    W_U: Tensor
    n_heads: int
    n_kv_heads: int
    act: Callable[[Tensor], Tensor]
    rotate: Callable[[Tensor], Tensor]
    attention_scale: float
    parallel: bool = False
    attention_cap: float | None = None
    logits_cap: float | None = None
    logits_scale: float = 1.0


# ---------------------------------------------------------------- activations and rotary embeddings


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def rotary(dims: int, c: Any, *, interleaved: bool = False) -> Callable[[Tensor], Tensor]:
    """Turn pairs among the first `dims` entries by position times theta^(-2i / dims): neighbours, or the two halves."""
    theta = c.rope_parameters["rope_theta"]

    def turn(x: Tensor) -> Tensor:
        half = dims // 2
        angle = torch.arange(x.shape[1])[:, None] * theta ** (-torch.arange(half) / half)
        first, second = (slice(0, dims, 2), slice(1, dims, 2)) if interleaved else (slice(half), slice(half, dims))
        a, b, y = x[..., first], x[..., second], x.clone()
        y[..., first], y[..., second] = a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()
        return y

    return turn


# ---------------------------------------------------------------- architectures


def read_weights(hf: Any) -> ModelWeights:
    """The weights of a live model of one of the six architectures."""
    state = {name: p.detach() for name, p in hf.state_dict().items()}
    return READERS[hf.config.model_type](state, hf.config)


def _layer_norm(s: State, at: str, eps: float) -> NormWeights:
    return NormWeights(s[at + ".weight"], s[at + ".bias"], eps, True)


def _rms(s: State, at: str, eps: float, offset: float = 0.0) -> NormWeights:
    return NormWeights(s[at + ".weight"] + offset, None, eps, False)


def _heads(w: Tensor, n_heads: int) -> Tensor:
    """W_O [head d_head d_model] of a matrix [column d_model]."""
    return w.unflatten(0, (n_heads, -1))


def _gpt2(s: State, c: Any) -> ModelWeights:
    def layer(i: int) -> LayerWeights:
        at, eps = f"transformer.h.{i}.", c.layer_norm_epsilon
        W, b = s[at + "attn.c_attn.weight"].chunk(3, 1), s[at + "attn.c_attn.bias"].chunk(3)
        return LayerWeights(
            ln1=_layer_norm(s, at + "ln_1", eps), ln2=_layer_norm(s, at + "ln_2", eps), post1=None, post2=None,
            W=dict(zip("qkv", W, strict=True)), b=dict(zip("qkv", b, strict=True)), channel_norms={},
            W_O=_heads(s[at + "attn.c_proj.weight"], c.n_head), b_O=s[at + "attn.c_proj.bias"],
            W_gate=None, W_in=s[at + "mlp.c_fc.weight"], b_in=s[at + "mlp.c_fc.bias"],
            W_out=s[at + "mlp.c_proj.weight"], b_out=s[at + "mlp.c_proj.bias"],
        )  # fmt: skip

    d_head = c.n_embd // c.n_head
    return ModelWeights(
        s["transformer.wte.weight"], s["transformer.wpe.weight"], tuple(layer(i) for i in range(c.n_layer)),
        _layer_norm(s, "transformer.ln_f", c.layer_norm_epsilon), s["lm_head.weight"].T, c.n_head, c.n_head,
        gelu_tanh, lambda x: x, d_head**-0.5,
    )  # fmt: skip


def _gpt_neox(s: State, c: Any) -> ModelWeights:
    """Columns of the fused projection: for each head its q, k and v. A quarter of each head is turned."""

    def layer(i: int) -> LayerWeights:
        at, eps, attn = f"gpt_neox.layers.{i}.", c.layer_norm_eps, f"gpt_neox.layers.{i}.attention."
        W = s[attn + "query_key_value.weight"].T.unflatten(1, (c.num_attention_heads, 3, -1))
        b = s[attn + "query_key_value.bias"].unflatten(0, (c.num_attention_heads, 3, -1))
        return LayerWeights(
            ln1=_layer_norm(s, at + "input_layernorm", eps), ln2=_layer_norm(s, at + "post_attention_layernorm", eps),
            post1=None, post2=None, W={n: W[:, :, j].flatten(1) for j, n in enumerate("qkv")},
            b={n: b[:, j].flatten() for j, n in enumerate("qkv")}, channel_norms={},
            W_O=_heads(s[attn + "dense.weight"].T, c.num_attention_heads), b_O=s[attn + "dense.bias"],
            W_gate=None, W_in=s[at + "mlp.dense_h_to_4h.weight"].T, b_in=s[at + "mlp.dense_h_to_4h.bias"],
            W_out=s[at + "mlp.dense_4h_to_h.weight"].T, b_out=s[at + "mlp.dense_4h_to_h.bias"],
        )  # fmt: skip

    d_head = c.hidden_size // c.num_attention_heads
    return ModelWeights(
        s["gpt_neox.embed_in.weight"], None, tuple(layer(i) for i in range(c.num_hidden_layers)),
        _layer_norm(s, "gpt_neox.final_layer_norm", c.layer_norm_eps), s["lm_head.weight"].T,
        c.num_attention_heads, c.num_attention_heads, gelu, rotary(d_head // 4, c), d_head**-0.5, parallel=True,
    )  # fmt: skip


def _gated(s: State, c: Any, i: int, **norms: Any) -> LayerWeights:
    """What Llama's descendants share: separate projections, an MLP with a gate, biases only where the model has them."""
    at = f"model.layers.{i}."
    attn, mlp = at + "self_attn.", at + "mlp."
    channels = {n: s[f"{attn}{n}_proj.weight"].T for n in "qkv"}
    return LayerWeights(
        W=channels, b={n: s.get(f"{attn}{n}_proj.bias", W.new_zeros(W.shape[1])) for n, W in channels.items()},
        W_O=_heads(s[attn + "o_proj.weight"].T, c.num_attention_heads), b_O=s.get(attn + "o_proj.bias"),
        W_gate=s[mlp + "gate_proj.weight"].T, W_in=s[mlp + "up_proj.weight"].T, b_in=None,
        W_out=s[mlp + "down_proj.weight"].T, b_out=None, **norms,
    )  # fmt: skip


def _model(s: State, c: Any, layers: list[LayerWeights], ln: NormWeights, **rest: Any) -> ModelWeights:
    d_head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    common = {"W_E": s["model.embed_tokens.weight"], "W_P": None, "W_U": s["lm_head.weight"].T, "act": silu}
    common |= {"n_heads": c.num_attention_heads, "n_kv_heads": c.num_key_value_heads, "rotate": rotary(d_head, c)}
    return ModelWeights(**{**common, "attention_scale": d_head**-0.5, **rest}, layers=tuple(layers), ln=ln)


def _llama(s: State, c: Any) -> ModelWeights:
    layers = []
    for i in range(c.num_hidden_layers):
        at, eps = f"model.layers.{i}.", c.rms_norm_eps
        norms = {"ln1": _rms(s, at + "input_layernorm", eps), "ln2": _rms(s, at + "post_attention_layernorm", eps)}
        layers.append(_gated(s, c, i, **norms, post1=None, post2=None, channel_norms={}))
    return _model(s, c, layers, _rms(s, "model.norm", c.rms_norm_eps))


def _gemma2(s: State, c: Any) -> ModelWeights:
    """Norms weigh by 1 + w; embeddings are scaled by sqrt(d_model); every other layer, from the first, has a window."""
    layers, eps = [], c.rms_norm_eps
    for i in range(c.num_hidden_layers):
        at = f"model.layers.{i}."
        norms = {
            "ln1": _rms(s, at + "input_layernorm", eps, 1),
            "post1": _rms(s, at + "post_attention_layernorm", eps, 1),
            "ln2": _rms(s, at + "pre_feedforward_layernorm", eps, 1),
            "post2": _rms(s, at + "post_feedforward_layernorm", eps, 1),
        }
        window = None if i % 2 else c.sliding_window
        layers.append(_gated(s, c, i, **norms, channel_norms={}, window=window))
    special = {"attention_cap": c.attn_logit_softcapping, "logits_cap": c.final_logit_softcapping}
    W_E = s["model.embed_tokens.weight"] * math.sqrt(c.hidden_size)
    scale = c.query_pre_attn_scalar**-0.5
    ln = _rms(s, "model.norm", eps, 1)
    return _model(s, c, layers, ln, W_E=W_E, act=gelu_tanh, attention_scale=scale, **special)


def _olmo2(s: State, c: Any) -> ModelWeights:
    """Attention and MLP read the stream itself; what they write, and all queries and all keys together, are normed."""
    layers, eps = [], c.rms_norm_eps
    for i in range(c.num_hidden_layers):
        at = f"model.layers.{i}."
        norms = {
            "post1": _rms(s, at + "post_attention_layernorm", eps),
            "post2": _rms(s, at + "post_feedforward_layernorm", eps),
            "channel_norms": {n: _rms(s, f"{at}self_attn.{n}_norm", eps) for n in "qk"},
        }
        layers.append(_gated(s, c, i, ln1=None, ln2=None, **norms))
    return _model(s, c, layers, _rms(s, "model.norm", eps))


def _cohere(s: State, c: Any) -> ModelWeights:
    """One LayerNorm without bias for attention and MLP; neighbours are turned; logits are scaled."""
    layers = []
    for i in range(c.num_hidden_layers):
        ln = NormWeights(s[f"model.layers.{i}.input_layernorm.weight"], None, c.layer_norm_eps, True)
        layers.append(_gated(s, c, i, ln1=ln, ln2=ln, post1=None, post2=None, channel_norms={}))
    final = NormWeights(s["model.norm.weight"], None, c.layer_norm_eps, True)
    turn = rotary(c.hidden_size // c.num_attention_heads, c, interleaved=True)
    return _model(s, c, layers, final, rotate=turn, parallel=True, logits_scale=c.logit_scale)


READERS: dict[str, Callable[[State, Any], ModelWeights]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "gemma2": _gemma2,
    "olmo2": _olmo2,
    "gpt_neox": _gpt_neox,
    "cohere": _cohere,
}
