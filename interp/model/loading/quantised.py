"""Weights that a library of quantisation has packed: refused by name, before anything is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn

from interp.errors import LoadError, some

#: Keys of a configuration that say how weights are packed; the last is that of MLX.
_KEYS: Final = ("quantization_config", "compression_config", "quantization")
#: Files that say it beside the configuration: of AutoGPTQ, AutoAWQ, ModelOpt.
SETTINGS: Final = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
#: What says in how many bits.
_BITS: Final = ("bits", "w_bit", "num_bits", "load_in_4bit", "load_in_8bit", "quant_algo", "fmt")
#: Types of tensors, as safetensors names them, that weights in plain numbers have; and others that buffers have.
_PLAIN: Final = ("F64", "F32", "F16", "BF16")
_OF_BUFFERS: Final = ("I64", "BOOL")
#: Buffers of older checkpoints: what may be seen, as bytes.
_MASKS: Final = ("attn.bias", "attention.bias", "self_attn.bias")


def check_settings(source: str, config: Mapping[str, Any], files: Sequence[str]) -> None:
    """Raises: LoadError where a configuration, or a file beside it, says that the weights are quantised.

    config: of `config.json`; files: those of `SETTINGS` that lie beside it.
    """
    for key, value in _said(config):
        _refuse(source, f"config.json has {key}: {_method(value)}")
    if files:
        _refuse(source, f"{some(files)} lies beside config.json")


def check_types(source: str, kinds: Mapping[str, str]) -> None:
    """Raises: LoadError for weights that are stored as whole numbers or in 8 bits. kinds: the type of each, as safetensors says it."""
    odd = sorted(name for name, kind in kinds.items() if kind not in _PLAIN and not _is_buffer(name, kind))
    if odd:
        _refuse(source, f"{some(f'{name} ({kinds[name]})' for name in odd)} hold no plain numbers")


def _is_buffer(name: str, kind: str) -> bool:
    """Whether it may be a mask or a table of positions: no weight is called so, or is of such a type."""
    return name.endswith(_MASKS) or (kind in _OF_BUFFERS and not name.endswith(".weight"))


def _said(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every entry about quantisation, also of the parts of a configuration."""
    for key, value in config.items():
        if key in _KEYS and value:
            yield key, value
        elif isinstance(value, dict):
            yield from ((f"{key}.{inner}", own) for inner, own in value.items() if inner in _KEYS and own)


def _method(value: Any) -> str:
    """The method, and in how many bits, as far as an entry says it."""
    if not isinstance(value, dict):
        return f"{value!r:.80}"
    said = [f"{key}={value[key]!r:.20}" for key in _BITS if value.get(key)]
    method = value.get("quant_method")
    named = [f"{method:.40}"] if isinstance(method, str) else []
    return " ".join(named + said) or ", ".join(map(str, value))[:80]


def _refuse(source: str, why: str) -> NoReturn:
    raise LoadError(
        f"model {source!r} has quantised weights ({why}). They need the library that packed them, and most have no gradient: give the "
        "model from before it was quantised, or unpack it with that library (model.dequantize(), where it has it), save it, and load that folder."
    )
