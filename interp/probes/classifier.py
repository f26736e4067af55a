"""A logistic regression and how good it is: the mathematics of a probe, in numpy.

Axis words: `example feature resample`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from interp.errors import ProbeError
from interp.whole_numbers import count

RESAMPLES: Final = 1000


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Quality:
    """Accuracy, balanced accuracy (mean of those of the two labels) and area under the ROC curve."""

    accuracy: Interval
    balanced: Interval
    auc: Interval


@dataclass(frozen=True, eq=False)
class Classifier:
    """score = ((x - mean) / spread) . weights + bias; label 1 where it is positive."""

    mean: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    bias: float

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Log-odds of label 1 [example] of x [example feature]."""
        return np.asarray((x - self.mean) / self.spread @ self.weights + self.bias)


def mean_difference(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """The `k` columns of x [example feature] with the largest |mean at label 1 - mean at label 0|; of equals the first.

    Source: Gurnee et al. 2023, "Finding neurons in a haystack", section 3.2 (max mean activation difference).
    """
    gap = np.abs(x[y == 1].mean(0) - x[y == 0].mean(0))
    return np.argsort(-gap, kind="stable")[:k]


def fit(x: np.ndarray, y: np.ndarray) -> Classifier:
    """The minimum of sum over examples of log(1 + exp(-s score)) + |weights|^2 / 2, s = 1 or -1 by label; the bias is free.

    x [example feature] is standardised first; columns without spread get weight 0. Deterministic. Raises: ProbeError where
    the optimiser does not converge.
    """
    from scipy.optimize import minimize

    mean, spread = x.mean(0), x.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    z, s = (x - mean) / spread, 2.0 * y - 1

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = s * (z @ w[:-1] + w[-1])
        slope = -s / (1 + np.exp(np.clip(margin, -500, 500)))
        gradient = np.append(z.T @ slope + w[:-1], slope.sum())
        return float(np.logaddexp(0, -margin).sum() + w[:-1] @ w[:-1] / 2), gradient

    start = np.zeros(x.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-7})
    if not np.isfinite(found.fun) or np.abs(loss(found.x)[1]).max() > 1e-3 * len(y):
        raise ProbeError(f"the probe's logistic regression did not converge: {found.message}")
    return Classifier(mean, spread, found.x[:-1], float(found.x[-1]))


def quality(scores: np.ndarray, y: np.ndarray, seed: int) -> Quality:
    """How well scores [example] tell the labels y [example] apart; ties of the ROC curve count one half.

    The bootstrap resamples the examples of each label apart, so that both are in every resample.
    """
    rng = np.random.default_rng(count(seed, "seed", least=0))
    n = [int((y == label).sum()) for label in (0, 1)]
    weights = np.ones((RESAMPLES + 1, len(y)))
    for label in (0, 1):
        weights[1:, y == label] = rng.multinomial(n[label], np.full(n[label], 1 / n[label]), size=RESAMPLES)
    right = weights * ((scores > 0) == (y == 1))
    per_label = [right[:, y == label].sum(1) / n[label] for label in (0, 1)]
    found = (right.sum(1) / len(y), (per_label[0] + per_label[1]) / 2, roc_area(scores, y, weights))
    return Quality(*(interval(values) for values in found))


def roc_area(scores: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The share of pairs of labels 1 and 0 in the right order, per row of weights [resample example]."""
    order = np.argsort(scores, kind="stable")
    starts = np.unique(scores[order], return_index=True)[1]
    zeros, ones = (np.add.reduceat(weights[:, order] * (y[order] == label), starts, axis=1) for label in (0, 1))
    below = np.cumsum(zeros, axis=1) - zeros / 2
    return np.asarray((ones * below).sum(1) / (zeros.sum(1) * ones.sum(1)))


def interval(values: np.ndarray) -> Interval:
    """The first is the value, the others its resamples."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Interval(float(values[0]), float(low), float(high))
