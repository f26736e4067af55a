"""Vectors of a stream taken apart into mean, position, context and rest.

h[c, t] = mu + pos[t] + ctx[c] + rest[c, t], where pos is the mean over contexts at a position and ctx the mean over the positions of a context, both
less mu: the decomposition of two-way analysis of variance. Over all contexts and positions pos, ctx and rest sum to 0, and their squares to the
whole. Source: Song & Zhong 2023, "Uncovering hidden geometry in transformers via disentangling position and context".
"""

from __future__ import annotations

import math
from typing import Any, Final, Self

import torch
from torch import Tensor

from interp.statistics.accumulator import Accumulator, StatisticError, Where, checked
from interp.whole_numbers import count

#: Frequencies that count as low.
LOW: Final = 10


class Positions(Accumulator):
    """Sums over contexts at each position [window d], and the mean of each context [context d]; every context has `window` positions."""

    name = "positions"

    def __init__(self, width: int, window: int) -> None:
        super().__init__(width, window=count(window, "window", StatisticError, least=2))
        self.sums = torch.zeros(window, width, dtype=torch.float64)
        self.contexts = torch.zeros(0, width, dtype=torch.float64)
        self.squares = torch.zeros((), dtype=torch.float64)

    def update(self, x: Tensor, where: Where | None = None) -> None:
        window = self.settings["window"]
        if len(checked(x, self.width, self.name)) % window:
            raise StatisticError(
                f"positions: {len(x)} vectors; expected whole windows of {window}, one after the other."
            )
        own = x.double().cpu().view(-1, window, self.width)
        self.sums = self.sums + own.sum(0)
        self.contexts = torch.cat([self.contexts, own.mean(1)])
        self.squares = self.squares + own.square().sum()
        self.n += len(x)

    def _merged(self, other: Self) -> None:
        self.sums, self.squares = self.sums + other.sums, self.squares + other.squares
        self.contexts, self.n = torch.cat([self.contexts, other.contexts]), self.n + other.n

    def result(self) -> dict[str, Tensor]:
        """`mu` [d], `pos` [window d], `ctx` [context d]; and as one number each: the shares of the squared distance to mu that are position
        (`share_pos`), context (`share_ctx`) and rest (`share_rest`); `stable_rank_pos` = sum s^2 / s_1^2 over the singular values of pos; `mean_abs_cos`
        and `max_abs_cos` of the angles between pos and ctx; `relative_norm_pos`, the largest singular value of pos over that of mu + pos; and
        `low_frequencies`, the share of pos that the first 10 cosines over positions hold."""
        self._check_some()
        n, window = len(self.contexts), self.settings["window"]
        mu = self.contexts.mean(0)
        pos, ctx = self.sums / n - mu, self.contexts - mu
        total = self.squares - n * window * mu.square().sum()
        by_pos, by_ctx = n * pos.square().sum(), window * ctx.square().sum()
        singular = torch.linalg.svdvals(pos)
        angles = (_unit(pos) @ _unit(ctx).T).abs()
        return {
            "mu": mu, "pos": pos, "ctx": ctx,
            "share_pos": by_pos / total, "share_ctx": by_ctx / total, "share_rest": (total - by_pos - by_ctx) / total,
            "stable_rank_pos": singular.square().sum() / singular[0] ** 2,
            "mean_abs_cos": angles.mean(), "max_abs_cos": angles.max(),
            "relative_norm_pos": singular[0] / torch.linalg.matrix_norm(pos + mu, 2),
            "low_frequencies": _low(pos),
        }  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        return {"n": torch.tensor(self.n), "sums": self.sums, "contexts": self.contexts, "squares": self.squares}

    @classmethod
    def bytes_for(cls, width: int, window: int = 128, **settings: Any) -> int:
        return 8 * width * window


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def _low(pos: Tensor) -> Tensor:
    """The share of the squares of pos [window d] in the first cosines of an orthonormal basis over positions (DCT-II)."""
    n = len(pos)
    t, f = torch.arange(n, dtype=torch.float64) + 0.5, torch.arange(min(LOW, n), dtype=torch.float64)
    basis = torch.cos(torch.outer(f, t) * math.pi / n) * (2 / n) ** 0.5
    basis[0] /= 2**0.5
    held: Tensor = (basis @ pos).square().sum() / pos.square().sum()
    return held
