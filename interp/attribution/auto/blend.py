"""The estimate of a part that is not patched: a weighted sum of all presets, with weights by its size and by its kind.

Which preset is right depends on the size of an effect. A patch changes the metric by g . d + O(d^2): as effects become small a gradient
is exact (its method is `first_order`), and a relevance or a secant is not; where effects are large the gradient is what is wrong. So the
estimate of part i of kind k from presets j is

    sum_j ((1 - u_i) a_kj + u_i b_kj) e_ij,    a, b >= 0,    u_i = 0 for the smallest parts, 1 for the largest, linear in log size,

where the size s_i is the root mean square of its estimates. Not below zero, as stacked regressions are (Breiman 1996): all presets estimate
the same thing, and a difference of two that agree would have weights without bound.

Some tens of parts are known, so weights are drawn towards others, as a mean over few is towards that of all (partial pooling): each
least squares has, for every weight, as much as `STRENGTH` average parts which say that it is the one drawn to.

    a      drawn to the mean of the presets of first order
    b      drawn to the least squares of the exact scores themselves, which the large parts decide, with one average part for the mean
           of the presets that are complete: these add up to the whole change of the metric, which is made of the large parts
           (to the mean of all presets, where none is of first order or none is complete)
    a_k    drawn to a of all kinds, and b_k to b: a preset that does well over all is left only where a kind's own parts say so

Errors grow with the size, so residuals count relative to it, and those beyond the usual one linearly, not squared (Huber): a few parts
that no preset sees would decide alone. Nothing else is fitted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

#: How many average parts a weight's prior counts as.
STRENGTH: Final = 8.0
#: Sizes below this share of the largest are one size, so that parts which do nothing decide nothing.
FLOOR: Final = 1e-4
#: The quantile of the sizes that is the small end: a few parts of size 0 would stretch the axis.
SMALL_END: Final = 0.05
#: Rounds of reweighting; a median absolute deviation times this is a standard deviation.
ROUNDS: Final = 8
DEVIATION: Final = 1.4826


@dataclass(frozen=True)
class Towards:
    """The methods that the weights of the smallest and of the largest parts are drawn to; all where none is named."""

    small: tuple[str, ...] = ()
    large: tuple[str, ...] = ()


EVERY: Final = Towards()


@dataclass(frozen=True)
class Blend:
    """Weights of each kind [end method], for the small and for the large end, and where between them each part is [part]."""

    methods: tuple[str, ...]
    share: np.ndarray
    weights: Mapping[str, np.ndarray]

    def estimates(self, kinds: np.ndarray, tables: Mapping[str, np.ndarray]) -> np.ndarray:
        """Estimates [example part] from one table [example part] per method."""
        of = {kind: kinds == kind for kind in self.weights}
        found = np.zeros_like(next(iter(tables.values())))
        for j, name in enumerate(self.methods):
            each = np.zeros(len(kinds))
            for kind, (small, large) in self.weights.items():
                share = self.share[of[kind]]
                each[of[kind]] = (1 - share) * small[j] + share * large[j]
            found += each * tables[name]
        return found


def blend(
    kinds: np.ndarray,
    tables: Mapping[str, np.ndarray],
    exact: np.ndarray,
    known: np.ndarray,
    counted: np.ndarray,
    towards: Towards,
) -> Blend:
    """The weights that the known parts give.

    kinds: [part]. tables: method -> estimates [example part]. exact: means [part], right where `known` [part] is true.
    counted: which parts compete for the top [part]; the others, of another order of size, have no say.
    """
    means = np.stack([table.mean(0) for table in tables.values()])
    size = _sizes(means, counted)
    share = _share(size, counted)
    known = known & counted
    scaled = (means / size).T
    features = np.hstack([scaled * (1 - share)[:, None], scaled * share[:, None]])
    y = np.where(known, exact, 0.0) / size
    small, large = (_mean_of(tables, names) for names in (towards.small, towards.large))
    prior = np.concatenate([small, _drawn(means.T, exact, known, large, 1.0, robust=False)])
    pooled = _drawn(features, y, known, prior, STRENGTH)
    own = {}
    for kind in dict.fromkeys(kinds.tolist()):
        of = known & (kinds == kind)
        own[kind] = _drawn(features, y, of, pooled, STRENGTH).reshape(2, -1)
    return Blend(tuple(tables), share, own)


def _sizes(means: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The size of each part [part], above zero."""
    size = np.sqrt((means**2).mean(0))
    largest = size[counted].max(initial=0.0)
    return np.asarray(np.hypot(size, FLOOR * largest) if largest > 0 else np.where(size > 0, size, 1.0))


def _share(size: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Where between the small and the large end a part is, linear in the logarithm of its size [part]."""
    logs = np.log(size)
    low, high = np.quantile(logs[counted], [SMALL_END, 1.0]) if counted.any() else (0.0, 0.0)
    return np.asarray(np.clip((logs - low) / (high - low), 0, 1) if high > low else np.ones_like(size))


def _mean_of(tables: Iterable[str], names: Collection[str]) -> np.ndarray:
    """The weights of a mean of some methods, of all where none of them is there [method]."""
    one = np.array([name in names for name in tables], dtype=float)
    return np.asarray(one / one.sum() if one.any() else np.full(len(one), 1 / len(one)))


def _drawn(
    features: np.ndarray, y: np.ndarray, of: np.ndarray, towards: np.ndarray, strength: float, robust: bool = True
) -> np.ndarray:
    """Weights not below zero [feature] by least squares over the parts `of` and `strength` average parts for each of `towards`."""
    from scipy.optimize import nnls

    x, y = features[of], y[of]
    extra = np.sqrt(strength * (features**2).mean(0))
    if not len(y):
        return towards
    trust = np.ones(len(y))
    found = towards
    for _ in range(ROUNDS if robust else 1):
        root = np.sqrt(trust)
        found = nnls(np.vstack([x * root[:, None], np.diag(extra)]), np.concatenate([y * root, extra * towards]))[0]
        off = np.abs(y - x @ found)
        usual = DEVIATION * float(np.median(off))
        trust = np.where(off > usual, usual / np.where(off > 0, off, 1.0), 1.0)
    return np.asarray(found)
