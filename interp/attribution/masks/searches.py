"""Searches for the parts that carry a metric, on runs with masks: by rounds of hard masks, along a path of even ones, by learning them.

f(M) = (m(M) - m(0)) / (m(1) - m(0)) with m the mean of the metric over the pairs, m(1) that of the whole model and m(0) of all parts
replaced. Effects of single parts do not add up where one stands in for another, and say nothing of a model with most parts gone; these
searches score every part where the mask is now.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import Final

import torch
from torch import Tensor

from interp.attribution.masks.masked import Masked
from interp.errors import MethodError
from interp.rules.rules import Rules

#: The share of parts that the last round of `iterated` keeps.
LAST_SHARE: Final = 1 / 200
#: A learned mask begins with logits from this to minus this, by the logarithm of the rank.
WIDEST: Final = 5.0
#: How far a logit can move in all, at a rate that falls to nearly nothing as a cosine does; and the highest rate.
WAY: Final = 20.0
FASTEST: Final = 3.0


@dataclass(frozen=True)
class Search:
    """Searches on the parts of a level. A score is the higher the more a part belongs in a circuit."""

    masked: Masked

    @cached_property
    def ends(self) -> tuple[float, float]:
        """m(0) and m(1). Raises: MethodError where they are the same."""
        ones = torch.ones(self.masked.n_parts)
        empty, full = (float(self.masked.metric(self._whole(share * ones)).mean()) for share in (0.0, 1.0))
        if not abs(full - empty) > 1e-9:
            raise MethodError(
                f"the metric is {full:.4g} for the whole model and with all parts replaced: no circuit can be looked for. "
                "Use another metric, ablation or task."
            )
        return empty, full

    @property
    def sign(self) -> float:
        """1 where the whole model has more of the metric than the empty one, else -1."""
        return 1.0 if self.ends[1] > self.ends[0] else -1.0

    def _whole(self, mask: Tensor) -> Tensor:
        """The mask with all of what is in every circuit."""
        return mask.where(self.masked.competing, torch.ones(1, dtype=mask.dtype))

    def slopes(self, mask: Tensor, rules: Rules) -> tuple[float, Tensor]:
        """f at a mask [part], and d f / d share [part]."""
        empty, full = self.ends
        metric, slopes = self.masked.slopes(self._whole(mask), rules)
        return (float(metric.mean()) - empty) / (full - empty), slopes.mean(0) / (full - empty)

    def top(self, scores: Tensor, n: int) -> Tensor:
        """The mask [part] of the n parts with the highest scores, earlier ones first where they are equal."""
        order = torch.argsort(scores.where(self.masked.competing, -torch.inf), descending=True, stable=True)
        found = torch.zeros(len(scores), dtype=torch.float64)
        found[order[:n]] = 1.0
        return found

    @property
    def n_competing(self) -> int:
        return int(self.masked.competing.sum())

    # ------------------------------------------------------------ rounds

    def iterated(self, rounds: int, rules: Rules) -> Tensor:
        """A score of each part [part]: 1 + the last round that kept it, and within a round its slope then, as a share of the widest.

        Sizes fall geometrically from all parts to `LAST_SHARE` of them: each round scores every part, those that are out too, where
        the parts kept by the last one are in, and keeps the best.
        """
        mask, n = torch.ones(self.masked.n_parts, dtype=torch.float64), self.n_competing
        last = slopes = torch.zeros_like(mask)
        for k in range(1, rounds + 1):
            _, slopes = self.slopes(mask, rules)
            mask = self.top(slopes, max(1, round(n * LAST_SHARE ** (k / rounds))))
            last = torch.where(mask > 0, float(k), last)
        return last + _spread(slopes)

    # ------------------------------------------------------------ learning

    def learned(self, start: Tensor, rounds: int, rules: Rules, penalty: float) -> Tensor:
        """Shares [part] of a mask sigmoid(theta) that goes down (1 - f)^2 + penalty * mean share by Adam.

        start: scores whose order theta begins with.
        """
        theta = self._beginning(start).requires_grad_()
        steps = torch.optim.Adam([theta], lr=min(FASTEST, 2 * WAY / rounds))
        slower = torch.optim.lr_scheduler.CosineAnnealingLR(steps, rounds)
        competing = self.masked.competing
        for _ in range(rounds):
            share = torch.sigmoid(theta)
            f, slopes = self.slopes(share.detach(), rules)
            steps.zero_grad()
            (share @ (-2 * (1 - f) * slopes) + penalty * share[competing].mean()).backward()  # type: ignore[no-untyped-call]
            steps.step()
            slower.step()
        return torch.sigmoid(theta.detach())

    @staticmethod
    def _beginning(start: Tensor) -> Tensor:
        rank = torch.empty(len(start), dtype=torch.float64)
        rank[torch.argsort(start, descending=True, stable=True)] = torch.arange(
            1.0, len(start) + 1, dtype=torch.float64
        )
        return WIDEST - 2 * WIDEST * torch.log(rank) / max(log(len(start)), 1e-9)


def _spread(x: Tensor) -> Tensor:
    """`x` from 0 to just below 1, in its order."""
    width = float(x.max() - x.min())
    return (x - x.min()) / width * 0.999 if width else torch.zeros_like(x)
