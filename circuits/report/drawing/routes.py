"""How the arrows of a drawn circuit get past boxes that are not theirs: through a gap of every row between, pulled tight, rounded.

y grows downwards, arrows go up. An arrow whose own smooth curve is free of boxes keeps it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from typing import Final, NamedTuple

from circuits.report.drawing.curves import Bend, Point, rounded

#: How far from a box beside it the way of an arrow goes, above and below it; and the least that its curve keeps.
BESIDE: Final = 9.0
_OVER: Final = 5.0
KEPT: Final = 3.0
#: How far a curve leaves and enters upright, how far it may cut corners, and how far it must keep from boxes: the first that does is taken.
#: The last follows the way, which is free, where rows stand so close that nothing else fits.
_SMOOTH: Final = (
    (90.0, 60.0, KEPT),
    (45.0, 60.0, KEPT),
    (45.0, 30.0, KEPT),
    (22.0, 14.0, KEPT),
    (22.0, 6.0, 1.0),
    (22.0, 1.0, 0.0),
)
#: How far upright there is room for: so much, and more for each pixel that the first turn lies aside.
_UPRIGHT: Final = 8.0
_SWING: Final = 0.4
#: So many arrows that turn at one corner lie so far beside each other; what comes after them goes where the innermost goes.
_LANES: Final = 4
_LANE: Final = 6.0
#: How far apart points of a curve are looked at.
_STEP: Final = 6.0
#: The least height that a way is thought to move aside in.
_LEAST_RISE: Final = 4.0
#: A gap is chosen among the nearest to the straight line, so many to each side.
_NEAR: Final = 1


@dataclass(frozen=True)
class Wire:
    """What an arrow joins: the x of the middles of two boxes, y of the top of the lower and the bottom of the upper one; how far to both
    sides it may leave and enter; `port`: where it enters, from the middle, where that is fixed."""

    x: float
    y: float
    side: float
    to_x: float
    to_y: float
    to_side: float
    port: float | None = None

    def ends(self, near: float, far: float) -> tuple[Point, Point]:
        """Leaves towards `near`, enters from `far`."""
        into = self.port if self.port is not None else _clamp(far - self.to_x, -self.to_side, self.to_side)
        return (self.x + _clamp(near - self.x, -self.side, self.side), self.y), (self.to_x + into, self.to_y)


@dataclass(frozen=True)
class Row:
    """Boxes of one height: where they begin and end (x), the height from `low` up to `top` that arrows take as theirs, the free gaps."""

    y: float
    low: float
    top: float
    boxes: tuple[tuple[float, float], ...]
    gaps: tuple[tuple[float, float], ...]


#: A corner that arrows turn at: row, gap, and the end of the gap.
Corner = tuple[int, int, bool]


@dataclass(frozen=True)
class _Gate:
    """Where a way must pass at one height."""

    y: float
    left: float
    right: float
    row: int
    gap: int


@dataclass(frozen=True)
class _Turn:
    x: float
    y: float
    corner: Corner


class Rows:
    """The boxes (x and y of the middle, width) of a drawing, all `high`, from the lowest row to the highest. Nothing goes right of `limit`."""

    def __init__(self, boxes: Iterable[tuple[float, float, float]], high: float, limit: float = inf) -> None:
        found: dict[float, list[tuple[float, float]]] = {}
        for x, y, width in boxes:
            found.setdefault(round(y, 1), []).append((x - width / 2, x + width / 2))
        heights = sorted(found, reverse=True)
        pads = [min(_OVER, max(0.0, (low - top - high) / 2)) for low, top in pairwise(heights)]
        self.high = high
        self.rows = [
            Row(y, y + high / 2 + low, y - high / 2 - top, tuple(sorted(found[y])), _gaps(sorted(found[y]), limit))
            for y, low, top in zip(heights, [_OVER, *pads], [*pads, _OVER], strict=False)
        ]
        self.limit = limit
        sides = [side for row in self.rows for box in row.boxes for side in box]
        self.middle = (min(sides, default=0.0) + max(sides, default=0.0)) / 2
        self._up = [-row.y for row in self.rows]

    def between(self, low: float, top: float) -> range:
        """The rows whose boxes lie between two heights."""
        half = self.high / 2
        first, end = bisect_left(self._up, half - low), bisect_left(self._up, -top - half + 0.1)
        return range(first, max(first, end))

    def free(self, curve: Bend, kept: float = KEPT) -> bool:
        """Whether a curve keeps so far from the boxes of the rows between its ends."""
        crossed = self.between(curve.start[1], curve.end[1])
        for x, y in curve.points(_STEP):
            i = bisect_left(self._up, -y - self.high / 2 - kept)
            if i in crossed and abs(self.rows[i].y - y) <= self.high / 2 + kept and _hits(self.rows[i].boxes, x, kept):
                return False
            if x > self.limit - kept:
                return False
        return True


def _hits(boxes: Sequence[tuple[float, float]], x: float, kept: float) -> bool:
    i = bisect_left(boxes, (x + kept,))
    return i > 0 and boxes[i - 1][1] > x - kept


def _gaps(boxes: Sequence[tuple[float, float]], limit: float) -> tuple[tuple[float, float], ...]:
    """The free places of a row, with room to the boxes; where two stand close, there is none between them."""
    rights, lefts = [-inf, *(right + BESIDE for _, right in boxes)], [*(left - BESIDE for left, _ in boxes), limit]
    return tuple((a, b) for a, b in zip(rights, lefts, strict=True) if a < b)


def _clamp(x: float, low: float, high: float) -> float:
    return max(low, min(high, x))


# ---------------------------------------------------------------- routes


def routes(wires: Sequence[tuple[Wire, Bend]], rows: Rows) -> list[Bend]:
    """A curve for each arrow: the one that is given with it where that is free, else one through the gaps."""
    found = [curve for _, curve in wires]
    held = [i for i, curve in enumerate(found) if not rows.free(curve) and rows.between(curve.start[1], curve.end[1])]
    gates = {i: _gates(found[i], rows) for i in held}
    turns = {i: _taut(found[i].start, found[i].end, gates[i]) for i in held}
    aside = _lanes({i: (found[i].start[1] - found[i].end[1], turns[i]) for i in held}, rows)
    for i in held:
        found[i] = _route(wires[i][0], found[i], turns[i], _narrow(gates[i], aside[i]), rows)
    return found


def _gates(curve: Bend, rows: Rows) -> list[_Gate]:
    """The gap of each row that an arrow goes through, at the lower and the upper end of the row."""
    crossed = rows.between(curve.start[1], curve.end[1])
    found: list[_Gate] = []
    for i, gap in zip(crossed, _through(curve, [rows.rows[i] for i in crossed], rows), strict=True):
        row = rows.rows[i]
        found += [_Gate(y, *row.gaps[gap], i, gap) for y in (row.low, row.top)]
    return found


class _Spot(NamedTuple):
    """Where a way may pass a row, and the best way there: what it costs, how far inside it is, whether it holds on to the end of a gap."""

    cost: float
    inside: float
    x: float
    held: bool
    gaps: tuple[int, ...]


def _through(curve: Bend, crossed: Sequence[Row], rows: Rows) -> tuple[int, ...]:
    """The gap of each row that makes the way least bent: the sum of dx^2 / dy is smallest, of equal ones farthest outside.

    In each of the nearest gaps it may pass on the straight line, straight above where it passed before, or as near to these as the gap lets.
    """
    (x1, y1), (x2, y2) = curve.start, curve.end
    spots, height = [_Spot(0.0, 0.0, x1, False, ())], y1
    for row in crossed:
        line = x1 + (x2 - x1) * (y1 - row.y) / (y1 - y2)
        at = max(0, bisect_left(row.gaps, (line,)) - 1)
        found: list[_Spot] = []
        for gap in range(max(0, at - _NEAR), min(len(row.gaps), at + _NEAR + 1)):
            ahead = [_spot(before, line, row, gap, height, rows) for before in spots]
            above = [_spot(before, before.x, row, gap, height, rows) for before in spots]
            found += [min(ahead), min(above)]
        spots, height = found, row.y
    return min(_spot(spot, x2, Row(y2, y2, y2, (), ((-inf, inf),)), 0, height, rows) for spot in spots).gaps[:-1]


def _spot(before: _Spot, wanted: float, row: Row, gap: int, height: float, rows: Rows) -> _Spot:
    x = _clamp(wanted, *row.gaps[gap])
    # Beside a box a way goes straight up, and has less height to move aside in.
    rise = max(_LEAST_RISE, height - row.y - rows.high / 2 * (before.held + (x != wanted)))
    cost = round(before.cost + (x - before.x) ** 2 / rise, 2)
    return _Spot(cost, before.inside - abs(x - rows.middle), x, x != wanted, (*before.gaps, gap))


def _taut(start: Point, end: Point, gates: Sequence[_Gate]) -> list[_Turn]:
    """The turns of a way through the gates: none where the straight line passes them, else one at the gate that it misses most."""
    worst, most = -1, 1e-6
    turn: _Turn | None = None
    slope = (end[0] - start[0]) / ((start[1] - end[1]) or 1.0)
    for i, gate in enumerate(gates):
        x = start[0] + slope * (start[1] - gate.y)
        missed = max(gate.left - x, x - gate.right)
        if missed > most:
            worst, most = i, missed
            turn = _Turn(_clamp(x, gate.left, gate.right), gate.y, (gate.row, gate.gap, x > gate.right))
    if turn is None:
        return []
    corner = (turn.x, turn.y)
    return [*_taut(start, corner, gates[:worst]), turn, *_taut(corner, end, gates[worst + 1 :])]


def _lanes(held: Mapping[int, tuple[float, list[_Turn]]], rows: Rows) -> dict[int, dict[Corner, float]]:
    """How far beside each corner each arrow turns, so that the first few do not lie on each other: the longest ones outside."""
    at: dict[Corner, list[int]] = {}
    for i, (_, turns) in held.items():
        for corner in dict.fromkeys(turn.corner for turn in turns):
            at.setdefault(corner, []).append(i)
    found: dict[int, dict[Corner, float]] = {i: {} for i in held}
    for corner, members in at.items():
        left, right = rows.rows[corner[0]].gaps[corner[1]]
        shared = (corner[0], corner[1], not corner[2]) in at
        step = min(_LANE, (right - left) / ((2 if shared else 1) * _LANES))
        for rank, i in enumerate(sorted(members[:_LANES], key=lambda i: (held[i][0], i))):
            found[i][corner] = rank * step
    return found


def _narrow(gates: Sequence[_Gate], aside: Mapping[Corner, float]) -> list[_Gate]:
    return [
        replace(
            gate,
            left=gate.left + aside.get((gate.row, gate.gap, False), 0.0),
            right=gate.right - aside.get((gate.row, gate.gap, True), 0.0),
        )
        for gate in gates
    ]


def _route(wire: Wire, plain: Bend, turns: Sequence[_Turn], gates: Sequence[_Gate], rows: Rows) -> Bend:
    """The way through the gates as the smoothest curve that is free."""
    first, final = (turns[0].x, turns[-1].x) if turns else (plain.end[0], plain.start[0])
    start, end = wire.ends(first, final)
    near = [_UPRIGHT + _SWING * abs(x - y) for x, y in ((first, start[0]), (final, end[0]))]
    room = 0.5 * (start[1] - gates[0].y), 0.5 * (gates[-1].y - end[1])
    for upright, cut, kept in _SMOOTH:
        most: Sequence[float] = room if kept < KEPT else [0.3 * (start[1] - end[1])] * 2
        rise = [min(upright, *both) for both in zip(near, most, strict=True)]
        low, top = (start[0], start[1] - rise[0]), (end[0], end[1] + rise[1])
        turned = _taut(low, top, [gate for gate in gates if top[1] < gate.y < low[1]])
        curve = rounded([start, low, *((turn.x, turn.y) for turn in turned), top, end], cut)
        if rows.free(curve, kept):
            break
    return curve
