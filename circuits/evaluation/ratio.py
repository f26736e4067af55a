"""Faithfulness as a ratio of means over examples, with bootstrap intervals; undefined where its denominator may be 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypedDict

import numpy as np

from circuits.evaluation.evaluation import Counts
from circuits.evaluation.running.runner import PartSet, Runner
from interp.ledger import spend
from interp.scores.resampling import Estimate, interval, resample_weights
from interp.whole_numbers import whole

EMPTY: Final[PartSet] = frozenset()


class Conditions(TypedDict):
    """What every result says of how it was measured."""

    counts: Counts
    metric: str
    ablation: str
    n_pairs: int
    held_out: bool
    seed: int
    reason: str


def measure(runner: Runner, sets: Iterable[PartSet], *, seed: int = 0, show_progress: bool | None = None) -> Measured:
    """Run each different set once, with the full and the empty one. Cost: one forward per set.

    A set is run with what the runner holds in every circuit; the empty model has none of that.
    """
    runs = list(dict.fromkeys((runner.full, EMPTY, *(parts | runner.held for parts in sets))))
    spend(0, circuits=len(runs))
    table = runner.metrics(runs, show_progress)
    return Measured(table, runner.full, resample_weights(len(runner.pairs), seed), runner.held)


def conditions(runner: Runner, found: Measured, counts: Counts, held_out: bool, seed: int) -> Conditions:
    """How `found` was measured with a runner. `counts`: what was counted; `held_out`: whether no pair gave the scores."""
    return {
        "counts": counts,
        "metric": runner.metric.name,
        "ablation": runner.ablation.kind,
        "n_pairs": len(runner.pairs),
        "held_out": held_out,
        "seed": whole(seed, "seed"),
        "reason": found.reason,
    }


class Measured:
    """f(C) = (m(C) - m(empty)) / (m(full) - m(empty)) of sets of parts, m the mean over examples first.

    A bootstrap resamples examples, the same ones for every set, and takes the ratio again. Where the 95 % interval of
    the denominator includes 0 every ratio is undefined, and `reason` says so.
    """

    def __init__(
        self, table: Mapping[PartSet, np.ndarray], full: PartSet, weights: np.ndarray, held: PartSet = EMPTY
    ) -> None:
        """table: the metric [example] of each set that was run: a circuit's parts with what is held in every one."""
        self.table, self.full, self.weights, self.held = dict(table), full, weights, held
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
        if parts | self.held not in self.table:
            spend(0, circuits=1)
            self.table |= runner.metrics([parts | self.held], show_progress)

    def mean(self, parts: PartSet) -> float:
        """m: the metric of a set, mean over examples, in the metric's unit."""
        return float(self.table[parts | self.held].mean())

    @property
    def ends(self) -> tuple[float, float]:
        """m of the whole model, and of the one with everything ablated."""
        return float(self.table[self.full].mean()), float(self.table[EMPTY].mean())

    def value(self, parts: PartSet, base: PartSet | None = None) -> float | None:
        """f(parts) - f(base); the faithfulness of `parts` without a base."""
        return None if self.reason else float(self._gain(parts, base).mean() / self.span.mean())

    def resampled(self, parts: PartSet, base: PartSet | None = None) -> np.ndarray:
        """f(parts) - f(base) on every resample [resample]."""
        return np.asarray((self.weights @ self._gain(parts, base)) / self.spans)

    def _gain(self, parts: PartSet, base: PartSet | None) -> np.ndarray:
        below = EMPTY if base is None else base | self.held
        return np.asarray(self.table[parts | self.held] - self.table[below])

    def estimate(self, parts: PartSet, base: PartSet | None = None) -> Estimate:
        """f(parts) - f(base) with its 95 % interval; none of a single example."""
        value = self.value(parts, base)
        if value is None:
            return Estimate(None, None, None)
        return interval(value, self.resampled(parts, base), len(self.span))
