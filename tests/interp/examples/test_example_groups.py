"""Groups of examples and their measures against closed forms and slow second writings."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr

from interp.examples.example_groups import (
    OUTLIER,
    agreement_of,
    cuts,
    one_group,
    ranks,
    separation,
    shuffled,
    stability,
    tree_of,
)
from tests.interp.examples.score_mixtures import planted

KINDS = np.arange(30) % 3


def test_products_of_ranks_are_spearmans_correlation_ties_too() -> None:
    x = np.random.default_rng(0).integers(0, 5, (6, 11)).astype(float)
    ranked = ranks(x)
    assert np.allclose(ranked @ ranked.T, spearmanr(x.T).statistic)


def test_the_cuts_of_planted_kinds_are_the_kinds_and_outliers_are_in_no_group() -> None:
    x = planted(KINDS, 0)
    x = np.concatenate([x, -x.sum(0, keepdims=True)])
    found = cuts(tree_of(ranks(x)), 6, 4)
    assert np.array_equal(found[3][:30], KINDS) and found[3][30] == OUTLIER
    for k, groups in found.items():
        sizes = np.bincount(groups[groups != OUTLIER])
        assert len(sizes) == k and sizes.min() >= 4


def test_separation_is_the_mean_silhouette() -> None:
    ranked, groups = ranks(planted(KINDS, 1)), np.where(np.arange(30) == 7, OUTLIER, KINDS)
    far = 1 - ranked @ ranked.T
    each = []
    for i in range(30):
        if groups[i] == OUTLIER:
            continue
        means = [np.mean([far[i, j] for j in range(30) if j != i and groups[j] == k]) for k in range(3)]
        own, other = means[groups[i]], min(m for k, m in enumerate(means) if k != groups[i])
        each.append((other - own) / max(other, own))
    assert separation(ranked, groups) == pytest.approx(np.mean(each))


def test_agreement_is_the_adjusted_rand_index() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, 12), rng.integers(0, 4, 12)
    together = lambda g: {(i, j) for i, j in combinations(range(12), 2) if g[i] == g[j]}  # noqa: E731
    first, second, pairs = together(a), together(b), 66
    expected = len(first) * len(second) / pairs
    want = (len(first & second) - expected) / ((len(first) + len(second)) / 2 - expected)
    assert agreement_of(a, b) == pytest.approx(want)
    assert agreement_of(a, (a + 1) % 3) == 1.0
    # An outlier is together with nobody.
    assert agreement_of(np.array([0, 0, 1, 1, -1, -1]), np.array([0, 0, 1, 1, 2, 3])) == 1.0


def test_groups_that_are_there_come_out_again_and_shuffled_ones_do_not() -> None:
    x, rng = planted(KINDS, 2), np.random.default_rng(0)
    assert stability(x, 4, 4, rng, resamples=5)[1] > 0.9
    assert stability(shuffled(x, rng), 4, 4, rng, resamples=5)[1] < 0.5


def test_the_null_has_the_covariance_of_the_ranks_and_each_part_keeps_its_scores_when_shuffled() -> None:
    x, rng = planted(KINDS, 3), np.random.default_rng(0)
    ranked = ranks(x)
    drawn = np.concatenate([one_group(x, rng) for _ in range(200)])
    own, like = np.cov(ranked.T), np.cov(drawn.T)
    assert np.corrcoef(own.ravel(), like.ravel())[0, 1] > 0.95
    assert np.allclose(drawn.mean(1), 0) and np.allclose((drawn**2).sum(1), 1)
    assert np.array_equal(np.sort(shuffled(x, rng), axis=0), np.sort(x, axis=0))
