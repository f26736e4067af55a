"""Random circuits to compare a circuit with: as many parts of each kind, drawn without regard to any score.

Of parts at positions as many of each kind at each position: few positions carry most of what a prompt says, and random ones
would be beaten by their place alone.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations, product

from circuits.evaluation.running.runner import PartSet
from interp.parts.graph import Part
from interp.whole_numbers import whole

Kind = tuple[str, int | str | None]


def _kind(part: Part) -> Kind:
    return part.kind, part.position


class Twins:
    """Draws random circuits out of `parts`; equal seeds and calls give equal circuits."""

    def __init__(self, parts: Sequence[Part], seed: int) -> None:
        by_kind: dict[Kind, list[Part]] = defaultdict(list)
        for part in parts:
            by_kind[_kind(part)].append(part)
        self._members = [(kind, members, frozenset(members)) for kind, members in by_kind.items()]
        self._rng = random.Random(whole(seed, "seed"))

    def of(self, circuit: PartSet, n: int) -> list[PartSet]:
        """`n` random circuits with as many parts of each kind as `circuit` (edges: `head->q` is a kind).

        Each is drawn from all of them, so a circuit may come twice, and the circuit itself: what a permutation test and
        the mean of random rankings ask for.
        """
        counts = Counter(map(_kind, circuit))
        return [self._draw(counts) for _ in range(n)]

    def others(self, circuit: PartSet, n: int) -> list[PartSet]:
        """`n` different random circuits with as many parts of each kind, none of them `circuit`; all where fewer exist."""
        counts = Counter(map(_kind, circuit))
        exist = math.prod(math.comb(len(members), counts[kind]) for kind, members, _ in self._members) - 1
        if exist <= n:
            return [found for found in self._every(counts) if found != circuit]
        drawn: dict[PartSet, None] = {}
        while len(drawn) < n:
            found = self._draw(counts)
            if found != circuit:
                drawn[found] = None
        return list(drawn)

    def _every(self, counts: Counter[Kind]) -> Iterator[PartSet]:
        choices = (combinations(members, counts[kind]) for kind, members, _ in self._members)
        return (frozenset(part for chosen in parts for part in chosen) for parts in product(*choices))

    def _draw(self, counts: Counter[Kind]) -> PartSet:
        chosen: list[PartSet] = []
        for kind, members, everything in self._members:
            inside, outside = counts[kind], len(members) - counts[kind]
            # The smaller side is drawn: taking a part by its hash is what costs time, and a difference of sets does not.
            if inside <= outside:
                chosen.append(frozenset(self._rng.sample(members, inside)))
            else:
                chosen.append(everything - frozenset(self._rng.sample(members, outside)))
        return frozenset[Part]().union(*chosen)
