"""The search: exact patches where they matter, then a random check of the rest with all that the budget has left.

It knows no model. Estimates of all parts come as tables, exact scores from a function of names that also says its cost, and
a price says before each call what it will cost. No call is made that may cost more than is left, but for the first: one
part is always scored.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import ceil
from typing import Final

import numpy as np

from interp.attribution.auto.budget import Cost, Draws, Meter, Plan, Price
from interp.attribution.auto.calibration import PILOT, Chosen, choose, pilot, strata
from interp.parts.graph import Part
from interp.parts.nodes import competes
from interp.scores.certificate import Certificate
from interp.scores.trail import Point, Role, Round, Search

Scorer = Callable[[Sequence[str]], tuple[np.ndarray, Cost]]
#: Further estimates, if what they are expected to cost is at most so much: (method -> table, cost), or None.
Further = Callable[[float], tuple[dict[str, np.ndarray], Cost] | None]

SHARE: Final = 0.25
#: The worst of a small random sample is not the worst of all.
SAFETY: Final = 2.0
#: A random check of fewer parts says next to nothing.
LEAST: Final = 8
MOST_POINTS: Final = 400
#: Why a part is scored though the budget does not pay for it.
LEAST_PATCH: Final = "one part, for which the budget is too small"


@dataclass(frozen=True)
class Found:
    """Scores [example part], which of them are exact [part], the radius of each [part] or None, and what was tried."""

    table: np.ndarray
    exact: np.ndarray
    error: np.ndarray | None
    search: Search


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

    @property
    def fits_all(self) -> bool:
        """Whether all that is not known can be scored within the budget; not said of seconds before any was measured."""
        meter, rest = self.meter, np.flatnonzero(~self.known)
        return not len(rest) or (meter.rate is not None and meter.slack * meter.expected(rest) <= meter.left)

    def draws(self) -> Draws:
        """What random draws of what is free will cost, by draws of their own."""
        return Draws.of(self.meter, np.flatnonzero(self.free), np.random.default_rng((self.plan.seed, 1)))


def run_search(
    parts: Sequence[Part],
    tables: Mapping[str, np.ndarray],
    score: Scorer,
    price: Price,
    further: Further,
    plan: Plan,
    what: str,
) -> Found:
    """Look for the top n of the parts.

    tables: method -> estimates [example part]. score: names -> exact scores [example name] and their cost. price: what that
    costs at most. what: the parts in a word, `nodes` or `edges`. Everything that is left free when the cheap steps are done
    is either swept, or checked by a random draw (see `interp.scores.certificate`). Deterministic in the plan's seed, but
    for a budget in seconds.
    """
    board = Board(parts, dict(tables), score, plan, Meter(plan.budget, price), what, np.random.default_rng(plan.seed))
    roles: dict[int, Role] = {}
    if not board.fits_all:
        _calibrate(board, roles)
    if board.fits_all:
        return _swept(board, roles)
    _more_estimates(board, further)
    random = np.array([roles.get(i) == "random" for i in range(len(parts))])
    chosen = choose(board.kinds, board.tables, board.exact, board.known, random)
    estimates = chosen.estimates(board.kinds, board.tables)
    # A part is looked at where any method says so: the best method of a kind is often blind to a few of its parts.
    reach = board.key(chosen.spread(board.kinds, board.tables)).max(0)
    _rescore(board, estimates.mean(0), reach, roles)
    return _checked(board, chosen, estimates, roles)


def _calibrate(board: Board, roles: dict[int, Role]) -> None:
    """The top of each ranking, and a random part of what is left, stratified by kind and depth."""
    first = np.flatnonzero(~board.counted)
    ranked = [board.ranked(table.mean(0))[: board.plan.n] for table in board.tables.values()]
    # In turns, so that a small budget cuts all rankings alike.
    turns = zip_longest(first, *ranked)
    top = np.array(list(dict.fromkeys(int(i) for row in turns for i in row if i is not None)), dtype=int)
    meter = board.meter
    if (least := meter.expected(top[:1])) > meter.left:
        _warn_too_small(board, top, least)
    top = top[: max(1, meter.within(top, meter.half()))]
    board.patch("top of each ranking" if least <= meter.left else LEAST_PATCH, top)
    roles |= dict.fromkeys(top.tolist(), "top")
    if board.fits_all:
        return
    drawn = pilot(strata(board.parts), board.free, PILOT, board.rng)
    drawn = drawn[: meter.within(drawn, meter.half())]
    board.patch("random sample of each kind and depth", drawn)
    roles |= dict.fromkeys(drawn.tolist(), "random")


def _warn_too_small(board: Board, top: np.ndarray, least: float) -> None:
    """Say what is needed: to score one part, and to score the top of each ranking and check the rest."""
    enough = 2 * (board.meter.expected(top) + board.draws().cost(LEAST))
    warnings.warn(
        f"budget of {board.plan.budget}: exact patches of one part cost {least:.1f}, so one part is scored and nothing is "
        f"checked. Give about {ceil(enough)} forward equivalents to score the top of each ranking and a random check.",
        stacklevel=5,
    )


def _more_estimates(board: Board, further: Further) -> None:
    """Dearer estimates, as long as each takes no more than a share of what is left."""
    while (found := further(SHARE * board.meter.left)) is not None:
        tables, cost = found
        board.tables |= tables
        board.meter.calls.append((0, cost))
        board.rounds.append(Round(f"estimates by {', '.join(tables)}", 0, cost.equivalents, cost.seconds))


def _rescore(board: Board, means: np.ndarray, reach: np.ndarray, roles: Mapping[int, Role]) -> None:
    """Exact scores in the order of the estimates, until one that is off by as much as the random sample's worst cannot
    reach the top n; in growing rounds, with enough left for the check."""
    drawn = [i for i, role in roles.items() if role == "random"]
    radius = float(np.abs(board.exact - means)[drawn].max()) if drawn else 0.0
    size, meter, draws = max(board.plan.n, 8), board.meter, board.draws()
    reserve = min(draws.cost(board.plan.checks), 0.5 * meter.left)
    least = max(0.5 * reserve, min(reserve, draws.cost(LEAST)))
    while True:
        free = np.flatnonzero(board.free)
        order = free[np.argsort(-reach[free], kind="stable")]
        order = order[reach[order] + SAFETY * radius > board.threshold]
        # The exact values of what seems to be in the top come before the check of what does not.
        inside = bool((board.key(means[order]) > board.threshold).any())
        some = order[:size]
        some = some[: meter.within(some, meter.left - (least if inside else reserve))]
        if not len(some):
            return
        board.patch("next of the rescaled ranking", some)
        size *= 2


# ---------------------------------------------------------------- the two ends


def _swept(board: Board, roles: dict[int, Role]) -> Found:
    """Everything exactly; the fits then tell how all estimates agree with it."""
    rest = np.flatnonzero(~board.known)
    board.patch("all that was left", rest)
    roles |= dict.fromkeys(rest.tolist(), "all")
    chosen = choose(board.kinds, board.tables, board.exact, board.known, board.known)
    certificate = _certificate(board, rest=0, drawn=0, found=0, above=0)
    estimates = chosen.estimates(board.kinds, board.tables)
    trail = _trail(board, chosen, estimates, roles, (None, None), certificate)
    return Found(board.table, board.known, np.zeros(len(board.parts)), trail)


def _checked(board: Board, chosen: Chosen, estimates: np.ndarray, roles: dict[int, Role]) -> Found:
    """A random draw from what is left says how much of it belongs in the top n, and how far off its estimates are."""
    rest = np.flatnonzero(board.free)
    # All that the budget allows: every bound falls with the size, and it must not depend on what is drawn. A search that
    # drew again after a surprise would choose the draw that it ends with, and its bounds would not hold. So the size is
    # found on other draws, and the rare one that is too dear is not replaced: then nothing is claimed.
    drawn = board.rng.permutation(rest)[: board.draws().size(board.meter.left)]
    drawn = drawn if board.meter.expected(drawn) <= board.meter.left else drawn[:0]
    board.patch("random check of what was left", drawn)
    roles |= dict.fromkeys(drawn.tolist(), "check")
    if board.fits_all:
        return _swept(board, roles)
    means, outside = estimates.mean(0), board.free
    found = len(set(board.top.tolist()) & set(drawn.tolist()))
    above = int((board.key(means[outside]) > board.threshold).sum())
    radius, chance = _radius(np.abs(board.exact - means)[drawn], board.plan.chance)
    certificate = _certificate(board, rest=len(rest), drawn=len(drawn), found=found, above=above)
    trail = _trail(board, chosen, estimates, roles, (radius, chance), certificate)
    error = None if radius is None else np.where(board.known, 0.0, radius)
    return Found(np.where(board.known, board.table, estimates), board.known, error, trail)


def _radius(residuals: np.ndarray, chance: float) -> tuple[float | None, float | None]:
    """The residual that one more of the same draw exceeds with `chance` at most, or with the chance 1 / (m + 1) of m."""
    m = len(residuals)
    if not m:
        return None, None
    place = min(m, ceil((m + 1) * (1 - chance) - 1e-9))
    return float(np.sort(residuals)[place - 1]), float(max(chance, 1 / (m + 1)))


def _certificate(board: Board, *, rest: int, drawn: int, found: int, above: int) -> Certificate:
    total, scored = int(board.counted.sum()), int((board.counted & board.known).sum())
    return Certificate.of(board.plan.n, total, scored, rest, drawn, found, above, board.plan.chance, board.what)


def _trail(
    board: Board,
    chosen: Chosen,
    estimates: np.ndarray,
    roles: Mapping[int, Role],
    radius: tuple[float | None, float | None],
    certificate: Certificate,
) -> Search:
    exact, means = board.exact, estimates.mean(0)
    told = sorted(roles, key=lambda i: -max(abs(exact[i]), abs(means[i])))[:MOST_POINTS]
    points = tuple(
        Point(board.parts[i].name, str(board.kinds[i]), float(means[i]), float(exact[i]), roles[i]) for i in told
    )
    return Search(
        tried=tuple(board.tables),
        left_out=(),
        fits=chosen.fits,
        rounds=tuple(board.rounds),
        points=points,
        budget=str(board.plan.budget),
        ranking="signed" if board.plan.signed else "absolute",
        estimates_cost=0.0,
        spent=board.meter.spent.equivalents,
        radius=radius[0],
        radius_chance=radius[1],
        certificate=certificate,
    )
