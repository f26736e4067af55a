"""The keys of a GGUF file as a configuration, and whether that follows them all: transformers leaves out keys it does not know."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from interp.errors import LoadError
from interp.model.loading.gguf_header import GgufHeader

#: Names of one number in the configurations of different architectures.
_LAYERS: Final = ("num_hidden_layers", "n_layer")
_WIDTH: Final = ("hidden_size", "n_embd")
_HEADS: Final = ("num_attention_heads", "n_head")
_EPSILON: Final = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps")
#: Numbers in a header are float32; the configuration may have the decimal that was meant.
_CLOSE: Final = 1e-6
#: Keys that change no number: lengths that shapes are held to, or that say where a model comes from.
_SILENT: Final = (
    "context_length",
    "feed_forward_length",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
)
#: Keys that transformers' table of an architecture may lack, and what they are in its configuration.
_ALSO: Final = {
    "rope.freq_base": "rope_theta",
    "attention.key_length": "head_dim",
}
#: The same of what only some architectures have in transformers: others would keep the number and do nothing with it.
_OF_SOME: Final = {
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
#: Architectures that transformers has no table for: whose names their keys have, and whose order of rows and norms their tensors.
LIKE: Final = {"gemma": "gemma2", "smollm3": "llama", "olmo2": "mistral"}
#: What llama.cpp knows of architectures and files do not say: these divide scores by the root of the width of a head, the models
#: of so many layers (27B) by that of the stream's width for each head.
_SCALED: Final = ("gemma2", "gemma3")
_LARGE: Final = (46, 62)
#: What each frequency of the rotation is divided by; and what Llama 3.1 to 3.3 make it of.
ROTATION: Final = "rope_freqs.weight"
_LLAMA3: Final = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_NONE: Final = "none"
#: The base of the rotation of a file that does not say it, as llama.cpp has it: transformers has its own, by architecture.
_FREQ_BASE: Final = 10000.0
#: Where transformers has another name for an architecture: of a model of text and images the part that is text.
_TYPES: Final = {"gemma3": "gemma3_text"}


def read_keys(header: GgufHeader) -> dict[str, Any]:
    """The keys of a configuration, `model_type` among them, by transformers' table of names."""
    from transformers import CONFIG_MAPPING
    from transformers.integrations import GGUF_CONFIG_MAPPING

    names, own = GGUF_CONFIG_MAPPING[LIKE.get(header.architecture, header.architecture)], header.own
    kind = _TYPES.get(header.architecture, header.architecture)
    known = CONFIG_MAPPING[kind]()
    found = {ours: own[key] for key, ours in names.items() if ours is not None and key in own}
    special = GGUF_CONFIG_MAPPING["tokenizer"].items()
    found |= {ours: header.keys[f"tokenizer.{key}"] for key, ours in special if f"tokenizer.{key}" in header.keys}
    if "vocab_size" not in found and "token_embd.weight" in header.tensors:
        found["vocab_size"] = header.tensors["token_embd.weight"].shape[0]
    also = _ALSO | {key: ours for key, ours in _OF_SOME.items() if hasattr(known, ours)}
    found |= {ours: own[key] for key, ours in also.items() if key in own and ours not in found}
    if header.architecture == "gpt2" and "context_length" in own:
        found["n_positions"] = own["context_length"]  # transformers' table gives it a name that its GPT-2 does not read
    if header.architecture in _SCALED:
        large = own.get("block_count") in _LARGE
        width = "attention.key_length" if not large else "embedding_length"
        found["query_pre_attn_scalar"] = own[width] // (own["attention.head_count"] if large else 1)
    if ROTATION in header.tensors:
        found["rope_parameters"] = _stretched(header)
    tied = "output.weight" not in header.tensors
    return {**found, "model_type": kind, "tie_word_embeddings": tied}


def _stretched(header: GgufHeader) -> dict[str, Any]:
    """The rotation of Llama 3.1 and later, of which a file has the outcome alone: what each frequency is divided by."""
    factor = float(_divisors(header).max())
    return {**_LLAMA3, "rope_theta": header.own.get("rope.freq_base", _FREQ_BASE), "factor": factor}


