"""Tiny random models of every architecture we claim, with weights large enough that no effect is negligible."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from torch import Tensor, nn

from interp.model.model import HookedModel

torch.set_num_threads(1)

VOCAB = 64
_GQA = {"num_key_value_heads": 2}
_HEAD_DIM = {"head_dim": 8}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_WINDOW = {"sliding_window": 4}

#: What differs from the common sizes, per architecture. Windows are shorter than the prompts and caps and multipliers
#: far from neutral, so that leaving one out would show.
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 4},
    "gptj": {"n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 64, "rotary_dim": 4},
    "gpt_neox": {},
    "llama": _GQA,
    "mistral": {**_GQA, **_WINDOW},
    "qwen2": _GQA,
    "qwen3": {**_GQA, **_HEAD_DIM},
    "gemma": {**_GQA, **_HEAD_DIM},
    "gemma2": {**_GQA, **_HEAD_DIM, **_WINDOW, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0},
    "gemma3_text": {**_GQA, **_HEAD_DIM, **_WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    "phi": {},
    "phi3": {**_GQA, "pad_token_id": 0},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "olmo": _GQA,
    "olmo2": _GQA,
    "stablelm": _GQA,
    "bloom": {"n_layer": 2, "n_head": 4},
    "falcon": {},
    "cohere": {**_GQA, **_SPECIAL, "logit_scale": 0.5},
    "granite": {
        **_GQA,
        "residual_multiplier": 0.22,
        "embedding_multiplier": 2.0,
        "logits_scaling": 3.0,
        "attention_multiplier": 0.3,
    },
    "smollm3": {**_GQA, **_SPECIAL},
    "mixtral": {**_GQA, "num_local_experts": 4},
}
ARCHITECTURES = tuple(CONFIGS)
#: Attention of these does not go through transformers' AttentionInterface.
OWN_ATTENTION = ("gpt_neo", "gptj", "bloom", "falcon")
PARALLEL = ("gptj", "gpt_neox", "phi", "falcon", "cohere")
#: Shapes of known architectures that their default configuration does not have.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon-new": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-sequential": ("falcon", {"parallel_attn": False, "multi_query": False}),
    "falcon-alibi": ("falcon", {"alibi": True}),
    "gpt_neox-sequential": ("gpt_neox", {"use_parallel_residual": False}),
    "stablelm-parallel": ("stablelm", {"use_parallel_residual": True, "qk_layernorm": True}),
    "cohere-qk-norm": ("cohere", {"use_qk_norm": True}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "gpt2-scaled": ("gpt2", {"scale_attn_by_inverse_layer_idx": True, "activation_function": "relu"}),
    "phi-qk-norm": ("phi", {"qk_layernorm": True}),
}

#: Blocks, output projection of attention and of the MLP, typed by hand from the Hugging Face sources: nothing in the
#: tests that hooks a model itself asks the engine where to.
_PATHS: dict[str, tuple[str, str, str]] = {
    "gpt2": ("transformer.h", "attn.c_proj", "mlp.c_proj"),
    "gpt_neo": ("transformer.h", "attn.attention.out_proj", "mlp.c_proj"),
    "gptj": ("transformer.h", "attn.out_proj", "mlp.fc_out"),
    "gpt_neox": ("gpt_neox.layers", "attention.dense", "mlp.dense_4h_to_h"),
    "phi": ("model.layers", "self_attn.dense", "mlp.fc2"),
    "opt": ("model.decoder.layers", "self_attn.out_proj", "fc2"),
    "bloom": ("transformer.h", "self_attention.dense", "mlp.dense_4h_to_h"),
    "falcon": ("transformer.h", "self_attention.dense", "mlp.dense_4h_to_h"),
}


def architecture(name: str) -> str:
    """The architecture of a variant; an architecture's own name otherwise."""
    return VARIANTS.get(name, (name, {}))[0]


@dataclass(frozen=True)
class Parts:
    """Modules of one block of a live model; `down` is None for experts."""

    block: nn.Module
    o: nn.Module
    down: nn.Module | None


def parts(name: str, model: nn.Module, layer: int) -> Parts:
    """The modules of one block, by the table above."""
    kind = architecture(name)
    blocks, o, down = _PATHS.get(kind, ("model.layers", "self_attn.o_proj", "mlp.down_proj"))
    block = model.get_submodule(f"{blocks}.{layer}")
    return Parts(block, block.get_submodule(o), None if kind == "mixtral" else block.get_submodule(down))


def tiny(name: str, *, dtype: torch.dtype = torch.float32, attn: str = "eager", seed: int = 0, **changes: Any) -> Any:
    """A random model of the architecture (or variant) `name`: 2 layers, 4 heads, d_model 32."""
    kind, extra = VARIANTS.get(name, (name, {}))
    sizes = {"vocab_size": VOCAB, "hidden_size": 32, "max_position_embeddings": 64}
    if kind == "gpt2":
        sizes = {"vocab_size": VOCAB, "n_embd": 32, "n_positions": 64, "n_layer": 2, "n_head": 4}
    elif kind == "gptj":
        sizes = {"vocab_size": VOCAB}
    elif kind not in ("gpt_neo", "bloom"):
        sizes.update(num_hidden_layers=2, num_attention_heads=4)
        if kind not in ("opt", "falcon"):
            sizes.update(intermediate_size=48)
    config = transformers.CONFIG_MAPPING[kind](**{**sizes, **CONFIGS[kind], **extra, **changes})
    experts = {"experts_implementation": "eager"} if kind == "mixtral" and dtype is torch.float64 else {}
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attn, **experts)
    randomise(model, seed)
    return model.to(dtype).eval()


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Embeddings of size 1, matrices that keep the size of their input, norm weights and biases of no special value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator).to(p)
            if "norm" in name or "ln_" in name or p.ndim < 2:
                p.add_(0.3 * noise)
            else:
                p.copy_(noise * (1.0 if p.shape[0] == VOCAB else 0.22))


def hooked(name: str, **options: Any) -> HookedModel:
    """A tiny model, hooked."""
    return HookedModel(tiny(name, **options), name=name)


def ids(batch: int = 2, length: int = 7, seed: int = 1) -> Tensor:
    """Random token ids [batch pos], no special ones."""
    return torch.randint(3, VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


def linear_model() -> HookedModel:
    """Llama with attention that looks everywhere alike, MLPs that write nothing, and norms whose scale an eps holds that dwarfs
    what they read."""
    model = hooked("llama", dtype=torch.float64).hf
    for block in model.model.layers:
        for weight in (block.self_attn.q_proj.weight, block.mlp.down_proj.weight):
            weight.data.zero_()
    for norm in (*(block.input_layernorm for block in model.model.layers), model.model.norm):
        norm.variance_epsilon = 1e12
        norm.weight.data *= 1e6
    return HookedModel(model)
