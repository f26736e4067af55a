"""Faithfulness as a ratio of means over examples, with bootstrap intervals; undefined where its denominator may be 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from circuits.evaluation import Estimate
from circuits.runner import PartSet, Runner

RESAMPLES: Final = 1000
EMPTY: Final[PartSet] = frozenset()


def measure(runner: Runner, sets: Iterable[PartSet], *, seed: int = 0, show_progress: bool | None = None) -> Measured:
    """Run each different set once, with the full and the empty one. Cost: one forward per set."""
    full = frozenset(runner.parts)
    table = runner.metrics(list(dict.fromkeys((full, EMPTY, *sets))), show_progress)
    return Measured(table, full, resample_weights(len(runner.pairs), seed))


def resample_weights(n: int, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Bootstrap weights over examples [resample example]; each row sums to 1."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples) / n


class Measured:
    """f(C) = (m(C) - m(empty)) / (m(full) - m(empty)) of sets of parts, m the mean over examples first.

    A bootstrap resamples examples, the same ones for every set, and takes the ratio again. Where the 95 % interval of
    the denominator includes 0 every ratio is undefined, and `reason` says so.
    """

    def __init__(self, table: Mapping[PartSet, np.ndarray], full: PartSet, weights: np.ndarray) -> None:
        self.table, self.full, self.weights = dict(table), full, weights
        self.span = table[full] - table[EMPTY]
        self.spans = weights @ self.span
        low, high = np.quantile(self.spans, [0.025, 0.975])
        self.reason = ""
        if low <= 0 <= high:
            self.reason = (
                f"the difference between the full model and the fully ablated one, {self.span.mean():.3g}, has a 95 % "
                f"interval [{low:.3g}, {high:.3g}] that includes 0"
            )

    def add(self, runner: Runner, parts: PartSet, show_progress: bool | None = None) -> None:
        """Run one more set, where it is new."""
        if parts not in self.table:
            self.table |= runner.metrics([parts], show_progress)

    def mean(self, parts: PartSet) -> float:
        """m: the metric of a set, mean over examples, in the metric's unit."""
        return float(self.table[parts].mean())

    def value(self, parts: PartSet, base: PartSet = EMPTY) -> float | None:
        """f(parts) - f(base); the faithfulness of `parts` where the base is the empty set."""
        gain = (self.table[parts] - self.table[base]).mean()
        return None if self.reason else float(gain / self.span.mean())

    def resampled(self, parts: PartSet, base: PartSet = EMPTY) -> np.ndarray:
        """f(parts) - f(base) on every resample [resample]."""
        return np.asarray((self.weights @ (self.table[parts] - self.table[base])) / self.spans)

    def estimate(self, parts: PartSet, base: PartSet = EMPTY) -> Estimate:
        """f(parts) - f(base) with its 95 % interval; none of a single example."""
        value = self.value(parts, base)
        if value is None:
            return Estimate(None, None, None)
        return interval(value, self.resampled(parts, base), len(self.span))


def interval(value: float, resampled: np.ndarray, n_examples: int) -> Estimate:
    """A value with the 95 % interval of its resamples; a single example has none."""
    if n_examples == 1:
        return Estimate(value, None, None)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
