"""How much memory scoring will take above the model itself, and the batch size that fits what is allowed.

The estimate counts the tensors of one batch: activations kept for the backward pass, values of the runs, the buffers of
level `edges`, and the table of scores per example. It is meant to be near the measured peak and rather above it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from interp.attribution.batches import MEMORY_BUDGET, bytes_per_prompt
from interp.attribution.edge_batches import SETS_BYTES
from interp.attribution.spaces import EdgeSpace, Space
from interp.edges.contraction import BUFFER_BYTES, WRITER_BYTES
from interp.errors import MethodError

LARGEST_BATCH: Final = 256
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


@dataclass(frozen=True)
class Memory:
    """Bytes above the model: `per_prompt` for each prompt of a batch, `fixed` whatever the batch; with a batch size."""

    per_prompt: int
    fixed: int
    batch_size: int

    @property
    def total(self) -> int:
        """Bytes that scoring is expected to take."""
        return self.fixed + self.batch_size * self.per_prompt

    def __str__(self) -> str:
        return f"about {self.total / 2**20:,.0f} MiB above the model, {self.batch_size} prompts per batch"


def plan_memory(
    model: Any,
    space: Space,
    *,
    length: int,
    columns: int,
    examples: int,
    batch_size: int | None,
    limit: int | str | None,
) -> Memory:
    """The memory of scoring `columns` parts (all methods and labels) on `examples` prompts of up to `length` tokens.

    batch_size: the user's, or None for the largest that fits `limit` (bytes, or text such as '2GiB'), which without a
    limit is what activations of about `MEMORY_BUDGET` allow. Raises: MethodError where not even one prompt fits.
    """
    per_prompt, fixed = bytes_per_prompt(model, length), 8 * columns * examples
    if isinstance(space, EdgeSpace):
        more, buffers = _edges(space, length, model.layout.d_model)
        per_prompt, fixed = per_prompt + more, fixed + buffers
    if limit is None:
        fit = MEMORY_BUDGET // bytes_per_prompt(model, length)
        return Memory(per_prompt, fixed, batch_size or int(max(1, min(LARGEST_BATCH, fit, examples))))
    allowed = parse_bytes(limit)
    found = Memory(
        per_prompt, fixed, batch_size or int(max(1, min(LARGEST_BATCH, examples, (allowed - fixed) // per_prompt)))
    )
    if found.total > allowed:
        raise MethodError(
            f"max_memory={limit}: scoring needs {found}. Of that {fixed / 2**20:,.0f} MiB are the table of {columns:,} "
            f"scores for {examples} pairs and fixed buffers. Allow more, use fewer pairs, or shorter prompts."
        )
    return found


def _edges(space: EdgeSpace, length: int, d_model: int) -> tuple[int, int]:
    """(bytes per prompt, fixed bytes) of level `edges`: one layer of readers, the values of three runs, the scores."""
    graph = space.graph
    vector = 4 * length * d_model
    values = 3 * vector * (2 * graph.n_layers + 1)
    rows = 2 * len(graph.attention_readers(0)) + graph.n_heads + 1
    return values + rows * vector + 8 * len(graph.readers) * len(
        graph.writers
    ), BUFFER_BYTES + WRITER_BYTES + SETS_BYTES


def parse_bytes(size: int | str) -> int:
    """Bytes from a number or a text such as '800MB', '2GiB', '1.5G' (units of 1024). Raises: MethodError."""
    found = _SIZE.fullmatch(str(size).strip())
    if found is None or float(found[1]) <= 0:
        raise MethodError(f"max_memory={size!r}: expected bytes, or a number with a unit such as 800MB or 2GiB.")
    return int(float(found[1]) * _UNITS[found[2].upper()])
