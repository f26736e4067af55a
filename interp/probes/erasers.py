"""Formulas that take a label out of vectors: what is removed, and how its coordinates are read.

Axis words: `example d`, r: rank. Each function takes x [example d], y [example] of 0 and 1 and a rank, and gives (basis [d r], reader [d r], mean [d]); what is left
of x is x - basis reader^T (x - mean), with reader^T basis = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from interp.errors import ProbeError
from interp.probes.probe_fits import weighted_logistic
from interp.registries import About, Registry

Found = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Eraser:
    """A way to erase a label, with a name: its formula, what it costs, its function, and whether it can take more than one dimension."""

    name: str
    sentence: str
    cost: str
    source: str
    function: Callable[[np.ndarray, np.ndarray, int], Found]
    ranks: bool = False

    @property
    def about(self) -> About:
        return About(self.sentence, cost=self.cost, source=self.source)


def shrunk(x: np.ndarray) -> np.ndarray:
    """Covariance [d d] of x [example d], drawn towards a multiple of the unit matrix (optimal linear shrinkage, Bodnar, Gupta & Parolya 2014)."""
    n, d = x.shape
    centred = x - x.mean(0)
    S = centred.T @ centred / (n - 1)
    trace, square = float(np.trace(S)), float((S * S).sum())
    target = trace / d
    size = target * target * d
    left = square * size - (trace * target) ** 2
    if left <= 1e-12 * square * size:
        return np.asarray(S)
    alpha = 1 - trace**2 * size / n / left
    beta = (1 - alpha) * trace * target / size
    return np.asarray(alpha * S + beta * target * np.eye(d))


def leace(x: np.ndarray, y: np.ndarray, rank: int) -> Found:
    """Least change of x, as its covariance measures it, after which it has no covariance with the label."""
    values, vectors = np.linalg.eigh(shrunk(x))
    keep = values > values.max() * 1e-10
    root = np.sqrt(values[keep])
    U = vectors[:, keep]
    cross = (x - x.mean(0)).T @ (y - y.mean()) / (len(x) - 1)
    u = U.T @ cross / root
    if not np.linalg.norm(u) > 0:
        raise ProbeError("the label has no covariance with the site, so there is nothing to erase.")
    u = u / np.linalg.norm(u)
    return (U @ (root * u))[:, None], (U @ (u / root))[:, None], x.mean(0)


def mean_projection(x: np.ndarray, y: np.ndarray, rank: int) -> Found:
    """The direction between the means of the labels."""
    return _orthogonal((x[y == 1].mean(0) - x[y == 0].mean(0))[:, None], x)


def inlp(x: np.ndarray, y: np.ndarray, rank: int) -> Found:
    """The directions of `rank` logistic probes, each fitted on what the ones before have left."""
    directions: list[np.ndarray] = []
    left = x
    for _ in range(rank):
        w = weighted_logistic(left, y, np.ones(len(y)))[0]
        directions.append(w / np.linalg.norm(w))
        basis = _range(np.stack(directions, 1))
        left = x - x @ basis @ basis.T
    return _orthogonal(np.stack(directions, 1), x)


def sal(x: np.ndarray, y: np.ndarray, rank: int) -> Found:
    """The left singular vector of the covariance between x and the label."""
    return _orthogonal(((x - x.mean(0)).T @ (y - y.mean()))[:, None], x)


def _range(directions: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what columns span."""
    U, s, _ = np.linalg.svd(directions, full_matrices=False)
    return np.asarray(U[:, s > s.max() * 1e-10])


def _orthogonal(directions: np.ndarray, x: np.ndarray) -> Found:
    if not np.abs(directions).max() > 0:
        raise ProbeError("the label has no covariance with the site, so there is nothing to erase.")
    basis = _range(directions)
    return basis, basis, x.mean(0)


ERASERS: Final = Registry(
    "eraser",
    "interp.erasers",
    ProbeError,
    (
        Eraser(
            "leace",
            "least-squares erasure of all that is linear, an oblique projection of rank 1",
            "n d^2 + d^3",
            "Belrose et al. 2023",
            leace,
        ),
        Eraser(
            "inlp",
            "null space of linear probes fitted one after another",
            "a fit for each dimension",
            "Ravfogel et al. 2020",
            inlp,
            True,
        ),
        Eraser(
            "mean_projection",
            "null space of the difference of means",
            "n d",
            "Haghighatkhah et al. 2022",
            mean_projection,
        ),
        Eraser("sal", "null space of the covariance with the label", "n d", "Shao et al. 2023", sal),
    ),
)
