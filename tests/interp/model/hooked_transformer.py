"""A model of transformers as a model of transformer-lens."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor


def _transformer_lens(model: Any) -> Any:
    """A HookedTransformer with the weights of a tiny GPT-2, copied by hand and not processed."""
    warnings.simplefilter("ignore")
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    config = HookedTransformerConfig(
        n_layers=2, d_model=32, n_ctx=64, d_head=8, n_heads=4, d_mlp=128, d_vocab=64, act_fn="gelu_new",
        normalization_type="LN", eps=1e-5, dtype=model.dtype,
    )  # fmt: skip
    state: dict[str, Tensor] = {
        "embed.W_E": model.transformer.wte.weight,
        "pos_embed.W_pos": model.transformer.wpe.weight,
        "ln_final.w": model.transformer.ln_f.weight,
        "ln_final.b": model.transformer.ln_f.bias,
        "unembed.W_U": model.lm_head.weight.T,
        "unembed.b_U": torch.zeros(64, dtype=model.dtype),
    }
    for i, block in enumerate(model.transformer.h):
        at = f"blocks.{i}."
        for x, w, b in zip("QKV", block.attn.c_attn.weight.chunk(3, 1), block.attn.c_attn.bias.chunk(3), strict=True):
            state[f"{at}attn.W_{x}"] = w.unflatten(1, (4, 8)).transpose(0, 1)
            state[f"{at}attn.b_{x}"] = b.unflatten(0, (4, 8))
        state |= {
            f"{at}attn.W_O": block.attn.c_proj.weight.unflatten(0, (4, 8)), f"{at}attn.b_O": block.attn.c_proj.bias,
            f"{at}ln1.w": block.ln_1.weight, f"{at}ln1.b": block.ln_1.bias,
            f"{at}ln2.w": block.ln_2.weight, f"{at}ln2.b": block.ln_2.bias,
            f"{at}mlp.W_in": block.mlp.c_fc.weight, f"{at}mlp.b_in": block.mlp.c_fc.bias,
            f"{at}mlp.W_out": block.mlp.c_proj.weight, f"{at}mlp.b_out": block.mlp.c_proj.bias,
        }  # fmt: skip
    peer = HookedTransformer(config)
    missing = peer.load_state_dict({k: v.detach().contiguous() for k, v in state.items()}, strict=False)
    assert not missing.unexpected_keys and not [
        k for k in missing.missing_keys if "mask" not in k and "IGNORE" not in k
    ]
    return peer.eval()
