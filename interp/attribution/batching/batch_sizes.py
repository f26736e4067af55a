"""How many prompts go through the model at once, by what the activations of each take."""

from __future__ import annotations

import re
from typing import Any, Final

from interp.errors import MethodError

#: Bytes that the activations of one forward and backward of a batch may take, where nobody says otherwise.
MEMORY_BUDGET: Final = 1 << 30
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


def bytes_per_prompt(model: Any, length: int) -> int:
    """Bytes of the activations of one forward and backward of a prompt, whose longest stream has so many positions.

    Counts, per token and layer, about 16 vectors of d_model, 4 of d_mlp and 3 rows of attention per head.
    """
    size = model.layout.extent
    per_token = size.n_layers * (16 * size.d_model + 4 * (size.d_mlp or 4 * size.d_model) + 3 * size.n_heads * length)
    return int(4 * (length * (per_token + size.held) + 4 * size.d_vocab))


def default_batch_size(model: Any, length: int) -> int:
    """Prompts per batch so that the activations of one forward and backward stay near `MEMORY_BUDGET`."""
    return int(max(1, min(256, MEMORY_BUDGET // bytes_per_prompt(model, length))))


def parse_bytes(size: int | str) -> int:
    """Bytes from a number or a text such as '800MB', '2GiB', '1.5G' (units of 1024). Raises: MethodError."""
    found = _SIZE.fullmatch(str(size).strip())
    if found is None or float(found[1]) <= 0:
        raise MethodError(f"max_memory={size!r}: expected bytes, or a number with a unit such as 800MB or 2GiB.")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def survey_batch(model: Any, length: int, batch_size: int | None, limit: int | str | None) -> int:
    """The prompts per batch of a run without gradients that comes before the plan: the user's, or what fits a quarter of
    the limit."""
    usual = default_batch_size(model, length)
    if batch_size is not None or limit is None:
        return min(usual, batch_size or usual)
    return int(max(1, min(usual, parse_bytes(limit) // (4 * bytes_per_prompt(model, length)))))
