"""How good a probe is on examples that it was not fitted on: F1, Matthews correlation, areas under the ROC and the precision-recall curve.

Axis words: `resample example`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.probes.classifier import Interval, interval, roc_area
from interp.whole_numbers import count

MEASURES = ("accuracy", "f1", "mcc", "auc", "average_precision")
_RESAMPLES = 500


@dataclass(frozen=True)
class Measures:
    """Each with its 95 % bootstrap interval; f1 and mcc are 0 where their formula divides by 0."""

    accuracy: Interval
    f1: Interval
    mcc: Interval
    auc: Interval
    average_precision: Interval


def measured(scores: np.ndarray, y: np.ndarray, seed: int) -> Measures:
    """Measures of scores [example], label 1 where positive. The bootstrap resamples the examples of each label apart."""
    rng = np.random.default_rng(count(seed, "seed", least=0))
    weights = np.ones((_RESAMPLES + 1, len(y)))
    for label in (0, 1):
        n = int((y == label).sum())
        weights[1:, y == label] = rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES)
    said, true = scores > 0, y == 1
    tp, fp = weights[:, said & true].sum(1), weights[:, said & ~true].sum(1)
    fn, tn = weights[:, ~said & true].sum(1), weights[:, ~said & ~true].sum(1)
    f1 = _ratio(2 * tp, 2 * tp + fp + fn)
    mcc = _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))
    found = ((tp + tn) / len(y), f1, mcc, roc_area(scores, y, weights), _precision(scores, true, weights))
    return Measures(*map(interval, found))


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(a, b, out=np.zeros_like(a), where=b > 0))


def _precision(scores: np.ndarray, true: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum over thresholds of (recall - recall of the threshold above) times precision; equal scores are one threshold."""
    order = np.argsort(-scores, kind="stable")
    starts = np.unique(-scores[order], return_index=True)[1]
    everything = np.add.reduceat(weights[:, order], starts, axis=1)
    hits = np.add.reduceat(weights[:, order] * true[order], starts, axis=1)
    precision = _ratio(np.cumsum(hits, 1), np.cumsum(everything, 1))
    return np.asarray((hits * precision).sum(1) / hits.sum(1))
