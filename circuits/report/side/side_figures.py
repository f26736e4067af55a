"""The charts of two runs side by side: the scores of one over those of the other, and both faithfulness curves in one frame.

The first side is told from the second by more than colour: full line and discs against dashes and squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from markupsafe import Markup

from circuits.report.drawing import svg
from circuits.report.drawing.figures import marker
from circuits.report.drawing.svg import Scale, element, label, line, path
from interp.formatting.numbers import count, decimals, number, percent, score

SIDES: Final = ("a", "b")
_NAMES: Final = {"a": "A", "b": "B"}
#: So many of the largest points have their name beside them.
_NAMED: Final = 8
_LOG_FROM: Final = 60


def scatter(data: dict[str, Any]) -> Markup:
    """Both values of each part that both sides score, axes alike, with the diagonal; the largest are named."""
    (low, high), side = data["range"], 380
    x, y = Scale(low, high, 84, 84 + side), Scale(low, high, 16 + side, 16)
    marks = svg.numbered(svg.ticks(low, high))
    names = (f"{data['quantity']} in A ({data['unit']})", f"{data['quantity']} in B ({data['unit']})")
    parts = [svg.axes(x, y, marks, marks, names), path([(x(low), y(low)), (x(high), y(high))], "diagonal")]
    dense = len(data["points"]) > 300
    for at in data["points"]:
        text = f"{at['name']}: A {score(at['a'])}, B {score(at['b'])} {data['unit']}; in {at['where']}"
        parts.append(marker(data["groups"].index(at["where"]), x(at["a"]), y(at["b"]), text, dense))
    parts += _labels(data["points"][:_NAMED], data["points"], x, y)
    return svg.drawing(110 + side, 66 + side, "Scores of B over those of A", *parts)


def _labels(named: Sequence[dict[str, Any]], points: Sequence[dict[str, Any]], x: Scale, y: Scale) -> list[Markup]:
    """The names of some points, each on a side of its point where it covers no other point and no other name, or nowhere."""
    taken: list[tuple[float, float, float]] = []
    marks = [(x(p["a"]), x(p["a"]), y(p["b"]) + 4) for p in points]
    parts = []
    for at in named:
        wide, middle, below = svg.width_of([at["name"]]), x(at["a"]), y(at["b"]) + 4
        inward = middle > (x.start + x.end) / 2
        for left in (inward, not inward):
            start = middle - wide - 8 if left else middle + 8
            place = (start, start + wide, below)
            inside = x.start <= place[0] and place[1] <= x.end + 20
            if inside and all(
                place[1] < a - 5 or place[0] > b + 5 or abs(below - c) > 12 for a, b, c in (*taken, *marks)
            ):
                taken.append(place)
                parts.append(label(place[1] if left else place[0], below, at["name"], "end" if left else ""))
                break
    return parts


def curves(data: dict[str, Any]) -> Markup:
    """Faithfulness over size of both, their intervals as bars, and the range of the random circuits of each."""
    at = [p["x"] for side in SIDES for p in data[side]]
    low, high = data["range"]
    x, y = Scale(min(at), max(at), 78, 700, max(at) - min(at) > _LOG_FROM), Scale(low, high, 330, 20)
    y_ticks = [(t, percent(t)) for t in svg.ticks(low, high)]
    x_name = data["x_name"] + (" (logarithmic)" if x.log else "")
    names = (x_name, "share of the whole model's metric")
    parts = [svg.axes(x, y, _x_ticks(sorted(set(at)), x, data["shares"]), y_ticks, names)]
    parts += [line(x.start, y(v), x.end, y(v), "reference") for v in (0.0, 1.0) if y.holds(v)]
    parts += [_band(data[side], side, x, y) for side in SIDES]
    for i, side in enumerate(SIDES):
        parts += _curve(data[side], i, side, x, y)
    return svg.drawing(720, 382, "Faithfulness over circuit size of A and B", *parts)


def _x_ticks(values: Sequence[float], x: Scale, shares: bool) -> list[tuple[float, str]]:
    kept: list[float] = []
    for value in values:
        if not kept or x(value) - x(kept[-1]) >= 40:
            kept.append(value)
    return [(v, f"{number(v, decimals([v], 2))} %" if shares else count(round(v))) for v in kept]


def _held(value: float, y: Scale) -> float:
    return y(min(max(value, y.low), y.high))


def _band(points: Sequence[dict[str, Any]], side: str, x: Scale, y: Scale) -> Markup:
    known = [p for p in points if p["random_low"] is not None]
    if len(known) < 2:
        return Markup()
    top = [(x(p["x"]), _held(p["random_high"], y)) for p in known]
    bottom = [(x(p["x"]), _held(p["random_low"], y)) for p in reversed(known)]
    return path([*top, *bottom], f"random-{side}", closed=True)


def _curve(points: Sequence[dict[str, Any]], kind: int, side: str, x: Scale, y: Scale) -> list[Markup]:
    known = [p for p in points if p["faithfulness"] is not None]
    parts = [path([(x(p["x"]), _held(p["faithfulness"], y)) for p in known], f"line-{side}")] if len(known) > 1 else []
    for p in known:
        if p["low"] is not None and p["high"] is not None:
            parts.append(line(x(p["x"]), _held(p["low"], y), x(p["x"]), _held(p["high"], y), f"bar-{side}"))
        text = f"{_NAMES[side]}, {count(p['size'])} {p['parts']}: {percent(p['faithfulness'])}"
        parts.append(marker(kind, x(p["x"]), _held(p["faithfulness"], y), text))
        if p["chosen"]:
            ring: dict[str, str | float] = {"cx": x(p["x"]), "cy": _held(p["faithfulness"], y), "r": 8.5}
            parts.append(element("circle", {**ring, "class": f"ring-{side}"}))
    return parts


def line_sample(side: str) -> Markup:
    """A short piece of a side's curve, for the legend."""
    return svg.drawing(34, 16, "", path([(0, 8), (34, 8)], f"line-{side}"), marker(SIDES.index(side), 17, 8))


def band_sample(side: str) -> Markup:
    """A piece of the range of a side's random circuits, for the legend."""
    return svg.drawing(26, 14, "", path([(1, 1), (25, 1), (25, 13), (1, 13)], f"random-{side}", closed=True))
