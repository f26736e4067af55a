"""The calibration sample, and how each method agrees with it: correlation, error and slope, for each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from interp.attribution.auto.blend import Blend
from interp.parts.graph import Part
from interp.scores.trail import Fit

#: How many parts the random sample has about, and at least of each stratum.
PILOT: Final = 40
FLOOR: Final = 2
#: A stratum of so few is taken wholly.
SMALL: Final = 8
MOST_STRATA: Final = 24
#: With fewer random parts of a kind all that are known are judged.
FEWEST: Final = 4
LARGEST_SLOPE: Final = 20.0


def strata(parts: Sequence[Part]) -> np.ndarray:
    """The stratum of each part [part]: its kind and the third of the depth it is in; its kind alone where kinds are many."""
    depth = max((p.layer for p in parts if p.layer is not None), default=0) + 1
    third = [3 if p.layer is None else 3 * p.layer // depth for p in parts]
    fine = [f"{p.kind}/{t}" for p, t in zip(parts, third, strict=True)]
    return np.array(fine if len(set(fine)) <= MOST_STRATA else [p.kind for p in parts])


def pilot(groups: np.ndarray, free: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """About `size` random places among those free, in proportion to the strata with a floor; small strata wholly.

    groups: stratum [part]. free: bool [part], which may be drawn. Returns: indices, most needed first, so that a start
    of them is a sample too.
    """
    drawn: list[tuple[float, int]] = []
    for group in np.unique(groups[free]):
        members = rng.permutation(np.flatnonzero(free & (groups == group)))
        wanted = max(FLOOR, round(size * len(members) / free.sum()))
        taken = members if len(members) <= SMALL else members[:wanted]
        drawn += [((place + rng.random()) / len(taken), int(i)) for place, i in enumerate(taken)]
    return np.array([i for _, i in sorted(drawn)], dtype=int)


def slope(estimates: np.ndarray, exact: np.ndarray) -> float:
    """Least squares through the origin, drawn towards 1 by one more part of average size, and kept in (0, 20].

    Through the origin because a part that does nothing has score and estimate 0, and an offset would change the order of
    kinds among each other. A slope that is not positive would turn the ranking of the kind around on the word of a few
    parts: it becomes 1/20, which keeps the order and makes the estimates small.
    """
    return float(_slopes(estimates @ exact, estimates @ estimates, len(exact)))


def _slopes(products: np.ndarray, powers: np.ndarray, n: int) -> np.ndarray:
    """Slopes from sums of n products estimate * exact and n squares of estimates."""
    prior = powers / n
    some = powers > 0
    found = (products + prior) / np.where(some, powers + prior, 1.0)
    return np.where(some, np.clip(found, 1 / LARGEST_SLOPE, LARGEST_SLOPE), 1.0)


def left_out_error(estimates: np.ndarray, exact: np.ndarray, judged: np.ndarray | None = None) -> float:
    """Mean |exact - slope * estimate| of the parts `judged` (all by default), each with the slope of all others.

    Of an only part with slope 1.
    """
    products, powers = estimates * exact, estimates * estimates
    rest = np.maximum(powers.sum() - powers, 0.0)
    slopes = _slopes(products.sum() - products, rest, max(len(exact) - 1, 1))
    off = np.abs(exact - slopes * estimates)
    return float((off if judged is None else off[judged]).mean())


@dataclass(frozen=True)
class Chosen:
    """How each method agrees with exact patching, for each kind, and what the estimates are made of."""

    fits: tuple[Fit, ...]
    blend: Blend

    def spread(self, kinds: np.ndarray, tables: Mapping[str, np.ndarray]) -> np.ndarray:
        """Mean estimates of every method [method part], made larger by its slope for the kind, and never smaller.

        Most of a sample does next to nothing, so a slope below 1 says little of the few parts that a method finds large.
        """
        slopes = {(fit.kind, fit.method): max(fit.slope, 1.0) for fit in self.fits}
        return np.array([[slopes.get((k, name), 1.0) for k in kinds] * table.mean(0) for name, table in tables.items()])


def choose(
    kinds: np.ndarray,
    tables: Mapping[str, np.ndarray],
    exact: np.ndarray,
    known: np.ndarray,
    random: np.ndarray,
    found: Blend,
) -> Chosen:
    """The fit of every method to the known parts of every kind, beside what it counts in the estimates.

    Its error is that on the known parts that were drawn at random: those are like the parts that stay estimated, which the
    top of the rankings is not; where a kind has few, all known parts of it are judged. Of a kind without a part that is
    known, the methods that count have the slopes of all kinds together.

    kinds: [part]. tables: method -> estimates [example part]. exact: means [part], right where `known` [part] is true.
    random: which parts were drawn at random [part]. found: the weights.
    """
    means = {name: table.mean(0) for name, table in tables.items()}
    pooled = {name: slope(mean[known], exact[known]) if known.any() else 1.0 for name, mean in means.items()}
    fits: list[Fit] = []
    for kind in dict.fromkeys(kinds.tolist()):
        own = known & (kinds == kind)
        # A method that says 0 of a whole kind, as a frozen pattern does of queries, is no fit.
        able = {name: mean for name, mean in means.items() if np.ptp(mean[kinds == kind]) > 0} or means
        counts = _counts(found, kind)
        if own.any():
            fits += [replace(fit, **counts[fit.method]) for fit in _fits(kind, able, exact, own, random)]
        else:
            fits += [Fit(m, kind, 0, None, 0.0, pooled[m], **counts[m]) for m in able if counts[m]["chosen"]]
    return Chosen(tuple(fits), found)


def _counts(found: Blend, kind: str) -> dict[str, dict[str, Any]]:
    """What each method counts in the estimates of a kind, for the smallest and the largest parts, and whether it does."""
    columns = zip(found.methods, found.weights[kind].T.tolist(), strict=True)
    return {name: {"chosen": max(ends) > 0, "weights": tuple(ends)} for name, ends in columns}


def _fits(
    kind: str, means: Mapping[str, np.ndarray], exact: np.ndarray, of: np.ndarray, random: np.ndarray
) -> list[Fit]:
    judged = random[of] if (random & of).sum() >= FEWEST else None
    return [
        Fit(
            name,
            kind,
            int(of.sum()),
            _pearson(mean[of], exact[of]),
            left_out_error(mean[of], exact[of], judged),
            slope(mean[of], exact[of]),
            False,
        )
        for name, mean in means.items()
    ]


def _pearson(a: np.ndarray, b: np.ndarray) -> float | None:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if len(a) >= 3 and scale > 0 else None
