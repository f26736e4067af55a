"""What a run must have in common with its checkpoint: the model, the data, the settings. Named where it differs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, Final

import torch

from interp.dictionaries.activation import DictionaryError

#: What of an identity is by name, and in an order that checkpoints keep.
SEVERAL: Final = "dictionaries"
#: In messages: characters of a text, names of dictionaries.
LONGEST: Final = 60
NAMED: Final = 4
_HASH: Final = re.compile(r"[0-9a-f]{64}")


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
    if differences := _differences(before, now):
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise DictionaryError(f"{what}: {'; '.join(differences[:3])}{more}. Give the same, or {then}.")


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In words: which dictionaries, by name and in order; then what both have, then what only one of them has."""
    first, second = (list(side.get(SEVERAL, {})) for side in (before, now))
    found = [f"{SEVERAL} were {_names(first)}; now {_names(second)}"] if first != second else []
    both = set(first) & set(second)
    old, new = (dict(_flat(_without_others(side, both))) for side in (before, now))
    keys = sorted({*old, *new}, key=lambda key: (not (key in old and key in new), key.count("."), key))
    return found + [f"{k} was {_said(old, k)}, now {_said(new, k)}" for k in keys if _differs(old, new, k)]


def _without_others(side: Mapping[str, Any], names: Container[str]) -> dict[str, Any]:
    """The same with the dictionaries of these names alone."""
    return {
        key: {name: one for name, one in value.items() if name in names} if key == SEVERAL else value
        for key, value in side.items()
    }


def _differs(old: Mapping[str, Any], new: Mapping[str, Any], key: str) -> bool:
    return key not in old or key not in new or bool(old[key] != new[key])


def _said(side: Mapping[str, Any], key: str) -> str:
    """A value, short: of a hash the beginning, of a long text both ends."""
    if key not in side:
        return "not given"
    value = side[key]
    if isinstance(value, str) and _HASH.fullmatch(value):
        value = f"{value[:12]}…"
    elif isinstance(value, str) and len(value) > LONGEST:
        value = f"{value[: LONGEST // 3]}…{value[-LONGEST // 2 :]}"
    return repr(value)


def _names(names: Sequence[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


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
