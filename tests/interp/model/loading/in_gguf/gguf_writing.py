"""Tiny GGUF files written by the package gguf, as llama.cpp's converter writes them: its names, its order of rows, its norms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Names of the parts of a block, typed by hand from llama.cpp's list; and where the blocks are.
LLAMA = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
GEMMA = {
    **LLAMA, "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
}  # fmt: skip
PARTS: dict[str, dict[str, str]] = {
    "llama": LLAMA,
    "qwen2": LLAMA,
    "gemma": LLAMA,
    "smollm3": LLAMA,
    "olmo2": {
        **LLAMA, "post_attention_layernorm": "post_attention_norm", "post_feedforward_layernorm": "post_ffw_norm",
        "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    },
    "qwen3": {**LLAMA, "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"},
    "gemma2": GEMMA,
    "gemma3": GEMMA,
    "phi3": {**LLAMA, "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"},
    "starcoder2": {**LLAMA, "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"},
    "gpt2": {
        "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
        "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
    },
}  # fmt: skip
OUTSIDE = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm",
}  # fmt: skip


def keys(kind: str, config: Any) -> dict[str, Any]:
    """The keys of the architecture, as the configuration has them."""
    if kind == "gpt2":
        return {
            "block_count": config.n_layer, "context_length": config.n_positions, "embedding_length": config.n_embd,
            "feed_forward_length": 4 * config.n_embd, "attention.head_count": config.n_head,
            "attention.layer_norm_epsilon": config.layer_norm_epsilon,
        }  # fmt: skip
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    eps = "attention.layer_norm_epsilon" if kind == "starcoder2" else "attention.layer_norm_rms_epsilon"
    rope = config.rope_parameters
    found = {
        "block_count": config.num_hidden_layers, "context_length": config.max_position_embeddings, "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size, "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads, "rope.freq_base": rope.get("full_attention", rope)["rope_theta"],
        eps: float(getattr(config, "rms_norm_eps", 0) or config.norm_epsilon),
    }  # fmt: skip
    if kind == "gemma":
        del found["rope.freq_base"]
    if kind in ("gemma", "gemma2", "gemma3", "qwen3"):
        found |= {"attention.key_length": head, "attention.value_length": head}
    elif kind != "olmo2":
        found["rope.dimension_count"] = head
    if kind == "gemma2":
        found |= {f"{x}_logit_softcapping": getattr(config, f"{x}_logit_softcapping") for x in ("attn", "final")}
    if kind in ("gemma2", "gemma3"):
        found["attention.sliding_window"] = config.sliding_window
    return found


def as_llama_cpp(kind: str, name: str, weight: Tensor, config: Any) -> Tensor:
    """A weight as the converter of llama.cpp leaves it."""
    if kind in ("llama", "smollm3") and ("q_proj" in name or "k_proj" in name):
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
        return halves.transpose(1, 2).reshape(weight.shape)
    if kind in ("gemma", "gemma2", "gemma3") and "norm" in name:
        return weight + 1
    if kind == "gpt2" and (".c_" in name) and weight.ndim == 2:
        return weight.T
    return weight


def their_name(kind: str, name: str) -> str:
    stem, _, last = name.rpartition(".")
    if stem in OUTSIDE:
        return f"{OUTSIDE[stem]}.{last}"
    layer, part = stem.removeprefix("model.layers.").removeprefix("transformer.h.").split(".", 1)
    return f"blk.{layer}.{PARTS[kind][part]}.{last}"


def write(
    path: Path,
    kind: str,
    model: Any,
    packed: str = "F32",
    *,
    drop: tuple[str, ...] = (),
    extra: Mapping[str, Tensor] | None = None,
    **changed: Any,
) -> dict[str, Tensor]:
    """Write a model as a GGUF file, its matrices packed as type `packed`; the weights that a reader has to find, by our names.

    drop: tensors to leave out, by llama.cpp's names; extra: further ones; changed: keys, with __ for points, None to leave one out.
    """
    import gguf

    writer = gguf.GGUFWriter(path, kind)
    for key, value in {**{f"{kind}.{k}": v for k, v in keys(kind, model.config).items()}, **_keys(changed)}.items():
        if value is not None:
            _add(writer, key, value)
    number, expected = gguf.GGMLQuantizationType[packed], {}
    tied = model.config.tie_word_embeddings
    for name, weight in model.state_dict().items():
        theirs = their_name(kind, name)
        if (tied and name == "lm_head.weight") or theirs in drop:
            continue
        there = as_llama_cpp(kind, name, weight, model.config).float().contiguous().numpy()
        if weight.ndim == 2 and packed != "F32":
            blocks = gguf.quantize(there, number)
            writer.add_tensor(theirs, blocks, raw_dtype=number)
            there = gguf.dequantize(blocks, number)
        else:
            writer.add_tensor(theirs, there)
        expected[name] = _back(kind, name, torch.from_numpy(np.array(there)).reshape(there.shape), model.config)
    for name, weight in (extra or {}).items():
        writer.add_tensor(name, weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def _back(kind: str, name: str, weight: Tensor, config: Any) -> Tensor:
    """The inverse of `as_llama_cpp`, found by moving numbered rows."""
    if kind in ("gemma", "gemma2", "gemma3") and "norm" in name:
        return weight - 1
    if kind == "gpt2" and (".c_" in name) and weight.ndim == 2:
        return weight.T
    rows = as_llama_cpp(kind, name, torch.arange(weight.shape[0]).float(), config).long()
    return torch.empty_like(weight).index_copy_(0, rows, weight)


def _keys(changed: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in changed.items()}


def _add(writer: Any, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
