"""Lines over the same places, each with its mark and its name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from markupsafe import Markup

from circuits.report.drawing import svg
from circuits.report.drawing.figures import SHAPES, marker
from circuits.report.drawing.svg import Scale, element, label
from interp.formatting.numbers import number

WIDTH: Final = 660
HEIGHT: Final = 300
#: Where the axes stand, and how high a line of the legend is.
LEFT: Final = 84
LEGEND: Final = 18


def line_chart(data: dict[str, Any]) -> Markup:
    """`lines` of a `name` and `values` (None: a gap) over the places `x`; the axes are called `x_title` and `y_title`."""
    places: Sequence[float] = data["x"]
    known = [v for one in data["lines"] for v in one["values"] if v is not None]
    low, high = _range(known)
    top = 20 + LEGEND * len(data["lines"])
    x, y = Scale(places[0], places[-1], LEFT, WIDTH - 20), Scale(low, high, top + HEIGHT, top)
    names = (data["x_title"], data["y_title"])
    whole = all(at == int(at) for at in places)
    marks = [at for at in svg.ticks(places[0], places[-1], 10) if not whole or at == int(at)]
    parts = [svg.axes(x, y, svg.numbered(marks), svg.numbered(svg.ticks(low, high)), names)]
    for i, one in enumerate(data["lines"]):
        parts += [marker(i, LEFT + 8, 8 + LEGEND * i), label(LEFT + 20, 12 + LEGEND * i, one["name"], "name")]
        parts += _line(i, one, places, x, y)
    return svg.drawing(WIDTH, top + HEIGHT + 52, f"{names[1]} over {names[0]}", *parts)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """From the lowest to the highest, with zero where that is near."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    low = 0.0 if 0 < low < high / 2 else low
    high = 0.0 if low / 2 < high < 0 else high
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _line(i: int, one: dict[str, Any], places: Sequence[float], x: Scale, y: Scale) -> list[Markup]:
    """A line that is broken at its gaps, and a mark at each place."""
    points = list(zip(places, one["values"], strict=True))
    pieces = [list(piece) for known, piece in groupby(points, lambda p: p[1] is not None) if known]
    drawn = [svg.path([(x(at), y(v)) for at, v in piece], f"line l{i % SHAPES}") for piece in pieces if len(piece) > 1]
    marks = [(at, v) for piece in pieces for at, v in piece]
    return drawn + [
        element("g", {}, marker(i, x(at), y(v), f"{one['name']}, {number(at)}: {number(v)}", len(places) > 60))
        for at, v in marks
    ]
