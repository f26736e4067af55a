"""Tiny random models of images and sound, and what they read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
import transformers as hf
from torch import Tensor

from tests.interp.model.discovery.others import MADE, other
from tests.interp.model.tiny import randomise

_SIZES: Final[dict[str, Any]] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "image_size": (16, 12),
    "patch_size": 4,
}  # fmt: skip
_SQUARE: Final = {**_SIZES, "image_size": 16}
_SOUND: Final[dict[str, Any]] = {
    "vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "conv_dim": (8, 8), "conv_kernel": (10, 4), "conv_stride": (5, 4), "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}  # fmt: skip

#: Shapes that the classes of the reference folder do not have, some of images that are no squares.
VARIANTS: Final[dict[str, Callable[[], Any]]] = {
    "ViT-tall": lambda: hf.ViTForImageClassification(hf.ViTConfig(**_SIZES, num_channels=1)),
    "DeiT-teacher": lambda: hf.DeiTForImageClassificationWithTeacher(hf.DeiTConfig(**_SIZES)),
    "DINOv2-registers": lambda: hf.Dinov2WithRegistersModel(
        hf.Dinov2WithRegistersConfig(**_SQUARE, mlp_ratio=2, num_register_tokens=3)
    ),
    "DINOv2-swiglu": lambda: hf.Dinov2ForImageClassification(
        hf.Dinov2Config(**_SQUARE, mlp_ratio=2, use_swiglu_ffn=True)
    ),
    "Wav2Vec2-stable": lambda: hf.Wav2Vec2ForSequenceClassification(hf.Wav2Vec2Config(**_SOUND)),
}
NAMES: Final = (
    "ViTForImageClassification",
    "DeiTForImageClassification",
    "Dinov2Model",
    "CLIPVisionModelWithProjection",
    "ASTForAudioClassification",
    "Wav2Vec2ForCTC",
    *VARIANTS,
)


def made(name: str) -> Any:
    """A random model with eager attention, every weight of some size."""
    if name in MADE:
        return other(name)
    torch.manual_seed(0)
    model = VARIANTS[name]().eval()
    randomise(model)
    model.set_attn_implementation("eager")
    return model


def seen(model: Any, batch: int = 2) -> dict[str, Tensor]:
    """Random images or sounds that a model takes, by the shapes of its configuration written out by hand."""
    config = model.config
    if config.model_type in ("wav2vec2",):
        shape: tuple[int, ...] = (164,)
    elif config.model_type == "audio-spectrogram-transformer":
        shape = (config.max_length, config.num_mel_bins)
    else:
        size = config.image_size
        shape = (config.num_channels, *(size if isinstance(size, (tuple, list)) else (size, size)))
    x = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(2))
    return {model.main_input_name: x}
