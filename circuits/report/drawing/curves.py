"""Smooth curves of a drawing: what Cytoscape makes of control points, and control points that round the corners of a way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

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
