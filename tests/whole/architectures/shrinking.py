"""A configuration of any class of transformers, with every size in it made small: by the names of its keys, and in several ways."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

#: What a key of a configuration is, by the first pattern that its name matches, and what becomes of it. Sizes fit each other:
#: 4 heads of 8 are 32, and a state space of 4 heads of 16 is twice as wide.
_SIZES: Final = tuple(
    (re.compile(pattern), size)
    for pattern, size in (
        (r"(^|_)(period|interval)$|every_n|sliding_window_pattern|_pattern_?size$|frequency_interval$|_freq$", 2),
        (r"kv_shared_layers$", 0),
        (r"layer_offset$", 1),
        (r"(num|n)_(.*_)?(kv|key_value|k_v|kv_attention)_heads$|num_kv_heads|num_key_value_groups$|multi_query_group_num", 2),
        (r"experts_per_tok|num_experts_per|moe_k$|top_?k(_experts)?$|moe_topk$|num_selected_experts|router_top_k", 2),
        (r"(n_group|num_expert_group|topk_group|n_shared_experts|num_shared_experts|first_k_dense_replace|num_nextn_predict_layers|mtp_.*layers)$", 1),
        (r"(^|_)experts$|num_local_experts|num_experts|moe_num_experts|n_routed_experts", 4),
        (r"mamba_n_heads$|linear_num_value_heads$|linear_num_heads$", 4),
        (r"linear_num_key_heads$", 2),
        (r"(mamba_)?n_groups$|mamba_num_groups$|num_groups$", 1),
        (r"mamba_d_head$|mamba_head_dim$|mamba_headdim$", 16),
        (r"d_ssm$", 64),
        (r"num_codebooks$", 1),
        (r"qk_head_dim$", 12),
        (r"(d_state|state_size|ssm_state_size|mamba_d_state)$", 8),
        (r"(chunk_size|block_size|chunk_length)$", 8),
        (r"qk_rope_head_dim$|rotary_dim$|rope_head_dim$", 4),
        (r"head_dim$|attention_head_size$|kv_channels$|d_kv$|_head_size$|attention_key_value_channels$|head_width$", 8),
        (r"(q|kv|o)_lora_rank$|lora_rank$|_rank$|lora_dim$", 16),
        (r"(^|_)(heads|n_heads|num_heads|n_head|num_head|attention_heads|heads_num)$", 4),
        (r"(^|_)(num|n)_(.*_)?(layers?|blocks|hidden_layers|loops|recurrence)$|(^|_)(layers|layer_num|depth|n_layers?|num_layers)$", 2),
        (r"moe_intermediate_size|moe_.*intermediate|expert_.*(size|dim)|moe_hidden|expert_dim", 16),
        (r"intermediate|ffn|d_ff|n_inner|mlp_(dim|hidden|size)|inner_dim|feed_?forward|inner_size|mlp_hidden", 48),
        (r"(vocab|codebook)_size|n_vocab|vocabulary|num_embeddings$", 64),
        (r"max_position_embeddings|n_positions|n_ctx|max_seq(uence)?_len(gth)?$|max_target_positions|seq_length$|context_length|max_2d_position", 64),
        (r"max_source_positions", 16),
        (r"(sliding|attention|local|attn)_window(_size)?$|window_size$", 4),
        (r"(audio|num)_.*(queries|tokens)$|num_.*latents$|(image|audio|speech)_seq(uence)?_length$|max_soft_tokens", 8),
        (r"hidden_size_per_layer_input|hidden_per_layer", 8),
        (r"hidden|d_model|n_embd|embed(ding)?(_size|_dim)?$|embed_dim|(^|_)dim(s|ension)?$|width$|proj(ection)?_(dim|size)|lru_width|embedding|_channels$|output_size|channels?$|bottleneck|_size$", 32),
    )
)  # fmt: skip
#: Keys whose numbers are no sizes of weights, or small as they are.
_KEPT: Final = re.compile(
    r"feat_extract_layers|patch|kernel|stride|padding|num_channels|in_chans|in_channels|input_channels|image_size|img_size|dilation|num_labels|type_vocab|expand|"
    r"mel|sampling|sample_rate|version|groups_conv|conv_bias|spatial|temporal|downsample|scale|ratio|seed|num_frames|frames|pool|upsample|"
    r"reduction|mask_|_prob|dropout|conv_kernel|max_length|min_length|num_beams|ignore_index|window_size_list|d_conv"
)
_ID: Final = re.compile(
    r"token_ids?$|token_index$|(bos|eos|pad|sep|cls|mask|unk|start|end|boi|eoi|boa|eoa)_(id|index|idx)$|_id$"
)
_KINDS: Final = re.compile(
    r"layer_types$|block_types?$|layers_block_type$|layers_type$|attn_layers$|attention_layers$|layer_type_list$"
)
_DROPPED: Final = frozenset(
    {
        "transformers_version",
        "architectures",
        "id2label",
        "label2id",
        "dtype",
        "torch_dtype",
        "out_features",
        "out_indices",
        "stage_names",
    }
)
_DEPTHS: Final = ("num_hidden_layers", "n_layers", "n_layer", "num_layers", "decoder_layers")
_OPEN: Final = {
    "head_dim": 8, "num_key_value_heads": 4, "num_experts_per_tok": 2, "n_routed_experts": 4, "num_experts": 4, "topk_method": "greedy",
    "n_group": 1, "topk_group": 1, "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 8,
    "indexer_compress_ratio": 4, "num_shared_experts": 1, "vocab_size": 64, "n_shared_experts": 1,
}  # fmt: skip
_SPECIAL: Final = {"pad": 0, "bos": 1, "eos": 2}

Shrink = Callable[[Mapping[str, Any]], dict[str, Any]]


def ways() -> Iterator[tuple[str, Shrink]]:
    """The ways to make a configuration small, by name, the first that gives a model to be taken."""
    yield "by name", lambda known: _by_name(known, {})
    yield "by name, as many K/V heads", lambda known: _by_name(known, {"kv": 4})
    yield "by name, one head size", lambda known: _by_name(known, {"head": 16, "hidden": 64})
    yield "in proportion", lambda known: _in_proportion(known, 32)
    yield "in proportion, wider", lambda known: _in_proportion(known, 64)
    yield "fewer layers", _fewer_layers


def _by_name(known: Mapping[str, Any], changes: Mapping[str, int]) -> dict[str, Any]:
    found = {key: _small(key, value, changes) for key, value in known.items() if key not in _DROPPED}
    if "qk_rope_head_dim" in known and "kv_lora_rank" in known:  # latent attention shares no keys
        found = {key: 4 if key == "num_key_value_heads" else value for key, value in found.items() if key != "head_dim"}
    return _of_kinds(known, _cut(known, _numbered(_filled(found))))


def _filled(found: dict[str, Any]) -> dict[str, Any]:
    """What a class leaves open that most models have: a number of experts, of K/V heads, a size of heads."""
    return {key: _OPEN.get(key, value) if value is None else value for key, value in found.items()}


def _cut(known: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Without what is said of layers that are no more: lists with an entry for each, and numbers of layers."""
    before, after = (next((own[key] for key in _DEPTHS if type(own.get(key)) is int), 0) for own in (known, found))
    for key, value in found.items():
        if isinstance(value, list) and before > after and len(value) == before:
            found[key] = value[:after]
        elif isinstance(value, dict) and value and all(str(i).isdecimal() for i in value):
            found[key] = {int(i): own for i, own in value.items() if int(i) < after}
    return found


