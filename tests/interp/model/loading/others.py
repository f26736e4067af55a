"""Tiny random models that are no decoders: encoders, an encoder-decoder, pictures, sound."""

from __future__ import annotations

from typing import Any, Final

import torch
import transformers
from torch import nn

_SIZES: Final = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_BERT: Final = {**_SIZES, "vocab_size": 40, "max_position_embeddings": 16}
_SOUND: Final = {
    **_SIZES, "vocab_size": 12, "conv_dim": (16, 16), "conv_kernel": (4, 4), "conv_stride": (2, 2),
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "mask_time_prob": 0.05,
    "codevector_dim": 16, "proj_codevector_dim": 16,
}  # fmt: skip
SETTINGS: Final[dict[str, Any]] = {
    "Bert": transformers.BertConfig(**_BERT),
    "ViT": transformers.ViTConfig(**_SIZES, image_size=8, patch_size=4),
    "T5": transformers.T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2),
    "Wav2Vec2": transformers.Wav2Vec2Config(**_SOUND),
    "Funnel": transformers.FunnelConfig(
        vocab_size=40,
        pad_token_id=3,
        block_sizes=[1, 1],
        d_model=16,
        n_head=2,
        d_head=8,
        d_inner=24,
        num_decoder_layers=1,
    ),
    "ViTMSN": transformers.ViTMSNConfig(**_SIZES, image_size=8, patch_size=4),
}


def other(name: str, **options: Any) -> Any:
    """A tiny model of a class of transformers, in evaluation mode, the same at each call: weights, biases and constants random."""
    kind = max((kind for kind in SETTINGS if name.startswith(kind)), key=len)
    config = type(SETTINGS[kind])(**{**SETTINGS[kind].to_dict(), "architectures": None})
    model: nn.Module = getattr(transformers, name)(config, **options).eval()
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=numbers) * 0.3)
    return model
