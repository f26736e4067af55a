"""How well scores tell the edges of a known circuit from the others. Pure numbers: no model, no graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp.errors import ScoreError


@dataclass(frozen=True, eq=False)
class Roc:
    """The curve of a ranking by score, largest first, against what is known.

    `fpr`, `tpr` [point]: from (0, 0) to (1, 1), one point behind every group of equal scores. `auroc`: the area under it by
    trapezoids, which is the chance that a positive scores above a negative, equal scores counting one half.
    `precision`: the share of positives among the first `size` of the ranking, `size` being their true number; where the cut
    goes through a group of equal scores, the expected value over every way to break the tie. `gap`: the smallest score of a
    positive minus the largest of a negative; above 0 where a threshold tells them apart.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    auroc: float
    precision: float
    gap: float
    size: int

    @property
    def recall(self) -> float:
        """The share of the positives among the first `size`: there the same number as the precision."""
        return self.precision


def roc(scores: Sequence[float] | np.ndarray, positives: Sequence[bool] | np.ndarray) -> Roc:
    """The curve of scores [item] against what is known [item].

    Raises: ScoreError where they do not fit, a score is not finite, or there are not both positives and negatives.
    """
    values, known = np.asarray(scores, dtype=np.float64), np.asarray(positives)
    if values.ndim != 1 or known.shape != values.shape or known.dtype != np.bool_:
        raise ScoreError(f"scores {values.shape}, known {known.dtype} {known.shape}; expected one bool for each score.")
    if not np.isfinite(values).all():
        raise ScoreError(f"score {int(np.argmin(np.isfinite(values)))} is not finite, so it has no place in a ranking.")
    size = int(known.sum())
    if not 0 < size < len(known):
        raise ScoreError(f"{size} of {len(known)} items are positives; a ROC needs both positives and negatives.")
    _, group = np.unique(-values, return_inverse=True)
    hits, members = np.bincount(group, weights=known), np.bincount(group)
    tpr = np.concatenate([[0.0], hits.cumsum() / size])
    fpr = np.concatenate([[0.0], (members - hits).cumsum() / (len(known) - size)])
    area = float((np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2).sum())
    gap = float(values[known].min() - values[~known].max())
    return Roc(fpr, tpr, area, _precision(hits, members, size), gap, size)


def _precision(hits: np.ndarray, members: np.ndarray, size: int) -> float:
    """Expected positives among the first `size`, over `size`: whole groups before the cut, a share of the one it cuts."""
    before = members.cumsum() - members
    taken = np.clip(size - before, 0, members)
    return float((hits * taken / members).sum() / size)
