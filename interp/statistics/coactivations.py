"""How often two units are active together."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from interp.statistics.accumulator import Accumulator, Where, checked


class Pairs(Accumulator):
    """At how many tokens two units are above 0 together [d d]; on the diagonal at how many each is."""

    name = "pairs"

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.counts = torch.zeros(width, width, dtype=torch.float64)

    def update(self, x: Tensor, where: Where | None = None) -> None:
        active = (checked(x, self.width, self.name) > 0).double()
        self.counts += active.T @ active
        self.n += len(x)

    def _merged(self, other: Self) -> None:
        self.counts, self.n = self.counts + other.counts, self.n + other.n

    def result(self) -> dict[str, Tensor]:
        """`counts` [d d]; `jaccard` [d d]: of the tokens at which one of two is active, the share at which both are; `phi` [d d]: the correlation
        of being active. 0 where a unit never, or for phi always, is."""
        self._check_some()
        each = self.counts.diagonal()
        either = each[:, None] + each - self.counts
        scale = (each * (self.n - each)).sqrt()
        both = torch.outer(scale, scale)
        return {
            "counts": self.counts,
            "jaccard": self.counts / either.clamp(min=1),
            "phi": (self.n * self.counts - torch.outer(each, each)) / both.where(both > 0, torch.ones_like(both)),
        }

    def state(self) -> dict[str, Tensor]:
        return {"n": torch.tensor(self.n), "counts": self.counts}

    @classmethod
    def bytes_for(cls, width: int, **settings: Any) -> int:
        return 8 * width * width
