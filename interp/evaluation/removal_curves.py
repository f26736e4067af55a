"""What happens to the metric when groups are taken away, or put in, in the order of their values.

Source: Samek et al. 2017 (deletion), Petsiuk et al. 2018 (deletion and insertion), DeYoung et al. 2020, ERASER (comprehensiveness, sufficiency).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from interp.evaluation.mixing import Mixed

#: The shares of the groups that are replaced along a curve.
STEPS: Final = tuple(i / 10 for i in range(11))
#: The shares of ERASER.
SHARES: Final = (0.01, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True, eq=False)
class Curves:
    """Of one prompt and one order: the metric along both curves [step], and the four numbers."""

    deletion: np.ndarray
    insertion: np.ndarray
    comprehensiveness: float
    sufficiency: float

    @property
    def numbers(self) -> tuple[float, float, float, float]:
        """Area under deletion and insertion (mean height, by trapezoids), comprehensiveness, sufficiency."""
        return area(self.deletion), area(self.insertion), self.comprehensiveness, self.sufficiency


def area(curve: np.ndarray) -> float:
    """The mean height of a curve at evenly spaced steps, by trapezoids."""
    return float((curve[1:] + curve[:-1]).mean() / 2)


def by_value(values: np.ndarray) -> np.ndarray:
    """The players from the largest value to the smallest; of equals the first first."""
    return np.argsort(-values, kind="stable")


def curves(mixed: Mixed, order: np.ndarray) -> Curves:
    """The curves of an order of players. deletion: m with the first k replaced; insertion: m with the first k kept and all others replaced;
    comprehensiveness: mean over `SHARES` of m(prompt) - m(without the first k), k at least 1; sufficiency: mean of m(prompt) - m(the first k
    alone). Units: the metric's. Cost: at most 30F."""
    along, some = _first(order)
    deletion, insertion = mixed.values(~along), mixed.values(along)
    return Curves(deletion, insertion, *_top(mixed, some))


def random_curves(mixed: Mixed, orders: int, rng: np.random.Generator) -> list[Curves]:
    """The same of random orders, each taken from its end where groups are put in, so that both curves share their runs."""
    found = []
    for _ in range(orders):
        order = rng.permutation(mixed.n)
        along, some = _first(order)
        insertion = mixed.values(_first(order[::-1])[0])
        found.append(Curves(mixed.values(~along), insertion, *_top(mixed, some)))
    return found


def _first(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which players are among the first of an order, at each step and at each of the shares of ERASER [step player]."""
    place, n = np.argsort(order), len(order)
    along = [round(share * n) for share in STEPS]
    some = [max(1, int(np.ceil(share * n))) for share in SHARES]
    return place[None] < np.array(along)[:, None], place[None] < np.array(some)[:, None]


def _top(mixed: Mixed, some: np.ndarray) -> tuple[float, float]:
    """Comprehensiveness and sufficiency of the first players."""
    whole = mixed.whole()
    return float(whole - mixed.values(~some).mean()), float(whole - mixed.values(some).mean())
