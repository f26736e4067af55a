"""A circuit found again on other splits of its pairs: what each is worth on the pairs held out, and what they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from circuits.circuit.chance import Chance, shared_by_chance
from circuits.circuit.circuit import Circuit
from circuits.circuit.saved import Saved
from circuits.evaluation.evaluation import Counts, Evaluation, OtherAblation
from interp.formatting.numbers import number
from interp.formatting.text import printed
from interp.parts.graph import Part
from interp.scores.resampling import Estimate


@dataclass(frozen=True)
class Again:
    """The circuit of one split. `seed`: of the split and of all else that is drawn. `cost`: what finding it took, in plain forwards
    of the pairs that it was found on; None where that is not known. `random`: f of random circuits of its size and kinds."""

    seed: int
    parts: tuple[str, ...]
    faithfulness: Estimate
    other: OtherAblation | None
    random: tuple[float | None, ...]
    n_pairs: int
    held_out: bool
    cost: float | None

    @property
    def size(self) -> int:
        return len(self.parts)


@dataclass(frozen=True)
class Shared:
    """What the circuits of two splits share, by the seeds of these; `chance`: what random ones like them would."""

    seeds: tuple[int, int]
    shared: int
    jaccard: float
    chance: Chance


@dataclass(frozen=True, repr=False)
class Resplit(Saved):
    """Circuits of one way to find them on splits of one task: each, and every two of them."""

    found: tuple[Again, ...]
    overlaps: tuple[Shared, ...]
    counts: Counts
    n_parts: int
    method: str
    task: str
    ablation: str

    @property
    def jaccard(self) -> float:
        """Mean over every two circuits."""
        return float(np.mean([one.jaccard for one in self.overlaps]))

    @property
    def by_chance(self) -> float:
        """The same of random circuits."""
        return float(np.mean([one.chance.jaccard for one in self.overlaps]))

    @property
    def headline(self) -> str:
        """How far the circuits are the same, in a sentence."""
        return (
            f"circuits by {self.method} on {len(self.found)} splits of {self.task}: mean Jaccard index {self.jaccard:.3f}, "
            f"of random circuits with as many parts of each kind {self.by_chance:.3f}"
        )

    def __str__(self) -> str:
        return printed("\n".join(self._lines()))

    __repr__ = __str__

    def _lines(self) -> Iterator[str]:
        yield self.headline
        for row in self.rows():
            yield "  seed {}: {}, held-out f {}, {}; random circuits {}; cost {} F".format(*row)
        for row in self.overlap_rows():
            yield "  seeds {}: {} shared, Jaccard {}, by chance {}, p {}".format(*row)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Of each split: seed, size, f, f under another ablation, random circuits, cost in forwards."""
        for one in self.found:
            known = [r for r in one.random if r is not None]
            other = "" if one.other is None else f"{one.other.ablation} {one.other.faithfulness}"
            yield (
                str(one.seed),
                f"{one.size} of {self.n_parts} {self.counts}",
                f"{one.faithfulness}{'' if one.held_out else ' (not held out)'}",
                other,
                f"{min(known):.3f} to {max(known):.3f}" if known else "none",
                "not known" if one.cost is None else number(one.cost, 1),
            )

    def overlap_rows(self) -> Iterator[tuple[str, ...]]:
        """Of every two splits: seeds, shared parts, Jaccard index, by chance with its interval, the chance of as many or more."""
        for one in self.overlaps:
            c = one.chance
            by_chance = f"{c.jaccard:.3f} [{c.jaccard_low:.3f}, {c.jaccard_high:.3f}]"
            seeds = f"{one.seeds[0]} and {one.seeds[1]}"
            yield seeds, str(one.shared), f"{one.jaccard:.3f}", by_chance, f"{c.at_least:.2g}"


def again(seed: int, circuit: Circuit, found: Evaluation, cost: float | None) -> Again:
    """The circuit of a split with what was measured of it on the pairs held out."""
    own = next((point.random for point in found.curve if point.size == len(circuit)), ())
    names = tuple(part.name for part in circuit.parts)
    return Again(seed, names, found.faithfulness, found.other, own, found.n_pairs, found.held_out, cost)


def overlaps(circuits: Iterable[tuple[int, Circuit]], parts: Iterable[Part]) -> tuple[Shared, ...]:
    """What every two circuits share, each with the seed of its split; `parts`: all that they were chosen from."""
    known, shared = frozenset(parts), []
    for (seed, a), (other, b) in combinations(circuits, 2):
        first, second = frozenset(a.parts), frozenset(b.parts)
        both, either = len(first & second), len(first | second)
        chance = shared_by_chance(first, second, known)
        shared.append(Shared((seed, other), both, both / either if either else 1.0, chance))
    return tuple(shared)
