"""A tiny random model of any causal language model that transformers registers, as far as a general recipe makes one."""

from __future__ import annotations

from typing import Any, Final

import torch
import transformers
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.interp.model.tiny import randomise

MODEL_TYPES: Final = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
#: A recipe that forgets a size must not fill the memory.
MOST_PARAMETERS: Final = 5_000_000

_NAMES: Final = {
    32: ("hidden_size", "n_embd", "d_model", "dim", "word_embed_proj_dim", "embedding_size", "lru_width"),
    2: ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers", "encoder_layers", "num_decoder_layers",
        "num_key_value_heads", "num_kv_heads", "num_experts_per_tok", "moe_k", "linear_num_key_heads"),
    4: ("num_attention_heads", "n_head", "num_heads", "n_heads", "decoder_attention_heads", "encoder_attention_heads",
        "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "rotary_dim", "qk_rope_head_dim",
        "linear_num_value_heads", "mamba_n_heads"),
    48: ("intermediate_size", "ffn_dim", "d_ff", "decoder_ffn_dim", "encoder_ffn_dim", "n_inner", "ffn_hidden_size",
         "shared_expert_intermediate_size"),
    64: ("vocab_size", "n_vocab", "vocab_size_per_layer_input", "max_position_embeddings", "n_positions", "n_ctx"),
    8: ("head_dim", "attention_head_size", "kv_channels", "qk_nope_head_dim", "v_head_dim", "linear_key_head_dim",
        "linear_value_head_dim", "global_head_dim", "hidden_size_per_layer_input"),
    16: ("moe_intermediate_size", "q_lora_rank", "kv_lora_rank", "mamba_d_head"),
    1: ("n_group", "topk_group", "first_k_dense_replace", "bos_token_id"),
    0: ("pad_token_id",),
}  # fmt: skip
_SIZES: Final = {name: size for size, names in _NAMES.items() for name in names}
#: What the recipe has to be told, per model type.
_ALSO: Final[dict[str, dict[str, Any]]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 4},
}


def config_of(model_type: str, **changes: Any) -> Any:
    """A small configuration: whatever sizes its class has, at most two kinds of layers."""
    cls = transformers.CONFIG_MAPPING[model_type]
    known = cls().to_dict()
    sizes = _sizes(known)
    if isinstance(known.get("text_config"), dict):
        sizes["text_config"] = _sizes(known["text_config"])
    return cls(**{**sizes, **_ALSO.get(model_type, {}), **changes})


def _sizes(known: dict[str, Any]) -> dict[str, Any]:
    sizes: dict[str, Any] = {name: size for name, size in _SIZES.items() if name in known}
    if "qk_rope_head_dim" in known:  # latent attention: heads have no other size, and share no keys
        sizes.pop("head_dim", None)
        sizes["num_key_value_heads"] = 4
    if isinstance(kinds := known.get("layer_types"), list):
        sizes["layer_types"] = (list(dict.fromkeys(kinds)) * 2)[:2]
    return sizes


def causal_lm(model_type: str, **changes: Any) -> nn.Module | None:
    """A tiny random model; None where the recipe makes none (it needs other packages, other sizes, or is too large)."""
    try:
        config = config_of(model_type, **changes)
        with torch.device("meta"):
            size = sum(p.numel() for p in transformers.AutoModelForCausalLM.from_config(config).parameters())
        if size > MOST_PARAMETERS:
            return None
        model: nn.Module = transformers.AutoModelForCausalLM.from_config(config).eval()
    except Exception:
        return None
    randomise(model)
    return model