def _small(key: str, value: Any, changes: Mapping[str, int]) -> Any:
    if isinstance(value, Mapping):
        return _by_name(value, changes) if "model_type" in value else dict(value)
    if isinstance(value, list) and value and all(type(x) is int for x in value) and not _ID.search(key):
        return _list(key, value)
    if type(value) is not int or _KEPT.search(key) or _ID.search(key):
        return value
    size = next((size for pattern, size in _SIZES if pattern.search(key)), None)
    if size is None or (value < size and value <= 4):
        return value
    if size == 8 and "head" in changes and "head" in key:
        return changes["head"]
    if size == 2 and "kv" in changes and "heads" in key:
        return changes["kv"]
    return changes.get("hidden", size) if size == 32 else size


def _list(key: str, value: list[int]) -> list[int]:
    """A list of sizes, one for each stage of a net: depths become 1, heads and widths keep their proportions."""
    if re.search(r"depth|layers|blocks|repeat", key):
        return [min(x, 1 if len(value) > 2 else 2) for x in value]
    if re.search(r"heads", key):
        return [max(1, x // max(1, min(value))) for x in value]
    if _KEPT.search(key) or re.search(
        r"section|indices|_idx|index|layer_ids|window|axes|sizes_conv|grid|shape|positions", key
    ):
        return value
    if min(value) >= 16:
        return [16 * round(x / min(value)) for x in value]
    return value


def _numbered(found: dict[str, Any]) -> dict[str, Any]:
    """Ids of special tokens in a small vocabulary, each its own."""
    ids = {
        key
        for key, value in found.items()
        if _ID.search(key) and (type(value) is int or (isinstance(value, list) and value))
    }
    free = 3
    for key in sorted(ids):
        if isinstance(found[key], int) and found[key] < 0:
            continue
        number = next((n for name, n in _SPECIAL.items() if key.startswith(name)), None)
        if number is None:
            number, free = free, free + 1
        found[key] = [number] if isinstance(found[key], list) else number
    return found


def _of_kinds(known: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """As many layers as there are kinds of them, two at least, and each kind once."""
    kinds = {
        key: list(dict.fromkeys(v))
        for key, v in known.items()
        if _KINDS.search(key) and isinstance(v, list) and v and isinstance(v[0], str)
    }
    if not kinds:
        return found
    n = max(2, *map(len, kinds.values()))
    found.update({key: n for key in _DEPTHS if type(found.get(key)) is int})
    for key, each in kinds.items():
        found[key] = (each * n)[:n]
    return found


def _in_proportion(known: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Every width divided by one number, so that what divides another still does; heads too, so that their size stays or shrinks."""
    found: dict[str, Any] = {}
    large = [
        v
        for k, v in known.items()
        if type(v) is int and re.fullmatch(r"hidden_size|d_model|n_embd|dim|embed_dim|hidden_dim", k)
    ]
    factor = max(1, max(large, default=width) // width)
    for key, value in known.items():
        if key in _DROPPED:
            continue
        if isinstance(value, Mapping):
            found[key] = _in_proportion(value, width) if "model_type" in value else dict(value)
        elif type(value) is int and not _KEPT.search(key) and not _ID.search(key):
            found[key] = _divided(key, value, factor)
        else:
            found[key] = (
                _list(key, value) if isinstance(value, list) and value and all(type(x) is int for x in value) else value
            )
    return _of_kinds(known, _numbered(found))


def _divided(key: str, value: int, factor: int) -> int:
    size = next((size for pattern, size in _SIZES if pattern.search(key)), None)
    if size is None or value <= 4:
        return value
    if size in (64, 2, 1) or "layers" in key:
        return min(value, size)
    return max(1, value // factor) if value >= factor else value


def _fewer_layers(known: Mapping[str, Any]) -> dict[str, Any]:
    """Only layers and vocabularies become small."""
    found = {}
    for key, value in known.items():
        if key in _DROPPED:
            continue
        if isinstance(value, Mapping):
            found[key] = _fewer_layers(value) if "model_type" in value else dict(value)
        else:
            few = type(value) is int and re.search(r"layers$|n_layer$|vocab_size$", key)
            found[key] = _small(key, value, {}) if few else value
    return _of_kinds(known, _numbered(found))
