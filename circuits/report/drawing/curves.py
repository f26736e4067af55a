"""The curves of the arrows of all drawings: upright at both ends, swung aside past boxes, or rounded along a way; as SVG, and as
Cytoscape draws them. y grows downwards, arrows go up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

#: How far an arrow swings aside past one row, and at most, in columns; among sites, which are many, less.
_SWING: Final = {"layers": (0.7, 2.6), "sites": (0.6, 2.2)}
#: So much farther for each further row, and only where its ends are less than so many columns apart.
_PER_ROW: Final = 0.25
_ASIDE: Final = 0.6
Point = tuple[float, float]


@dataclass(frozen=True)
class Bend:
    """A curve from `start` to `end`: quadratic pieces, one for each control point, that meet halfway between two of them."""

    start: Point
    through: tuple[Point, ...]
    end: Point

    @property
    def pieces(self) -> list[tuple[Point, Point, Point]]:
        """Start, control point and end of each piece."""
        joints = [self.start, *(_between(a, b, 0.5) for a, b in pairwise(self.through)), self.end]
        return list(zip(joints[:-1], self.through, joints[1:], strict=True))

    def points(self, step: float) -> list[Point]:
        """Points along it from its start to its end, on average no farther apart than `step`."""
        found = [self.start]
        for (x1, y1), (x2, y2), (x3, y3) in self.pieces:
            n = math.ceil((math.hypot(x2 - x1, y2 - y1) + math.hypot(x3 - x2, y3 - y2)) / step) or 1
            for i in range(1, n + 1):
                t = i / n
                p, q, r = (1 - t) ** 2, 2 * t * (1 - t), t * t
                found.append((p * x1 + q * x2 + r * x3, p * y1 + q * y2 + r * y3))
        return found

    def as_one(self) -> str:
        """The steps of an SVG path that takes both control points as those of one cubic piece."""
        (x1, y1), (x2, y2), ((x3, y3), (x4, y4)) = self.start, self.end, self.through
        return f"M{x1:.1f} {y1:.1f}C{x3:.1f} {y3:.1f} {x4:.1f} {y4:.1f} {x2:.1f} {y2:.1f}"

    def as_pieces(self, frame: Callable[[float, float], Point], tip: float) -> str:
        """The steps of an SVG path along the quadratic pieces, at their places in a frame; it stops `tip` pixels below its end."""
        pieces = [[frame(*point) for point in piece] for piece in self.pieces]
        (left, low), (x, y) = pieces[0][0], pieces[-1][-1]
        pieces[-1][1:] = [(pieces[-1][1][0], max(pieces[-1][1][1], y + tip)), (x, y + tip)]
        steps = "".join(f"Q{x:.1f} {y:.1f} {to_x:.1f} {to_y:.1f}" for _, (x, y), (to_x, to_y) in pieces)
        return f"M{left:.1f} {low:.1f}{steps}"


def upright(start: Point, end: Point, reach: float, aside: float = 0.0) -> Bend:
    """From its ends alone: leaves upwards and enters from below, held to that over `reach` pixels, `aside` pixels to the right."""
    (x1, y1), (x2, y2) = start, end
    return Bend(start, ((x1 + aside, y1 - reach), (x2 + aside, y2 + reach)), end)


def swing(a: Mapping[str, Any], b: Mapping[str, Any], rows: str) -> float:
    """How many columns an arrow swings aside, so that it does not run behind the boxes between its ends. `rows`: layers or sites.

    Boxes have a column x, a row y, upwards, and a kind. The more rows an arrow passes, the farther it swings to the right; between heads
    it swings to the left, always as far: the MLPs are on the right.
    """
    passed = float(b["y"] - a["y"])
    if abs(a["x"] - b["x"]) >= _ASIDE or passed <= 1:
        return 0.0
    least, most = _SWING[rows]
    if rows == "layers" and "mlp" not in (a["kind"], b["kind"]):
        return -least
    return min(least + _PER_ROW * (passed - 1), most)


def weights(curve: Bend) -> tuple[list[float], list[float]]:
    """The control points as seen from the straight line: how far along it (0 to 1), and how far off it, in pixels."""
    (x1, y1), (x2, y2) = curve.start, curve.end
    long = math.hypot(x2 - x1, y2 - y1) or 1.0
    along, off = [], []
    for x, y in curve.through:
        dx, dy = x - x1, y - y1
        along.append(round((dx * (x2 - x1) + dy * (y2 - y1)) / long**2, 4))
        off.append(round((dy * (x2 - x1) - dx * (y2 - y1)) / long, 1))
    return along, off


def unweighted(start: Point, end: Point, along: Sequence[float], off: Sequence[float]) -> Bend:
    """The curve that some `weights` tell."""
    (x1, y1), (x2, y2) = start, end
    dx, dy = x2 - x1, y2 - y1
    long = math.hypot(dx, dy) or 1.0
    through = [(x1 + a * dx - o * dy / long, y1 + a * dy + o * dx / long) for a, o in zip(along, off, strict=True)]
    return Bend(start, tuple(through), end)


def rounded(way: Sequence[Point], most: float) -> Bend:
    """A curve along a way of straight lines that leaves it by at most `most` pixels, at its corners."""
    reach = [0.0, *(_reach(*corner, most) for corner in zip(way, way[1:], way[2:], strict=False)), 0.0]
    through: list[Point] = []
    last = len(way) - 2
    for i, (a, b) in enumerate(pairwise(way)):
        long = math.dist(a, b) or 1.0
        # A piece begins halfway to the next control point, so one at twice the reach makes a corner that tight.
        after, before = 2 * reach[i] / long, 2 * reach[i + 1] / long
        through += [_between(a, b, share) for share in _shares(after, before, i == 0, i == last)]
        if i < last:
            through.append(b)
    return Bend(way[0], tuple(through), way[-1])


def _reach(before: Point, corner: Point, after: Point, most: float) -> float:
    """How far from a corner a curve may begin to cut it: at a reach r it passes r/4 |u + v| from it; u, v: the directions away."""
    (a, b), (c, d) = _direction(corner, before), _direction(corner, after)
    return 4 * most / max(math.hypot(a + c, b + d), 1e-6)


def _direction(a: Point, b: Point) -> Point:
    long = math.dist(a, b) or 1.0
    return (b[0] - a[0]) / long, (b[1] - a[1]) / long


def _shares(after: float, before: float, first: bool, last: bool) -> list[float]:
    """Where on a line control points stand, 0 to 1, that hold the corner at its start to `after`, at its end to `before`, as shares."""
    if first or last:
        tight = before if first else after
        # No control point stands on an end of the way: Cytoscape draws no curve that leaves nowhere.
        share = min(0.75, tight)
        return [] if tight >= 2 else [1 - share if first else share]
    if after + before <= 1:
        return [after, 1 - before]
    low, high = max(0.0, 1 - before), min(1.0, after)
    if low == 0 and high == 1:
        return []
    return [high if low == 0 else low if high == 1 else (low + high) / 2]


def _between(a: Point, b: Point, share: float) -> Point:
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])
