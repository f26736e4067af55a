"""Searches for the parts that carry a metric, on runs with masks: what f is at a mask, and rounds of fewer and fewer parts.

f(M) = (m(M) - m(0)) / (m(1) - m(0)) with m the mean of the metric over the pairs, m(1) that of the whole model and m(0) of all parts
replaced. Effects of single parts do not add up where one stands in for another, and say nothing of a model with most parts gone; these
searches score every part where the mask is now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from interp.attribution.masks.masked import Masked
from interp.errors import MethodError
from interp.rules.rules import Rules

#: The share of parts that the last round of `iterated` keeps.
LAST_SHARE: Final = 1 / 200


@dataclass(frozen=True)
class Search:
    """Searches on the parts of a level. A score is the higher the more a part belongs in a circuit."""

    masked: Masked

    @cached_property
    def full(self) -> Tensor:
        """The metric of the whole model [example]."""
        return self.masked.metric(self._whole(torch.ones(self.masked.n_parts)))

    @cached_property
    def ends(self) -> tuple[float, float]:
        """m(0) and m(1). Raises: MethodError where they are the same."""
        empty = float(self.masked.metric(self._whole(torch.zeros(self.masked.n_parts))).mean())
        full = float(self.full.mean())
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

    def missing(self, mask: Tensor, rules: Rules, turn: int) -> tuple[float, Tensor]:
        """1 - f at a mask [part] on the pairs of one turn, in the unit of all: what m lacks of the whole model's there over m(1) - m(0);
        and d f / d share [part]."""
        empty, full = self.ends
        metric, slopes = self.masked.slopes(self._whole(mask), rules, turn)
        lacks = float((self.full[self.masked.examples(turn)] - metric).mean())
        return lacks / (full - empty), slopes.mean(0) / (full - empty)

    def top(self, scores: Tensor, n: int) -> Tensor:
        """The mask [part] of the n parts with the highest scores, earlier ones first where they are equal."""
        order = torch.argsort(scores.where(self.masked.competing, -torch.inf), descending=True, stable=True)
        found = torch.zeros(len(scores), dtype=torch.float64)
        found[order[:n]] = 1.0
        return found

    @property
    def n_competing(self) -> int:
        return int(self.masked.competing.sum())

    def prepare(self) -> None:
        """Run the empty and the whole model now, so that what is left of a budget is known. Raises: as `ends`."""
        _ = self.ends

    def sizes(self, shares: Sequence[float]) -> list[int]:
        """These shares of the parts as whole numbers, each once."""
        return sorted({max(1, round(self.n_competing * share)) for share in shares})

    def fit(self, order: Tensor, shares: Sequence[float]) -> float:
        """How near to the whole model the circuits of these shares of the parts are, the first of an order: the mean of
        max(0, 1 - |1 - f|)."""
        empty, full = self.ends
        metrics = [self.masked.metric(self._whole(self.top(order, n))).mean() for n in self.sizes(shares)]
        near = [max(0.0, 1 - abs(1 - (float(m) - empty) / (full - empty))) for m in metrics]
        return sum(near) / len(near)

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


def _spread(x: Tensor) -> Tensor:
    """`x` from 0 to just below 1, in its order."""
    width = float(x.max() - x.min())
    return (x - x.min()) / width * 0.999 if width else torch.zeros_like(x)
