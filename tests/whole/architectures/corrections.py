"""What the recipe of tiny models has to be told of a type of model, or of one class, that the names of its sizes do not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: By the type of the model or by the class: kinds of layers and their places, sizes that fit each other, and what a default lacks.
#: A name with a dot is one of a part of the configuration.
_ALSO: Final[dict[str, dict[str, Any]]] = {
    "blt": {"encoder_hash_byte_group_vocab": 64, "encoder_hash_byte_group_size": [3]},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}},
    },
    "cvt": {"depth": [1, 2, 3]},  # its layers read the stage's rate of dropped paths at the number of the stage
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0}},
    "Dots3NoteForCausalLM": {
        "head_dim": 12,
        "per_layer_config": {
            1: {"num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16}
            | {"head_dim": 12, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}
        },
    },
    "efficientnet": {  # of more stages than three with random norms the input is lost to rounding
        "depth_coefficient": 1.0, "width_coefficient": 0.25, "hidden_dim": 320, "image_size": 64, "kernel_sizes": [3, 3, 5],
        "in_channels": [32, 16, 24], "out_channels": [16, 24, 40], "strides": [1, 2, 2], "num_block_repeats": [1, 1, 1],
        "expand_ratios": [1, 6, 6],
    },
    "esm": {"pad_token_id": 0, "mask_token_id": 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "hgnet_v2": {
        "stem_channels": [3, 16, 16], "stage_in_channels": [16, 16, 32, 32], "stage_mid_channels": [8, 8, 16, 16],
        "stage_out_channels": [16, 32, 32, 64], "hidden_sizes": [16, 32, 32, 64],
    },
    "kyutai_speech_to_text": {"codec_config.upsample_groups": 32, "codec_config.num_filters": 4},
    "laguna": {"num_attention_heads_per_layer": [4, 4]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": {"head_dim": 4, "zero_expert_num": 2},
    "moonshine_streaming": {"num_key_value_heads": 4},
    "nemo_speechlm": {"audio_config.diarization_config.chunk_length": 500},
    "perceiver": {"d_latents": 32, "num_self_attends_per_block": 2, "num_cross_attention_heads": 1},
    "PerceiverForMaskedLM": {"num_cross_attention_heads": 4, "max_position_embeddings": 6},  # as many as it is given
    "reformer": {"is_decoder": True, "axial_pos_embds_dim": [16, 16], "axial_pos_shape": [8, 8]},
    "ReformerForMaskedLM": {"is_decoder": False},
    "shieldgemma2": {"yes_token_index": 10, "no_token_index": 11},
    "textnet": {"stem_out_channels": 16, "hidden_sizes": [16, 16, 32, 32, 48], "image_size": [64, 64]},
    "uvdoc_backbone": {
        "resnet_head": [[3, 8], [8, 8]],
        "resnet_configs": [[[8, 8, 1, False], [8, 8, 3, False]], [[8, 16, 1, True]], [[16, 32, 1, True]]],
        "stage_configs": [[[32, 1]], [[32, 2]], [[32, 3], [32, 2]]],
    },
    "vibevoice": {"audio_config.num_filters": 2, "semantic_model_config.num_filters": 2},
    "vibevoice_asr": {
        "acoustic_tokenizer_chunk_size": 204800,
        "acoustic_tokenizer_encoder_config.num_filters": 2, "semantic_tokenizer_encoder_config.num_filters": 2,
    },
    "vitpose_backbone": {"image_size": [64, 64]},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2},
    "zamba2": {
        "attention_head_dim": 16, "attention_hidden_size": 64, "num_hidden_layers": 4, "hybrid_layer_ids": [1, 3],
        "layers_block_type": ["mamba", "hybrid"] * 2,
    },
}  # fmt: skip


def corrected(found: Mapping[str, Any], name: str, model_type: str) -> dict[str, Any]:
    """A small configuration with what the recipe has to be told of the type of the model, and then of the class."""
    told = dict(found)
    for key, value in {**_ALSO.get(model_type, {}), **_ALSO.get(name, {})}.items():
        told = _put(told, key.split("."), value)
    return told


def _put(found: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    return {**found, first: _put(found[first], rest, value) if rest else value}
