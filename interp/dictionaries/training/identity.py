"""What a run must have in common with its checkpoint: the model, the data, the settings. Named where it differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from interp.dictionaries.activation import DictionaryError


def model_hash(model: Any) -> str:
    """SHA-256 of the parameters and buffers of a model, with their names, shapes and dtypes, and of its configuration."""
    found = hashlib.sha256(json.dumps(_config(model.hf), sort_keys=True, default=str).encode())
    for name, x in sorted(model.hf.state_dict().items()):
        found.update(f"{name} {tuple(x.shape)} {x.dtype}".encode())
        found.update(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def described(model: Any) -> dict[str, Any]:
    """What its activations depend on."""
    attention = getattr(model.hf.config, "_attn_implementation", None)
    dtype = str(model.dtype).removeprefix("torch.")
    return {"name": model.name, "sha256": model_hash(model), "dtype": dtype, "attention": attention}


def _config(hf: Any) -> dict[str, Any]:
    """The configuration without what only says where the model came from."""
    return {k: v for k, v in hf.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}


def check_same(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    what: str = "cannot resume, the run was another",
    then: str = "train into another folder",
) -> None:
    """Raises: DictionaryError naming what differs from the run that is gone on with, or what else `before` is of."""
    old, new = dict(_flat(before)), dict(_flat(now))
    differences = [
        f"{key} was {old.get(key, 'not given')!r:.60}, now {new.get(key, 'not given')!r:.60}"
        for key in sorted({*old, *new}, key=lambda key: (key.count("."), key))
        if old.get(key) != new.get(key)
    ]
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise DictionaryError(f"{what}: {'; '.join(differences[:3])}{more}. Give the same, or {then}.")


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of plain data, each with the way to it."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for i, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{i}]")
    else:
        yield name, value
