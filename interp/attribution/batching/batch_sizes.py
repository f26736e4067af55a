"""How many prompts go through the model at once, by what the activations of each take."""

from __future__ import annotations

from typing import Any, Final

#: Bytes that the activations of one forward and backward of a batch may take, where nobody says otherwise.
MEMORY_BUDGET: Final = 1 << 30


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