def _divisors(header: GgufHeader) -> Any:
    """[d_head / 2]"""
    import numpy as np

    tensor = header.tensors[ROTATION]
    if tensor.kind != "F32":
        raise LoadError(f"model {str(header.path)!r} has {ROTATION} in {tensor.kind}; expected F32.")
    return np.fromfile(header.path, dtype="<f4", count=(tensor.end - tensor.start) // 4, offset=tensor.start)


def _check_rotation(header: GgufHeader, config: Any) -> None:
    """Raises: LoadError where the frequencies that the configuration makes are not the file's."""
    import numpy as np
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    used, said = ROPE_INIT_FUNCTIONS["llama3"](config, device="cpu")[0].double().numpy(), _divisors(header)
    plain = config.rope_parameters["rope_theta"] ** -(np.arange(len(used)) / len(used))
    if said.shape != used.shape or not np.allclose(plain / used, said, rtol=1e-4):
        raise LoadError(
            f"model {str(header.path)!r} has frequencies of its rotation ({ROTATION}) that are not those of Llama 3: give the Hugging Face "
            "folder that the file was made of."
        )


def check_config(header: GgufHeader, config: Any) -> None:
    """Raises: LoadError naming the keys of the architecture that the configuration does not follow, or that are not known here."""
    if ROTATION in header.tensors:
        _check_rotation(header, config)
    wrong = []
    unsaid = {"rope.freq_base": _FREQ_BASE} if _rope(config) else {}
    for key, said in (unsaid | header.own).items():
        # A file that says how much and not how is scaled all the same: llama.cpp takes "linear" then.
        if key in _SILENT or (key.startswith("rope.scaling.") and header.own.get("rope.scaling.type") == _NONE):
            continue
        used = _USED[key](config) if key in _USED else None
        if not _same(said, used):
            wrong.append(f"{key} = {_shown(said)}" + (f" (converted: {_shown(used)})" if key in _USED else ""))
    if wrong:
        raise LoadError(
            f"model {str(header.path)!r} says what its conversion by transformers leaves out: {', '.join(wrong)}. Without it the model "
            "computes something else: give the Hugging Face folder that the file was made of."
        )


def _same(said: Any, used: Any) -> bool:
    """Whether a value of the file, or each of a list of one for each layer, is the one used."""
    if isinstance(said, list):
        return bool(said) and all(_same(one, used) for one in said)
    if isinstance(said, (str, bool)) or isinstance(used, (str, bool)) or used is None:
        return bool(said == used)
    return math.isclose(said, used, rel_tol=_CLOSE)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value!r:.80}"


def _first(*names: str) -> Callable[[Any], Any]:
    """The first of these that a configuration has."""

    def read(config: Any) -> Any:
        return next((value for name in names if (value := getattr(config, name, None)) is not None), None)

    return read


def _head(config: Any) -> int:
    """Width of a head."""
    return int(getattr(config, "head_dim", None) or _first(*_WIDTH)(config) // _first(*_HEADS)(config))


def _rope(config: Any, kind: str = "full_attention") -> Mapping[str, Any]:
    """What is said of the rotation, of layers of one kind where there are several."""
    found = getattr(config, "rope_parameters", None) or {}
    return found.get(kind, found) if isinstance(found, Mapping) else {}


def _rotated(config: Any) -> int:
    share = _rope(config).get("partial_rotary_factor") or getattr(config, "partial_rotary_factor", None) or 1.0
    return int(_head(config) * share)


def _scaling(config: Any) -> str:
    kind = str(_rope(config).get("rope_type", "default"))
    return _NONE if kind in ("default", "llama3") else kind


#: What the model uses, by the key that says it.
_USED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "vocab_size": _first("vocab_size"),
    "block_count": _first(*_LAYERS),
    "embedding_length": _first(*_WIDTH),
    "attention.head_count": _first(*_HEADS),
    "attention.head_count_kv": _first("num_key_value_heads", *_HEADS),
    "attention.key_length": _head,
    "attention.value_length": _head,
    "attention.layer_norm_epsilon": _first(*_EPSILON),
    "attention.layer_norm_rms_epsilon": _first(*_EPSILON),
    "attention.sliding_window": _first("sliding_window"),
    "attention.causal": lambda config: True,
    "attn_logit_softcapping": _first("attn_logit_softcapping"),
    "final_logit_softcapping": _first("final_logit_softcapping"),
    "rope.dimension_count": _rotated,
    "rope.freq_base": lambda config: _rope(config).get("rope_theta"),
    "rope.freq_base_swa": lambda config: _rope(config, "sliding_attention").get("rope_theta"),
    "rope.scaling.type": _scaling,
    "rope.scaling.factor": lambda config: _rope(config).get("factor", 1.0),
}
