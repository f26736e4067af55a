"""Configuration and tensors of a dictionary's files, taken out one by one, so that nothing in them goes unread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.formatting.guarded import foreign_json


class Weights:
    """The tensors of one file. `take` gives one, of a known shape; `close` refuses what nobody took."""

    def __init__(self, tensors: Mapping[str, Tensor], where: str, dtype: torch.dtype | None = None) -> None:
        self._left = dict(tensors)
        self.where = where
        self._dtype = dtype

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor `name` of this shape, in the dtype asked for. Raises: DictionaryError where there is no such tensor."""
        if name not in self._left:
            raise DictionaryError(
                f"{self.where}: no tensor {name!r} (it has {', '.join(sorted(self._left)) or 'none left'})."
            )
        found = self._left.pop(name)
        if tuple(found.shape) != shape:
            raise DictionaryError(f"{self.where}: {name} of shape {tuple(found.shape)}; expected {shape}.")
        if not found.is_floating_point():
            raise DictionaryError(f"{self.where}: {name} is {found.dtype}; expected floating point.")
        return found if self._dtype is None else found.to(self._dtype)

    def drop(self, *names: str) -> None:
        """Leave out tensors that say nothing of what the dictionary computes."""
        for name in names:
            self._left.pop(name, None)

    def number(self, name: str) -> float:
        """A tensor of one number."""
        if name in self._left and self._left[name].numel() == 1:
            return float(self._left.pop(name).item())
        return float(self.take(name).item())

    def close(self) -> None:
        """Raises: DictionaryError where tensors are left."""
        if self._left:
            raise DictionaryError(
                f"{self.where} has tensors that its configuration does not speak of: {', '.join(sorted(self._left))}."
            )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises: DictionaryError for anything else."""
    return foreign_json(path, dict, repr(str(path)), DictionaryError)


def read_tensors(path: Path, device: str | torch.device | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises: DictionaryError where it is missing, damaged or truncated."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: dict[str, Tensor] = load_file(path, device=str(device or "cpu"))
    except (OSError, SafetensorError, RuntimeError, ValueError, AssertionError) as error:
        raise DictionaryError(f"{str(path)!r} cannot be read: {str(error).splitlines()[0]}.") from error
    return found


def size(config: Mapping[str, Any], key: str, where: str) -> int:
    """A whole number of 1 or more. Raises: DictionaryError otherwise."""
    found = config.get(key)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not float(found).is_integer() or found < 1:
        raise DictionaryError(f"{where}: {key}={found!r}; expected a whole number of 1 or more.")
    return int(found)


def flag(config: Mapping[str, Any], key: str, default: bool, where: str) -> bool:
    """True or false. Raises: DictionaryError otherwise."""
    found = config.get(key, default)
    if not isinstance(found, bool):
        raise DictionaryError(f"{where}: {key}={found!r}; expected true or false.")
    return found
