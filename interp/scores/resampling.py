"""Intervals of means over examples by the bootstrap, and correlations: what every comparison of numbers needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from interp.whole_numbers import count

RESAMPLES: Final = 1000


@dataclass(frozen=True)
class Estimate:
    """A ratio with its 95 % bootstrap interval over prompt pairs. `value` None: undefined; a single pair has no interval."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def resample_weights(n: int, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Bootstrap weights over examples [resample example]; each row sums to 1."""
    return np.random.default_rng(count(seed, "seed", least=0)).multinomial(n, np.full(n, 1 / n), size=resamples) / n


def interval(value: float, resampled: np.ndarray, n_examples: int) -> Estimate:
    """A value with the 95 % interval of its resamples; a single example has none."""
    if n_examples == 1:
        return Estimate(value, None, None)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise rank correlation of [row item]."""
    from scipy.stats import rankdata

    return pearson(rankdata(a, axis=1), rankdata(b, axis=1))


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise Pearson correlation of [row item]; nan where a row does not vary."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    scale = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(scale > 0, (a * b).sum(1) / scale, np.nan)  # type: ignore[no-any-return]
