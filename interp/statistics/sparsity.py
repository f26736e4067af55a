"""How few units are active at a token, and which never are."""

from __future__ import annotations

from typing import Any, Final, Self

import torch
from torch import Tensor

from interp.statistics.accumulator import Accumulator, Where, checked, pieces

#: Shares of the token's largest unit above which a unit counts, and of the squared norm that the fewest units must hold.
LEVELS: Final = (0.01, 0.1)
HELD: Final = 0.9
_MEASURES: Final = ("positive", "above_1pct", "above_10pct", "hoyer", "units_for_90pct")


class Sparsity(Accumulator):
    """Means over tokens of measures of how few units are active, and how often each unit is above 0 [d].

    Behind a ReLU a unit above 0 is an active one; behind a smooth activation or a gate nearly every unit is away from 0, and only the others say
    something.
    """

    name = "sparsity"

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.sums = torch.zeros(len(_MEASURES), dtype=torch.float64)
        self.active = torch.zeros(width, dtype=torch.int64)

    def update(self, x: Tensor, where: Where | None = None) -> None:
        for piece in pieces(checked(x, self.width, self.name)):
            if len(piece):
                self._add(piece)

    def _add(self, x: Tensor) -> None:
        size = x.abs().double()
        largest = size.amax(1, keepdim=True)
        square = size.square().sort(1, descending=True).values.cumsum(1)
        total = square[:, -1:]
        enough = (square < HELD * total).sum(1) + 1
        root, norm = self.width**0.5, total[:, 0].sqrt()
        spread = root - 1 if self.width > 1 else 1.0
        hoyer = (root - size.sum(1) / norm.where(norm > 0, torch.ones_like(norm))) / spread
        measures = (
            (x > 0).double().mean(1),
            *((size > level * largest).double().mean(1) for level in LEVELS),
            hoyer.where(norm > 0, torch.zeros_like(hoyer)),
            torch.where(norm > 0, enough, 0).double() / self.width,
        )
        self.sums += torch.stack([measure.sum() for measure in measures])
        self.active += (x > 0).sum(0).cpu()
        self.n += len(x)

    def _merged(self, other: Self) -> None:
        self.sums, self.active, self.n = self.sums + other.sums, self.active + other.active, self.n + other.n

    def result(self) -> dict[str, Tensor]:
        """Means over tokens, each one number: share of units `positive`, `above_1pct` and `above_10pct` of the token's largest in size, `hoyer`
        (sqrt d - |x|_1 / |x|_2) / (sqrt d - 1) (0 all alike, 1 one unit alone), share of units that hold 90 % of the squared norm
        (`units_for_90pct`); how many units were `never_positive`; and `active` [d], the share of tokens at which each is above 0."""
        self._check_some()
        found = dict(zip(_MEASURES, self.sums / self.n, strict=True))
        return {**found, "never_positive": (self.active == 0).sum(), "active": self.active.double() / self.n}

    def state(self) -> dict[str, Tensor]:
        return {"n": torch.tensor(self.n), "sums": self.sums, "active": self.active}

    @classmethod
    def bytes_for(cls, width: int, **settings: Any) -> int:
        return 8 * (width + len(_MEASURES))
