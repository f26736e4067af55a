"""Memory that is taken once and used again: fresh pages cost about as much as the arithmetic that is done in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from torch import Tensor


@dataclass
class Workspace:
    """Tensors by name, for one request at a time; what `take` gives is overwritten by the next that takes the name."""

    held: dict[str, Tensor] = field(default_factory=dict)

    def take(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """A tensor of this shape with the dtype and device of `like`, whatever is in it."""
        size, known = prod(shape), self.held.get(name)
        if known is None or known.numel() < size or (known.dtype, known.device) != (like.dtype, like.device):
            known = self.held[name] = like.new_empty(size)
        return known[:size].view(*shape)
