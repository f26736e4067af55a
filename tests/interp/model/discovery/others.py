"""Tiny random models of the classes of the reference folder that are no causal decoders: encoders, both halves, images, audio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
import transformers as hf

from tests.interp.model.tiny import VOCAB

_BERT: Final[dict[str, Any]] = {
    "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 66,
}  # fmt: skip
_VISION: Final[dict[str, Any]] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 16,
    "patch_size": 4,
}  # fmt: skip
_SEQ2SEQ: Final[dict[str, Any]] = {
    "vocab_size": VOCAB, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
_T5: Final[dict[str, Any]] = {
    "vocab_size": VOCAB, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0,
}  # fmt: skip


def _clip() -> Any:
    text = {**_BERT, "max_position_embeddings": 16, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
    return hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=16))


def _wav2vec2() -> Any:
    sizes = {key: value for key, value in _BERT.items() if key != "max_position_embeddings"}
    convolutions = {"conv_dim": (8, 8), "conv_kernel": (10, 4), "conv_stride": (5, 4), "num_feat_extract_layers": 2}
    return hf.Wav2Vec2ForCTC(
        hf.Wav2Vec2Config(
            **sizes, **convolutions, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, pad_token_id=0
        )
    )


def _whisper() -> Any:
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    lengths = {"num_mel_bins": 8, "max_source_positions": 16, "max_target_positions": 32}
    sizes = {key: value for key, value in _SEQ2SEQ.items() if key not in special}
    return hf.WhisperForConditionalGeneration(hf.WhisperConfig(**sizes, **special, **lengths))


def _distilbert() -> Any:
    sizes = {"vocab_size": VOCAB, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
    return hf.DistilBertForMaskedLM(hf.DistilBertConfig(**sizes, max_position_embeddings=64))


def _modernbert() -> Any:
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    return hf.ModernBertForMaskedLM(hf.ModernBertConfig(**_BERT, **special, global_attn_every_n_layers=2))


def _ast() -> Any:
    sizes = {key: value for key, value in _VISION.items() if key != "image_size"}
    audio = {"max_length": 16, "num_mel_bins": 16, "frequency_stride": 4, "time_stride": 4}
    return hf.ASTForAudioClassification(hf.ASTConfig(**sizes, **audio))


MADE: Final[dict[str, Callable[[], Any]]] = {
    "BertForMaskedLM": lambda: hf.BertForMaskedLM(hf.BertConfig(**_BERT)),
    "BertForSequenceClassification": lambda: hf.BertForSequenceClassification(hf.BertConfig(**_BERT)),
    "BertModel": lambda: hf.BertModel(hf.BertConfig(**_BERT)),
    "RobertaForMaskedLM": lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(**_BERT)),
    "DistilBertForMaskedLM": _distilbert,
    "ModernBertForMaskedLM": _modernbert,
    "ViTForImageClassification": lambda: hf.ViTForImageClassification(hf.ViTConfig(**_VISION)),
    "DeiTForImageClassification": lambda: hf.DeiTForImageClassification(hf.DeiTConfig(**_VISION)),
    "Dinov2Model": lambda: hf.Dinov2Model(hf.Dinov2Config(**_VISION, mlp_ratio=2)),
    "CLIPModel": _clip,
    "CLIPVisionModelWithProjection": lambda: hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**_VISION)),
    "T5ForConditionalGeneration": lambda: hf.T5ForConditionalGeneration(hf.T5Config(**_T5)),
    "T5-gated": lambda: hf.T5ForConditionalGeneration(hf.T5Config(**_T5, feed_forward_proj="gated-gelu")),
    "BartForConditionalGeneration": lambda: hf.BartForConditionalGeneration(hf.BartConfig(**_SEQ2SEQ)),
    "MarianMTModel": lambda: hf.MarianMTModel(hf.MarianConfig(**_SEQ2SEQ)),
    "WhisperForConditionalGeneration": _whisper,
    "Wav2Vec2ForCTC": _wav2vec2,
    "ASTForAudioClassification": _ast,
    "GPT2ForSequenceClassification": lambda: hf.GPT2ForSequenceClassification(hf.GPT2Config(**_GPT2)),
}
_GPT2: Final[dict[str, Any]] = {
    "vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "pad_token_id": 0,
}  # fmt: skip


def other(name: str) -> Any:
    """A random model of a class of the reference folder, by its name there."""
    torch.manual_seed(0)
    model = MADE[name]().eval()
    model.set_attn_implementation("eager")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            noise = torch.randn(p.shape, generator=generator)
            p.add_(0.3 * noise) if p.ndim < 2 else p.copy_(0.22 * noise)
    return model
