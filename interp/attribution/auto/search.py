"""The search: exact patches where they matter, then a random check of the rest with all that the budget has left.

It knows no model. Estimates of all parts come as tables, exact scores from a function of names that also says its cost, and
a price says before each call what it will cost. No call is made that may cost more than is left, but for the first: one
part is always scored.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import ceil
from typing import Final

import numpy as np

from interp.attribution.auto.blend import EVERY, Blend, Towards
from interp.attribution.auto.board import Board, Scorer
from interp.attribution.auto.budget import Cost, Meter, Plan, Price
from interp.attribution.auto.calibration import PILOT, pilot, strata
from interp.parts.graph import Part
from interp.scores.certificate import Certificate, Near
from interp.scores.trail import Point, Role, Round, Search

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


def run_search(
    parts: Sequence[Part],
    tables: Mapping[str, np.ndarray],
    score: Scorer,
    price: Price,
    further: Further,
    plan: Plan,
    what: str,
    towards: Towards = EVERY,
) -> Found:
    """Look for the top n of the parts.

    tables: method -> estimates [example part]. score: names -> exact scores [example name] and their cost. price: what that
    costs at most. what: the parts in a word, `nodes` or `edges`. towards: the methods that the estimates are drawn to.
    Everything that is left free when the cheap steps are done is either swept, or checked by a random draw (see
    `interp.scores.certificate`). Deterministic in the plan's seed, but for a budget in seconds.
    """
    meter, rng = Meter(plan.budget, price), np.random.default_rng(plan.seed)
    board = Board(parts, dict(tables), score, plan, meter, what, rng, towards)
    roles: dict[int, Role] = {}
    if not board.fits_all:
        _calibrate(board, roles)
    if board.fits_all:
        return _swept(board, roles)
    _more_estimates(board, further)
    found = board.blend()
    # A part is looked at where any method says so: the best method of a kind is often blind to a few of its parts.
    reach = board.key(board.fits(found, roles).spread(board.kinds, board.tables)).max(0)
    _rescore(board, board.estimates(found).mean(0), reach, roles)
    return _checked(board, roles)


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
        board.patch("next of the estimated ranking", some)
        size *= 2


# ---------------------------------------------------------------- the two ends


def _swept(board: Board, roles: dict[int, Role]) -> Found:
    """Everything exactly; the fits then tell how all estimates agree with it."""
    rest = np.flatnonzero(~board.known)
    board.patch("all that was left", rest)
    roles |= dict.fromkeys(rest.tolist(), "all")
    total = int(board.counted.sum())
    plan = board.plan
    certificate = Certificate.of(plan.n, total, total, 0, 0, 0, 0, plan.chance, board.what)
    found = board.blend()
    trail = _trail(board, found, board.estimates(found).mean(0), roles, (None, None), certificate)
    return Found(board.table, board.known, np.zeros(len(board.parts)), trail)


def _checked(board: Board, roles: dict[int, Role]) -> Found:
    """A random draw from what is left says how much of it belongs in the top n, and how far off its estimates are; and then
    mends them."""
    rest, before = np.flatnonzero(board.free), board.threshold
    estimates = board.estimates(board.blend()).mean(0)
    # All that the budget allows: every bound falls with the size, and it must not depend on what is drawn. A search that
    # drew again after a surprise would choose the draw that it ends with, and its bounds would not hold. So the size is
    # found on other draws, and the rare one that is too dear is not replaced: then nothing is claimed.
    drawn = board.rng.permutation(rest)[: board.draws().size(board.meter.left)]
    drawn = drawn if board.meter.expected(drawn) <= board.meter.left else drawn[:0]
    board.patch("random check of what was left", drawn)
    roles |= dict.fromkeys(drawn.tolist(), "check")
    if board.fits_all:
        return _swept(board, roles)
    mended = board.blend()
    table = board.estimates(mended)
    radius, chance, beyond = _radius(np.abs(board.exact - estimates)[drawn], board.plan.chance)
    # Off by more than this only where the estimate of before was off by more than the radius.
    error = None if radius is None else np.where(board.known, 0.0, radius + np.abs(table.mean(0) - estimates))
    near = None if error is None else Near(int(board.reaching(table.mean(0), error).sum()), beyond, chance or 1.0)
    certificate = Certificate.of(
        board.plan.n,
        int(board.counted.sum()),
        int((board.counted & board.known).sum()),
        len(rest),
        len(drawn),
        found=len(set(board.top.tolist()) & set(drawn.tolist())),
        above=int(board.reaching(table.mean(0)).sum()),
        chance=board.plan.chance,
        what=board.what,
        beat=int((board.key(board.exact[drawn]) > before).sum()),
        near=near,
    )
    trail = _trail(board, mended, estimates, roles, (radius, chance), certificate)
    return Found(np.where(board.known, board.table, table), board.known, error, trail)


def _radius(residuals: np.ndarray, chance: float) -> tuple[float | None, float | None, int]:
    """The residual that one more of the same draw exceeds with `chance` at most, or with the chance 1 / (m + 1) of m; and after it
    that chance, and how many of the draw it leaves out."""
    m = len(residuals)
    if not m:
        return None, None, 0
    place = min(m, ceil((m + 1) * (1 - chance) - 1e-9))
    return float(np.sort(residuals)[place - 1]), float(max(chance, 1 / (m + 1))), m - place


def _trail(
    board: Board,
    found: Blend,
    means: np.ndarray,
    roles: Mapping[int, Role],
    radius: tuple[float | None, float | None],
    certificate: Certificate,
) -> Search:
    """found: the weights of the estimates. means: the estimates that what was scored exactly is shown against [part]."""
    exact = board.exact
    told = sorted(roles, key=lambda i: -max(abs(exact[i]), abs(means[i])))[:MOST_POINTS]
    points = tuple(
        Point(board.parts[i].name, str(board.kinds[i]), float(means[i]), float(exact[i]), roles[i]) for i in told
    )
    return Search(
        tried=tuple(board.tables),
        left_out=(),
        fits=board.fits(found, roles).fits,
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
