"""Random circuits to compare a circuit with: as many parts of each kind, drawn without regard to any score."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from circuits.runner import PartSet
from interp.graph import Part


class Twins:
    """Draws random circuits out of `parts`; equal seeds and calls give equal circuits."""

    def __init__(self, parts: Sequence[Part], seed: int) -> None:
        by_kind: dict[str, list[Part]] = defaultdict(list)
        for part in parts:
            by_kind[part.kind].append(part)
        self._members = [(kind, members, frozenset(members)) for kind, members in by_kind.items()]
        self._rng = random.Random(seed)

    def of(self, circuit: PartSet, n: int) -> list[PartSet]:
        """`n` random circuits with as many parts of each kind as `circuit` (edges: `head->q` is a kind)."""
        counts = Counter(part.kind for part in circuit)
        return [self._draw(counts) for _ in range(n)]

    def _draw(self, counts: Counter[str]) -> PartSet:
        chosen: list[PartSet] = []
        for kind, members, everything in self._members:
            inside, outside = counts[kind], len(members) - counts[kind]
            # The smaller side is drawn: taking a part by its hash is what costs time, and a difference of sets does not.
            if inside <= outside:
                chosen.append(frozenset(self._rng.sample(members, inside)))
            else:
                chosen.append(everything - frozenset(self._rng.sample(members, outside)))
        return frozenset[Part]().union(*chosen)
