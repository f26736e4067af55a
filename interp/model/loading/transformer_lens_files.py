"""From a configuration and weights in TransformerLens layout to the reference model.

Nothing is guessed: a key of the configuration that is unknown, or that would change the equations of `interp.model.loading.transformer_lens_model`, is
refused by name, and so is a tensor that is missing, unexpected or of another shape. Weights are read from safetensors only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from interp.errors import LoadError, unknown
from interp.formatting.guarded import foreign_json
from interp.model.loading.transformer_lens_model import ReferenceConfig, ReferenceTransformer

_SIZES: Final = ("n_layers", "n_heads", "d_head", "d_model", "d_vocab", "n_ctx")
_CHOICES: Final = {
    "act_fn": ("relu", "gelu", "gelu_new", "silu"),
    "normalization_type": (None, "LN"),
    "attention_dir": ("causal", "bidirectional"),
    "positional_embedding_type": ("standard",),
    "attn_only": (False, True),
}
#: Keys that change the equations unless they have one of these values.
_NEUTRAL: Final = {
    **dict.fromkeys(("gated_mlp", "parallel_attn_mlp", "final_rms", "uses_rms_norm", "use_qk_norm"), (False, None)),
    **dict.fromkeys(("post_embedding_ln", "use_normalization_before_and_after", "use_local_attn"), (False, None)),
    **dict.fromkeys(("scale_attn_by_inverse_layer_idx", "use_attention_sinks", "use_logn_attn"), (False, None)),
    **dict.fromkeys(("attn_scores_soft_cap", "output_logits_soft_cap", "clip_qkv"), (None, -1, 0)),
    **dict.fromkeys(("num_experts", "relative_attention_max_distance", "relative_attention_num_buckets"), (None,)),
    **dict.fromkeys(("load_in_4bit", "quantization_method"), (False, None)),
    "use_attn_scale": (True, None),
}
#: Keys that name, describe or start a model, and settings of what is off (rotary positions, experts, local attention).
_DESCRIPTIVE: Final = """
name doc bos vocab output output_vocab output_labels residual_labels rasp_nodes_per_layer_block layer_alloc_note source
task measured model_name tokenizer_name original_architecture from_checkpoint seed device n_devices dtype n_params
init_mode init_weights initializer_range use_attn_result use_split_qkv_input use_hook_mlp_in use_attn_in use_hook_tokens
ungroup_grouped_query_attention default_prepend_bos tokenizer_prepends_bos trust_remote_code decoder_start_token_id
tie_word_embeddings layer_norm_folding train_seq_length experts_per_token norm_topk_prob window_size attn_types
use_NTK_by_parts_rope use_yarn_rope use_dynamic_ntk_rope
"""
_OFF: Final = ("rotary_", "NTK_", "yarn_", "checkpoint_")
_OWN: Final = (*_SIZES, *_CHOICES, "d_mlp", "d_vocab_out", "attn_scale", "eps", "n_key_value_heads")

Convert = Callable[[Tensor], Tensor]


def load_reference(folder: str | Path, dtype: str | None = None) -> ReferenceTransformer:
    """The model of a folder with `config.json` and `model.safetensors` in TransformerLens names.

    dtype: by name; default that of the checkpoint. Raises: LoadError for files, keys or tensors that are not as expected.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    settings = foreign_json(Path(folder) / "config.json", dict, f"config.json of model {str(folder)!r}", LoadError)
    try:
        tensors = load_file(Path(folder) / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise LoadError(f"model {str(folder)!r} cannot be loaded: {error}") from error
    return reference_model(settings, tensors, None if dtype is None else getattr(torch, dtype))


def reference_model(
    settings: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None
) -> ReferenceTransformer:
    """The model of a configuration and its weights, both in TransformerLens names.

    Weights of heads [head d_model d_head] become those of linear maps. A model of attention only gets an MLP of one
    neuron whose weights are 0, so it writes nothing. Raises: LoadError.
    """
    config = read_config(settings)
    found = {name: t for name, t in tensors.items() if not name.endswith((".attn.mask", ".attn.IGNORE"))}
    wanted = _wanted(config)
    for what, odd in (("lacks", wanted.keys() - found.keys()), ("has the unexpected", found.keys() - wanted.keys())):
        if odd:
            raise LoadError(f"the checkpoint {what} tensors {', '.join(sorted(odd))}.")
    kinds = {t.dtype for t in found.values()}
    if len(kinds) > 1 and dtype is None:
        raise LoadError(f"the checkpoint mixes {', '.join(sorted(map(str, kinds)))}; choose one with dtype.")
    weights = _silent_mlps(config) if config.attn_only else {}
    for name, (ours, shape, convert) in wanted.items():
        if tuple(found[name].shape) != shape:
            raise LoadError(f"tensor {name} has shape {list(found[name].shape)}; the configuration says {list(shape)}.")
        weights[ours] = convert(found[name]).contiguous()
    with torch.device("meta"):
        model = ReferenceTransformer(config)
    model.load_state_dict(weights, assign=True)
    model.to(dtype or kinds.pop())
    model.eval()
    return model


def read_config(settings: Mapping[str, Any]) -> ReferenceConfig:
    """The configuration of a TransformerLens `config.json`.

    Raises: LoadError naming the key that is missing, unknown, or that asks for what these equations do not have.
    """
    known = {*_OWN, *_NEUTRAL, *_DESCRIPTIVE.split()}
    attn_only = settings.get("attn_only", False)
    needed = [*_SIZES, "attn_scale", "normalization_type", "attention_dir", *([] if attn_only else ["act_fn", "d_mlp"])]
    if missing := [key for key in needed if key not in settings]:
        raise LoadError(f"config.json lacks {', '.join(missing)}; expected a model in TransformerLens layout.")
    for key, value in settings.items():
        if key not in known and not key.startswith(_OFF):
            raise LoadError(f"config.json: {unknown('key', key, known)} It may change what the model computes.")
        allowed = _NEUTRAL.get(key) or _CHOICES.get(key)
        if allowed and value not in allowed and not (attn_only and key == "act_fn"):
            raise LoadError(
                f"config.json: {key} is {value!r}; supported: {', '.join(repr(a) for a in allowed)}. "
                "Another value computes something else."
            )
    if settings.get("n_key_value_heads") not in (None, settings["n_heads"]):
        raise LoadError("config.json: n_key_value_heads is not n_heads; grouped keys and values are not supported.")
    sizes = {key: _size(key, settings[key]) for key in _SIZES}
    return ReferenceConfig(
        **sizes,
        d_mlp=1 if attn_only else _size("d_mlp", settings["d_mlp"]),
        d_vocab_out=_size("d_vocab_out", settings.get("d_vocab_out", sizes["d_vocab"])),
        act_fn="relu" if attn_only else settings["act_fn"],
        normalization_type=settings["normalization_type"],
        attention_dir=settings["attention_dir"],
        attn_scale=_scale(settings["attn_scale"], sizes["d_head"]),
        eps=_number("eps", settings.get("eps", ReferenceConfig.eps)),
        attn_only=attn_only,
    )


def _size(key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise LoadError(f"config.json: {key} is {value!r}; expected a whole number above 0.")
    return value


def _scale(value: Any, d_head: int) -> float:
    """What the scores are divided by."""
    return math.sqrt(d_head) if value == "sqrt(d_head)" else _number("attn_scale", value, " or 'sqrt(d_head)'")


def _number(key: str, value: Any, or_else: str = "") -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise LoadError(f"config.json: {key} is {value!r}; expected a number above 0{or_else}.")
    return float(value)


def _wanted(config: ReferenceConfig) -> dict[str, tuple[str, tuple[int, ...], Convert]]:
    """Every tensor of the checkpoint: our parameter's name, its shape there, and how it becomes ours."""
    d, h, e, m = config.d_model, config.n_heads, config.d_head, config.d_mlp
    found: dict[str, tuple[str, tuple[int, ...], Convert]] = {
        "embed.W_E": ("embed.weight", (config.d_vocab, d), torch.clone),
        "pos_embed.W_pos": ("pos_embed.weight", (config.n_ctx, d), torch.clone),
        "unembed.W_U": ("unembed.weight", (d, config.d_vocab_out), torch.t),
        "unembed.b_U": ("unembed.bias", (config.d_vocab_out,), torch.clone),
    }
    norms = ["ln_final"]
    for block in (f"blocks.{layer}" for layer in range(config.n_layers)):
        for c in "QKV":
            found[f"{block}.attn.W_{c}"] = (f"{block}.attn.W_{c}.weight", (h, d, e), lambda w: w.mT.flatten(0, 1))
            found[f"{block}.attn.b_{c}"] = (f"{block}.attn.W_{c}.bias", (h, e), torch.flatten)
        found[f"{block}.attn.W_O"] = (f"{block}.attn.W_O.weight", (h, e, d), lambda w: w.flatten(0, 1).T)
        found[f"{block}.attn.b_O"] = (f"{block}.attn.W_O.bias", (d,), torch.clone)
        norms.append(f"{block}.ln1")
        if config.attn_only:
            continue
        for name, width_in, width_out in (("in", d, m), ("out", m, d)):
            found[f"{block}.mlp.W_{name}"] = (f"{block}.mlp.W_{name}.weight", (width_in, width_out), torch.t)
            found[f"{block}.mlp.b_{name}"] = (f"{block}.mlp.W_{name}.bias", (width_out,), torch.clone)
        norms.append(f"{block}.ln2")
    for norm in norms if config.normalization_type == "LN" else ():
        found[f"{norm}.w"] = (f"{norm}.weight", (d,), torch.clone)
        found[f"{norm}.b"] = (f"{norm}.bias", (d,), torch.clone)
    return found


def _silent_mlps(config: ReferenceConfig) -> dict[str, Tensor]:
    """Weights 0 for the MLPs of a model of attention only; their norms as new."""
    with torch.device("meta"):
        own = ReferenceTransformer(config).state_dict()
    return {
        name: torch.full(p.shape, float(name.endswith("ln2.weight")))
        for name, p in own.items()
        if ".mlp." in name or ".ln2." in name
    }
