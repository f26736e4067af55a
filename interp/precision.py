"""In how many bits what a model computed is worked on: sums and differences of half precision would lose what they show."""

from __future__ import annotations

from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """`x` in float32 or better, as it is where it has that."""
    return x.float() if x.element_size() < 4 else x
