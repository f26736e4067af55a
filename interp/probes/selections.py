"""Which k columns a sparse probe may use, chosen on the half that it is fitted on.

Axis words: `example d`. Each function takes x [example d], y [example] of 0 and 1 and the wanted k, and gives the columns of each k, the best first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from interp.errors import ProbeError
from interp.probes.classifier import mean_difference
from interp.probes.probe_fits import balanced, weighted_logistic
from interp.registries import About, Registry

Columns = dict[int, np.ndarray]
#: Columns with the largest difference of means that `exact` looks among.
SCREENED: Final = 50
#: The largest k whose subsets are all tried.
MOST_EXACT: Final = 2
_NEIGHBOURS: Final = 3


@dataclass(frozen=True)
class ProbeSelection:
    """A way to choose columns, with a name: what it ranks by, what it costs, and its function."""

    name: str
    sentence: str
    cost: str
    source: str
    function: Callable[[np.ndarray, np.ndarray, Sequence[int]], Columns]

    @property
    def about(self) -> About:
        return About(self.sentence, cost=self.cost, source=self.source)


def _ranked(order: np.ndarray, ks: Sequence[int]) -> Columns:
    return {k: order[:k] for k in ks}


def by_means(x: np.ndarray, y: np.ndarray, ks: Sequence[int]) -> Columns:
    """|mean at label 1 - mean at label 0|."""
    return _ranked(mean_difference(x, y, x.shape[1]), ks)


def by_f(x: np.ndarray, y: np.ndarray, ks: Sequence[int]) -> Columns:
    """The F statistic of one-way analysis of variance; columns that do not vary are last."""
    parts = [x[y == label] for label in (0, 1)]
    between = sum(len(p) * (p.mean(0) - x.mean(0)) ** 2 for p in parts)
    within = sum(((p - p.mean(0)) ** 2).sum(0) for p in parts)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(between > 0, between / within, 0.0)
    return _ranked(np.argsort(-found, kind="stable"), ks)


def mutual_information(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mutual information of each column with the label [d], in nats, from distances to third neighbours (Ross 2014, PLoS ONE 9:e87357)."""
    from scipy.special import digamma

    found = np.zeros(x.shape[1])
    for column, values in enumerate(x.T):
        ordered, near, k_of = np.sort(values), np.zeros(len(values)), np.zeros(len(values))
        for label in (0, 1):
            own = y == label
            k = min(_NEIGHBOURS, int(own.sum()) - 1)
            near[own], k_of[own] = _distance(values[own], k), k
        near -= 1e-12 * (
            np.abs(values) + near
        )  # the k-th neighbour itself does not count, whatever the rounding of a sum
        inside = np.searchsorted(ordered, values + near, "right") - np.searchsorted(ordered, values - near, "left")
        sizes = np.where(y == 1, (y == 1).sum(), (y == 0).sum())
        found[column] = digamma(len(y)) + (digamma(k_of) - digamma(sizes) - digamma(np.maximum(inside, 1))).mean()
    return np.maximum(found, 0.0)


def _distance(values: np.ndarray, k: int) -> np.ndarray:
    """The distance of each to its k-th nearest other one."""
    order = np.argsort(values, kind="stable")
    padded = np.concatenate([np.full(k, -np.inf), values[order], np.full(k, np.inf)])
    around = np.stack(
        [np.abs(padded[k + shift : len(padded) - k + shift] - values[order]) for shift in range(-k, k + 1) if shift]
    )
    found = np.empty(len(values))
    found[order] = np.sort(around, axis=0)[k - 1]
    return found


def by_information(x: np.ndarray, y: np.ndarray, ks: Sequence[int]) -> Columns:
    """Mutual information with the label."""
    return _ranked(np.argsort(-mutual_information(x, y), kind="stable"), ks)


def elastic(x: np.ndarray, y: np.ndarray, k: int) -> tuple[np.ndarray, float]:
    """The elastic net of a step of `telescopic` on k columns: weights [k] and bias; penalty 20 / k, of which min(exp(-k / 20), 0.9) is on |w|."""
    share = min(float(np.exp(-k / 20)), 0.9)
    w, bias, _ = weighted_logistic(x, y, balanced(y), 20 / k * share, 20 / k * (1 - share))
    return w, bias


def telescopic(x: np.ndarray, y: np.ndarray, ks: Sequence[int]) -> Columns:
    """From the largest k down: refit an elastic net, keep the next k largest |w|. It starts with the columns of the largest difference of means."""
    left = np.sort(mean_difference(x, y, max(ks)))
    found: Columns = {}
    for k in sorted(ks, reverse=True):
        if found:
            left = np.sort(left[np.argsort(-np.abs(elastic(x[:, left], y, len(left))[0]), kind="stable")[:k]])
        found[k] = left
    return found


def exact(x: np.ndarray, y: np.ndarray, ks: Sequence[int]) -> Columns:
    """The subset with the least balanced logistic loss + |w|^2 / 2, of all subsets of the `SCREENED` columns. Raises: ProbeError for k above 2."""
    if max(ks) > MOST_EXACT:
        raise ProbeError(
            f"selection='exact' with k={max(ks)}: expected k of 1 or {MOST_EXACT}; use selection='telescopic' for more columns."
        )
    screened = np.sort(mean_difference(x, y, min(SCREENED, x.shape[1])))
    return {
        k: np.array(min(combinations(screened.tolist(), k), key=lambda columns: subset_loss(x, y, columns))) for k in ks
    }


def subset_loss(x: np.ndarray, y: np.ndarray, columns: Sequence[int]) -> float:
    """What `exact` makes least, of some columns."""
    return weighted_logistic(x[:, list(columns)], y, balanced(y))[2]


PROBE_SELECTIONS: Final = Registry(
    "selection of a probe",
    "interp.probe_selections",
    ProbeError,
    (
        ProbeSelection(
            "mean_difference",
            "largest difference of the means of the labels",
            "n d",
            "Gurnee et al. 2023, 3.2",
            by_means,
        ),
        ProbeSelection("f_statistic", "largest F statistic of analysis of variance", "n d", "Gurnee et al. 2023", by_f),
        ProbeSelection(
            "mutual_information",
            "largest mutual information with the label, by nearest neighbours",
            "d n log n",
            "Ross 2014",
            by_information,
        ),
        ProbeSelection(
            "telescopic",
            "an elastic net refitted on fewer and fewer columns",
            "a fit for each k",
            "Gurnee et al. 2023 (adaptive thresholding)",
            telescopic,
        ),
        ProbeSelection(
            "exact",
            "the best subset of 50 screened columns, k of 1 or 2",
            "1,275 fits",
            "Gurnee et al. 2023 (optimal sparse probing)",
            exact,
        ),
    ),
)
