"""Examples in groups by the rank correlation of their scores: the tree, a cut into groups of some size, and how good a cut is.

Axis words: `example part`. A group that is smaller than `least` is none: its examples are outliers, of group -1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

#: Resamples of one stability, and the share of the examples and of the parts in each.
RESAMPLES: Final = 20
KEPT: Final = 0.7
OUTLIER: Final = -1


def ranks(x: np.ndarray) -> np.ndarray:
    """Ranks of the parts within each example, ties shared, of mean 0 and length 1 [example part]; their products are Spearman's."""
    from scipy.stats import rankdata

    found = rankdata(x, axis=1)
    found -= found.mean(1, keepdims=True)
    size = np.sqrt((found * found).sum(1, keepdims=True))
    return np.asarray(np.divide(found, size, out=np.zeros_like(found), where=size > 0))


def tree_of(ranked: np.ndarray) -> np.ndarray:
    """The tree of the examples by average linkage of 1 - correlation, as scipy writes it."""
    from scipy.cluster.hierarchy import linkage

    distances = (1 - ranked @ ranked.T)[np.triu_indices(len(ranked), 1)]
    return np.asarray(linkage(distances.clip(0, 2), method="average"))


def cuts(tree: np.ndarray, most: int, least: int) -> dict[int, np.ndarray]:
    """For each number of groups from 2 to `most` that some height of the tree has, the groups at the largest such height [example],
    numbered by their first example."""
    n = len(tree) + 1
    children, sizes = tree[:, :2].astype(int), [1] * n + tree[:, 3].astype(int).tolist()
    large, found = 1, dict[int, np.ndarray]()
    for row in range(n - 2, -1, -1):  # the merge that is undone
        left, right = children[row]
        large += (sizes[left] >= least) + (sizes[right] >= least) - (sizes[n + row] >= least)
        if 2 <= large <= most and large not in found:
            found[large] = _groups(children, row, sizes, least)
    return dict(sorted(found.items()))


def _groups(children: np.ndarray, merges: int, sizes: Sequence[int], least: int) -> np.ndarray:
    """The groups of at least so many examples after the first so many merges, numbered by their first; the others are outliers."""
    n = len(children) + 1
    root = np.arange(n + merges)
    for row in range(merges - 1, -1, -1):
        root[children[row]] = root[n + row]
    number = dict[int, int]()
    kept = [node if sizes[node] >= least else OUTLIER for node in root[:n].tolist()]
    return np.array([OUTLIER if node == OUTLIER else number.setdefault(node, len(number)) for node in kept])


def separation(ranked: np.ndarray, groups: np.ndarray) -> float:
    """Mean silhouette of the examples in groups, by 1 - correlation: near 1 where groups lie far apart, 0 where they touch."""
    inside = np.flatnonzero(groups != OUTLIER)
    labels = groups[inside]
    distances = 1 - ranked[inside] @ ranked[inside].T
    member = np.eye(labels.max() + 1)[labels]
    sizes = member.sum(0)
    sums = distances @ member
    own = np.arange(len(labels))
    within = sums[own, labels] / np.maximum(sizes[labels] - 1, 1)
    to_others = sums / sizes
    to_others[own, labels] = np.inf
    nearest = to_others.min(1)
    top = np.maximum(within, nearest)
    return float(np.mean(np.divide(nearest - within, top, out=np.zeros_like(top), where=top > 0)))


def agreement_of(a: np.ndarray, b: np.ndarray) -> float:
    """Adjusted Rand index of two groupings: 1 where they are the same, 0 on average by chance. An outlier is a group of its own."""
    a, b = _alone(a), _alone(b)
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    both, first, second = (_pairs(n) for n in (table, table.sum(1), table.sum(0)))
    expected = first * second / max(1.0, len(a) * (len(a) - 1) / 2)
    largest = (first + second) / 2
    return float((both - expected) / (largest - expected)) if largest > expected else 0.0


def _pairs(sizes: np.ndarray) -> float:
    """How many pairs there are within groups of such sizes."""
    return float((sizes * (sizes - 1) / 2).sum())


def _alone(groups: np.ndarray) -> np.ndarray:
    """Each outlier as a group of its own."""
    found = groups.copy()
    out = np.flatnonzero(groups == OUTLIER)
    found[out] = groups.max() + 1 + np.arange(len(out))
    return found


def stability(x: np.ndarray, most: int, least: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:
    """For 2 to `most` groups how far the same groups come out of `KEPT` of the examples and of the parts [k]: the mean adjusted Rand
    index of the groups there with those of all; 0 where there is no such cut."""
    whole = cuts(tree_of(ranks(x)), most, least)
    found = np.zeros(most - 1)
    for _ in range(resamples):
        kept, parts = (np.sort(rng.permutation(n)[: max(2, round(KEPT * n))]) for n in x.shape)
        some = cuts(tree_of(ranks(x[np.ix_(kept, parts)])), most, least)
        for k in whole.keys() & some.keys():
            found[k - 2] += agreement_of(whole[k][kept], some[k])
    return found / resamples


def one_group(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ranks of as many examples of one group, with the same mean and covariance of ranks: drawn from one normal distribution."""
    ranked = ranks(x)
    mean = ranked.mean(0)
    return ranks(mean + rng.standard_normal((len(x), len(x))) @ (ranked - mean) / np.sqrt(len(x) - 1))


def shuffled(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each part's scores in another order of the examples: what no two parts have in common."""
    return np.asarray(rng.permuted(x, axis=0))
