"""Scores of examples that one part of a net answers, or several: planted, so that the right groups are known."""

from __future__ import annotations

import numpy as np

from interp.parts.nodes import Node
from interp.scores.scores import Scores
from tests.interp.scores.random_scores import provenance

PARTS = 24


def scores_of(x: np.ndarray) -> Scores:
    """A table of scores of heads [example part]."""
    nodes = tuple(Node("head", i // 4, i % 4) for i in range(x.shape[1]))
    return Scores(nodes, x, provenance("exact", n_pairs=len(x)))


def planted(which: np.ndarray, seed: int, noise: float = 0.5) -> np.ndarray:
    """Examples of kind which[example], each kind with a support of eight parts of its own, and noise at all [example part]."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, noise, (len(which), PARTS))
    for kind in range(int(which.max()) + 1):
        support = slice(8 * kind, 8 * kind + 8)
        x[which == kind, support] += rng.choice([-1, 1], 8) * rng.uniform(2, 6, 8)
    return x


def graded(n: int, seed: int) -> np.ndarray:
    """Examples between two kinds: each has a share of either, spread evenly, so that there are no groups [example part]."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0, 1, (n, 1))
    first, second = np.zeros(PARTS), np.zeros(PARTS)
    first[:6], second[6:12] = rng.normal(0, 3, 6), rng.normal(0, 3, 6)
    return rng.normal(0, 0.5, (n, PARTS)) + share * first + (1 - share) * second
