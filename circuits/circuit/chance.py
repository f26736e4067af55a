"""How many parts two circuits would share by chance: drawn at random, each with as many parts of each kind as it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import lgamma

import numpy as np

from circuits.circuit.circuit import CircuitError
from interp.parts.graph import Part


@dataclass(frozen=True)
class Chance:
    """What random circuits of the same sizes and kinds have in common.

    `shared`: how many parts on average, `low` to `high` in the middle 95 % of draws; `jaccard` and its bounds: the same of the
    Jaccard index, shared parts over all of both. `at_least`: the chance of as many shared parts as were found, or more.
    """

    shared: float
    low: int
    high: int
    jaccard: float
    jaccard_low: float
    jaccard_high: float
    at_least: float

    def __str__(self) -> str:
        return f"by chance {self.jaccard:.3f} [{self.jaccard_low:.3f}, {self.jaccard_high:.3f}]"


def shared_by_chance(a: Iterable[Part], b: Iterable[Part], parts: Iterable[Part]) -> Chance:
    """What two circuits would share if each were drawn from `parts` at random, with as many of each kind as it has.

    Of N parts of a kind, a in the first and b in the second: P(s) = C(a, s) C(N - a, b - s) / C(N, b), the hypergeometric
    distribution; kinds are drawn apart, so that the number shared in all is the sum. Raises: CircuitError for parts of other kinds
    or more of a kind than there are.
    """
    first, second = frozenset(a), frozenset(b)
    sizes = [Counter(part.kind for part in some) for some in (first, second, frozenset(parts))]
    _check(*sizes)
    p = np.ones(1)
    for kind, n in sizes[2].items():
        p = np.convolve(p, hypergeometric(n, sizes[0][kind], sizes[1][kind]))
    total, below = len(first) + len(second), np.cumsum(p)
    # Of a sum the cumulated chances miss 1 by rounding; the last place is then meant.
    low, high = (min(int(np.searchsorted(below, at)), len(p) - 1) for at in (0.025, 0.975))
    jaccard = np.array([_jaccard(s, total) for s in range(len(p))])
    return Chance(
        float(p @ np.arange(len(p))),
        low,
        high,
        float(p @ jaccard),
        float(jaccard[low]),
        float(jaccard[high]),
        float(min(1.0, p[len(first & second) :].sum())),
    )


def hypergeometric(n: int, a: int, b: int) -> np.ndarray:
    """The chance that two random sets of a and of b out of n share s, for s = 0, 1, ... min(a, b) [shared]."""
    found = np.zeros(min(a, b) + 1)
    for s in range(max(0, a + b - n), min(a, b) + 1):
        found[s] = np.exp(_log_choose(a, s) + _log_choose(n - a, b - s) - _log_choose(n, b))
    return np.asarray(found / found.sum())


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _jaccard(shared: int, total: int) -> float:
    """Of sets with so many parts together; 1 where neither has any, as they then are equal."""
    return shared / (total - shared) if total else 1.0


def _check(first: Counter[str], second: Counter[str], all_parts: Counter[str]) -> None:
    """Raises: CircuitError for more parts of a kind than there are."""
    for kind in (*first, *second):
        most = max(first[kind], second[kind])
        if most > all_parts[kind]:
            raise CircuitError(
                f"a circuit has {most} parts of kind {kind}, of which there are {all_parts[kind]}; give the parts that it was chosen from."
            )
