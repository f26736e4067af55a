"""Nested circuits: an order of all parts whose first n are a good circuit for every n, put together from several searches.

The smallest circuit that any candidate has within the band comes first. From there smaller ones are looked for inside it and larger ones
around it, size by size: of the tops of all candidates the one whose f is nearest to 1, mended by swaps where it is inside. Each choice is made
by runs of the circuits on the pairs that are scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from interp.attribution.masks.searches import Search
from interp.rules.rules import Rules

#: Shares of the parts at which circuits are compared.
SHARES: Final = (0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5)
#: How near to 1 the f of a circuit must be that others are nested in and around.
BAND: Final = 0.1
#: Of the parts of a circuit, how many a round of swaps exchanges at first.
SWAPPED: Final = 1 / 8


@dataclass(frozen=True)
class Tried:
    """One circuit that was run: whose it is, its size, and its f on the scored pairs."""

    candidate: str
    size: int
    f: float


@dataclass
class Nested:
    """The search. candidates: scores [part] by name. swaps: rounds of swaps at each size inside; `tried`: every circuit run."""

    search: Search
    candidates: Mapping[str, Tensor]
    rules: Rules
    swaps: int
    tried: list[Tried] = field(default_factory=list)

    def order(self) -> Tensor:
        """A score of each part [part], the higher the earlier it is in: 1 for the first down to 1 / n for the last."""
        sizes = sorted({max(1, round(self.search.n_competing * share)) for share in SHARES})
        anchor, best = self._anchor(sizes)
        found = {anchor: best}
        for size in reversed([size for size in sizes if size < anchor]):
            best = found[size] = self._inside(best, size)
        best = found[anchor]
        for size in [size for size in sizes if size > anchor]:
            best = found[size] = self._around(best, size)
        return self._ranked(found)

    def _f(self, name: str, masks: Sequence[Tensor]) -> list[float]:
        found = self.search.faithfulness(masks)
        self.tried += [Tried(name, int(mask.sum()), f) for mask, f in zip(masks, found, strict=True)]
        return found

    def _anchor(self, sizes: Sequence[int]) -> tuple[int, Tensor]:
        """The smallest size at which a candidate is within the band, else where one comes nearest; and its circuit."""
        table = {}
        for name, scores in self.candidates.items():
            masks = [self.search.top(scores, size) for size in sizes]
            for size, mask, f in zip(sizes, masks, self._f(name, masks), strict=True):
                table[size, name] = (abs(1 - f), mask)
        within = [key for key, (off, _) in table.items() if off <= BAND]
        if not within:
            key = min(table, key=lambda key: (table[key][0], key[0]))
            return key[0], table[key][1]
        smallest = min(size for size, _ in within)
        key = min((key for key in within if key[0] == smallest), key=lambda key: table[key][0])
        return self._halved(key[1], smallest, max((size for size in sizes if size < smallest), default=0), table[key][1])

    def _halved(self, name: str, high: int, low: int, best: Tensor) -> tuple[int, Tensor]:
        """A smaller top of a candidate within the band, by halving between a size that is not and one that is."""
        while high - low > 1 and high > 1.05 * low:
            middle = (high + low) // 2
            mask = self.search.top(self.candidates[name], middle)
            if abs(1 - self._f(name, [mask])[0]) <= BAND:
                high, best = middle, mask
            else:
                low = middle
        return high, best

    def _inside(self, whole: Tensor, size: int) -> Tensor:
        """The circuit of this size in a larger one: the best top of a candidate there, and swaps within it."""
        options = [self.search.top(scores.where(whole > 0, -torch.inf), size) for scores in self.candidates.values()]
        found = [self._f(name, [mask])[0] for name, mask in zip(self.candidates, options, strict=True)]
        best = min(range(len(found)), key=lambda i: abs(1 - found[i]))
        return self._swapped(options[best], whole)

    def _swapped(self, mask: Tensor, whole: Tensor) -> Tensor:
        """Rounds of swaps: parts whose slope is lowest for those of `whole` outside whose slope is highest; half as many after one
        that makes it worse."""
        n, best, best_f = max(1, round(float(mask.sum()) * SWAPPED)), mask, float("inf")
        slopes = mask
        for _ in range(self.swaps):
            f, now = self.search.slopes(mask, self.rules)
            self.tried.append(Tried("swaps", int(mask.sum()), f))
            if abs(1 - f) < abs(1 - best_f):
                best, best_f, slopes = mask, f, now if f < 1 else -now
            else:
                n = n // 2
            if n == 0:
                break
            mask = self._exchange(best, whole, slopes, n)
            if torch.equal(mask, best):
                break
        else:
            if self.swaps and abs(1 - self._f("swaps", [mask])[0]) < abs(1 - best_f):
                best = mask
        return best

    @staticmethod
    def _exchange(mask: Tensor, whole: Tensor, slopes: Tensor, n: int) -> Tensor:
        worst = torch.argsort(slopes.where(mask > 0, torch.inf), stable=True)[:n]
        new = torch.argsort(slopes.where((mask == 0) & (whole > 0), -torch.inf), descending=True, stable=True)[:n]
        better = (slopes[new] > slopes[worst]) & (mask[new] == 0) & (whole[new] > 0) & (mask[worst] > 0)
        found = mask.clone()
        found[worst[better]], found[new[better]] = 0.0, 1.0
        return found

    def _around(self, inner: Tensor, size: int) -> Tensor:
        """The circuit of this size around a smaller one: filled up from the candidate that gives the best f."""
        options = [self.search.top(scores.where(inner == 0, torch.inf), size) for scores in self.candidates.values()]
        found = [self._f(name, [mask])[0] for name, mask in zip(self.candidates, options, strict=True)]
        return options[min(range(len(found)), key=lambda i: abs(1 - found[i]))]

    def _ranked(self, found: Mapping[int, Tensor]) -> Tensor:
        """By the smallest circuit that holds a part, and within it by the first candidate's order; parts in none come last."""
        n = self.search.masked.n_parts
        first = torch.full((n,), float(n), dtype=torch.float64)
        for size in sorted(found, reverse=True):
            first = torch.where(found[size] > 0, float(size), first)
        tie = torch.argsort(torch.argsort(next(iter(self.candidates.values())), descending=True, stable=True))
        order = torch.argsort(first * (n + 1) + tie, stable=True)
        ranked = torch.empty(n, dtype=torch.float64)
        ranked[order] = torch.arange(n, 0, -1, dtype=torch.float64) / n
        return ranked
