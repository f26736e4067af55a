"""What a search knows so far, and what follows of it: exact scores of some parts, estimates of all, the top, what fits the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from interp.attribution.auto.blend import Blend, Towards, blend
from interp.attribution.auto.budget import Cost, Draws, Meter, Plan
from interp.attribution.auto.calibration import Chosen, choose
from interp.parts.graph import Part
from interp.parts.nodes import competes
from interp.scores.trail import Role, Round

Scorer = Callable[[Sequence[str]], tuple[np.ndarray, Cost]]


@dataclass
class Board:
    """What is known so far: estimates of every part, and exact scores of some."""

    parts: Sequence[Part]
    tables: dict[str, np.ndarray]
    score: Scorer
    plan: Plan
    meter: Meter
    what: str
    rng: np.random.Generator
    towards: Towards
    table: np.ndarray = field(init=False)
    known: np.ndarray = field(init=False)
    rounds: list[Round] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.table = np.full(next(iter(self.tables.values())).shape, np.nan)
        self.known = np.zeros(len(self.parts), dtype=bool)
        self.kinds = np.array([part.kind for part in self.parts])
        # The others are scored among the first, and are in no top.
        self.counted = np.array([competes(part.kind) for part in self.parts])

    def patch(self, why: str, places: np.ndarray) -> None:
        """Score some parts exactly."""
        places = places[~self.known[places]]
        if not len(places):
            return
        columns, cost = self.score([self.parts[i].name for i in places])
        self.table[:, places], self.known[places] = columns, True
        self.meter.calls.append((self.meter.price(places), cost))
        self.rounds.append(Round(why, len(places), cost.equivalents, cost.seconds))

    def key(self, means: np.ndarray) -> np.ndarray:
        """What is ranked [part]: importance, or size."""
        return self.plan.sign * means if self.plan.signed else np.abs(means)

    @property
    def exact(self) -> np.ndarray:
        """Mean exact scores [part]; nan where they are not known."""
        return np.asarray(self.table.mean(0))

    @property
    def free(self) -> np.ndarray:
        """Whether a part counts and is not known [part]."""
        return np.asarray(self.counted & ~self.known)

    @property
    def top(self) -> np.ndarray:
        """The places of the n largest of what is known."""
        places = np.flatnonzero(self.counted & self.known)
        order = np.argsort(-self.key(self.exact[places]), kind="stable")
        return np.asarray(places[order[: self.plan.n]])

    @property
    def threshold(self) -> float:
        """The n-th largest exact key; -inf where fewer are known."""
        top = self.top
        return float(self.key(self.exact[top]).min()) if len(top) == self.plan.n else -np.inf

    def ranked(self, means: np.ndarray) -> np.ndarray:
        """The places of free parts, by their estimates, largest first."""
        places = np.flatnonzero(self.free)
        return np.asarray(places[np.argsort(-self.key(means[places]), kind="stable")])

    def reaching(self, means: np.ndarray, error: np.ndarray | float = 0.0) -> np.ndarray:
        """Whether a part that counts and is not known would be above the n-th largest, were it larger by its error [part]."""
        return np.asarray(self.free & (self.key(means) + error > self.threshold))

    @property
    def fits_all(self) -> bool:
        """Whether all that is not known can be scored within the budget; not said of seconds before any was measured."""
        meter, rest = self.meter, np.flatnonzero(~self.known)
        return not len(rest) or (meter.rate is not None and meter.slack * meter.expected(rest) <= meter.left)

    def blend(self) -> Blend:
        """The weights of the methods that all that is known gives."""
        return blend(self.kinds, self.tables, self.exact, self.known, self.counted, self.towards)

    def estimates(self, found: Blend) -> np.ndarray:
        """The estimates by some weights [example part]."""
        return found.estimates(self.kinds, self.tables)

    def fits(self, found: Blend, roles: Mapping[int, Role]) -> Chosen:
        """How each method fits what is known, beside its weights; judged by what was drawn at random, or by all of a sweep."""
        random = np.array([roles.get(i) in ("random", "check") for i in range(len(self.parts))])
        judged = self.known if self.known.all() else random
        return choose(self.kinds, self.tables, self.exact, self.known, judged, found)

    def draws(self) -> Draws:
        """What random draws of what is free will cost, by draws of their own."""
        return Draws.of(self.meter, np.flatnonzero(self.free), np.random.default_rng((self.plan.seed, 1)))
