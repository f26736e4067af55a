"""Quantiles of each unit, from a histogram of fixed bins that any two passes share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self

import torch
from torch import Tensor

from interp.statistics.accumulator import Accumulator, StatisticError, Where, checked, pieces

#: Edges of the bins: 63 in each sign, 16 to a decade from 2e-3 to 17 or so, and what is nearer 0 or farther away.
_SIDE: Final = torch.logspace(-2.7, 1.3, 63, dtype=torch.float64)
EDGES: Final = torch.cat([-_SIDE.flip(0), torch.zeros(1, dtype=torch.float64), _SIDE])
BINS: Final = len(EDGES) + 1
SHARES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Quantiles(Accumulator):
    """How many tokens fall into each of 128 bins, for each unit [d bin]; the bins are spaced by size, alike for all units and models.

    A quantile is known to within its bin, which is 16 % wide between 0.002 and 20 in size.
    """

    name = "quantiles"

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.counts = torch.zeros(width, BINS, dtype=torch.int64)
        self.least = torch.full((width,), torch.inf, dtype=torch.float64)
        self.most = -self.least

    def update(self, x: Tensor, where: Where | None = None) -> None:
        for piece in pieces(checked(x, self.width, self.name)):
            if not len(piece):
                continue
            values = piece.double().cpu().T.contiguous()
            bins = torch.searchsorted(EDGES, values)
            self.counts.scatter_add_(1, bins, torch.ones_like(bins))
            least, most = torch.aminmax(values, dim=1)
            self.least, self.most = torch.minimum(self.least, least), torch.maximum(self.most, most)
            self.n += len(piece)

    def _merged(self, other: Self) -> None:
        self.counts, self.n = self.counts + other.counts, self.n + other.n
        self.least, self.most = torch.minimum(self.least, other.least), torch.maximum(self.most, other.most)

    def result(self) -> dict[str, Tensor]:
        """`q01`, `q05`, `q25`, `q50`, `q75`, `q95`, `q99` [d], straight lines within bins, and the `counts` [d bin]."""
        values = self.at(SHARES)
        return {**{f"q{round(100 * s):02d}": x for s, x in zip(SHARES, values.T, strict=True)}, "counts": self.counts}

    def at(self, shares: Sequence[float]) -> Tensor:
        """The values below which these shares of the tokens are [d share]. Raises: StatisticError for a share outside 0 to 1."""
        self._check_some()
        if odd := [share for share in shares if not 0 <= share <= 1]:
            raise StatisticError(f"quantiles: share {odd[0]}; expected 0 to 1.")
        below = self.counts.cumsum(1).double()
        wanted = (torch.tensor(shares, dtype=torch.float64) * self.n).expand(self.width, -1).contiguous()
        at = torch.searchsorted(below, wanted).clamp(max=BINS - 1)
        low = torch.cat([EDGES[:1], EDGES])[at].clamp(self.least[:, None], self.most[:, None])
        low = torch.where(at == 0, self.least[:, None], low)
        high = torch.cat([EDGES, EDGES[-1:]])[at].clamp(self.least[:, None], self.most[:, None])
        high = torch.where(at == BINS - 1, self.most[:, None], high)
        inside = self.counts.gather(1, at).double()
        before = below.gather(1, at) - inside
        return low + (high - low) * ((wanted - before) / inside.clamp(min=1)).clamp(0, 1)

    def state(self) -> dict[str, Tensor]:
        return {"n": torch.tensor(self.n), "counts": self.counts, "least": self.least, "most": self.most}

    @classmethod
    def bytes_for(cls, width: int, **settings: Any) -> int:
        return 8 * width * (BINS + 2)
