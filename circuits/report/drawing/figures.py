"""The four pictures of a report, each a pure function of plain data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from markupsafe import Markup

from circuits.report.drawing import svg
from circuits.report.drawing.svg import Scale, element, label, line, path
from interp.formatting.numbers import count, number, percent, score

SHAPES: Final = 6
DENSE: Final = 300
_LOG_FROM: Final = 60


# ------------------------------------------------------------ heat-map


def heat_map(data: dict[str, Any]) -> Markup:
    """`rows` by `columns` of `values` (None: nothing there), symmetric colour scale up to `limit` in `unit`.

    The first row is the lowest, as layers are in the drawings of circuits: the stream flows upwards.
    """
    rows, columns, digits = data["rows"], data["columns"], data["digits"]
    cell_w, cell_h = (
        (max(40, svg.LETTER * (digits + 5)), 24) if data["numbers"] else (max(13, min(26, 900 / len(columns))), 18)
    )
    turn = 0 if svg.width_of(columns) <= cell_w * 1.15 else 45 if cell_w >= 20 else 90
    left = 26 + svg.width_of(rows) + 10
    top = 26 + (18 if not turn else 12 + svg.width_of(columns) * (0.75 if turn == 45 else 1))
    parts = [label(left, 14, data["column_title"], "name")]
    parts.append(label(14, top + len(rows) * cell_h / 2, data["row_title"], "middle name", turn=-90))
    for j, name in enumerate(columns):
        at = left + (j + 0.5) * cell_w
        parts.append(label(at + 3, top - 7, name, turn=-turn) if turn else label(at, top - 7, name, "middle"))
    for place, (i, name) in enumerate(reversed([*enumerate(rows)])):
        y = top + place * cell_h
        parts.append(label(left - 8, y + cell_h / 2 + 4, name, "end"))
        parts += [_cell(data, i, j, (left + j * cell_w, y, cell_w, cell_h)) for j in range(len(columns))]
    bottom = top + len(rows) * cell_h
    parts.append(_colour_bar(left, bottom + 16, data["limit"], data["unit"], data["signed"]))
    tail = svg.width_of(columns[-1:]) * 0.75 if turn == 45 else 0
    width = max(left + len(columns) * cell_w + tail + 8, left + 260 + svg.width_of([data["unit"]]))
    return svg.drawing(width, bottom + 62, _described(data), *parts)


def _described(data: dict[str, Any]) -> str:
    """What a screen reader says of a map."""
    title = f" {data['title']}," if data["title"] else ""
    axes = f"rows: {data['row_title']}, {data['rows'][0]} at the bottom; columns: {data['column_title']}"
    return f"Heat-map:{title} {axes}"


def _cell(data: dict[str, Any], i: int, j: int, box: tuple[float, float, float, float]) -> Markup:
    value, (x, y, w, h) = data["values"][i][j], box
    inside: dict[str, str | float] = {"x": x + 0.5, "y": y + 0.5, "width": w - 1, "height": h - 1}
    signed, write = data["signed"], score if data["signed"] else number
    if value is None:
        return element("rect", {**inside, "class": "none"}, element("title", {}, "not scored" if signed else "no edge"))
    sign, opacity = svg.strength(value, data["limit"])
    inside["class"] = f"cell {sign} in" if data["marked"][i][j] else f"cell {sign}"
    where = ", in the circuit" if data["marked"][i][j] and signed else ""
    title = element("title", {}, f"{data['names'][i][j]}: {write(value, data['digits'])} {data['unit']}{where}")
    parts = [element("rect", {**inside, "fill-opacity": opacity}, title)]
    if data["numbers"]:
        # A map of many layers is mostly zeros, between which the others would be sought.
        written = write(value, data["digits"]) if round(value, data["digits"]) else ""
        parts.append(label(x + w / 2, y + h / 2 + 4, written, "middle on-cell value"))
    elif signed:
        # The sign is not told by colour alone: strong cells carry it.
        parts.append(
            label(
                x + w / 2, y + h / 2 + 4, ("+" if value > 0 else "−") if opacity >= 0.3 else "", "middle on-cell value"
            )
        )
    return element("g", {}, *parts)


def _colour_bar(x: float, y: float, limit: float, unit: str, signed: bool) -> Markup:
    steps, width = 40, 200
    low = -1 if signed else 0
    parts = []
    for i in range(steps):
        sign, opacity = svg.strength(low + (1 - low) * (i + 0.5) / steps, 1)
        box: dict[str, str | float] = {
            "x": x + i * width / steps,
            "y": y,
            "width": float(width / steps),
            "height": 12.0,
            "shape-rendering": "crispEdges",
        }
        parts.append(element("rect", {**box, "class": sign, "fill-opacity": opacity}))
    parts.append(element("rect", {"x": x, "y": y, "width": float(width), "height": 12.0, "class": "frame"}))
    texts = ((0, score(-limit)), (0.5, "0"), (1, score(limit))) if signed else ((0, "0"), (1, number(limit)))
    parts += [label(x + share * width, y + 27, text, "middle") for share, text in texts]
    return element("g", {}, *parts, label(x + width + 12, y + 11, unit, "name"))


# ------------------------------------------------------------ scatter


def scatter(data: dict[str, Any]) -> Markup:
    """Approximate against exact scores, both axes alike, with the diagonal; one shape and colour per kind."""
    (low, high), side = data["range"], 240 if data["small"] else 320
    x, y = Scale(low, high, 78, 78 + side), Scale(low, high, 16 + side, 16)
    marks = svg.numbered(svg.ticks(low, high))
    names = (f"exact patching ({data['unit']})", f"{data['method']} ({data['unit']})")
    parts = [svg.axes(x, y, marks, marks, names), path([(x(low), y(low)), (x(high), y(high))], "diagonal")]
    dense = len(data["points"]) > DENSE
    for at in data["points"]:
        if x.holds(at["exact"]) and y.holds(at["score"]):
            text = f"{at['name']}: exact {score(at['exact'])}, {data['method']} {score(at['score'])} {data['unit']}"
            parts.append(marker(data["kinds"].index(at["kind"]), x(at["exact"]), y(at["score"]), text, dense))
    return svg.drawing(88 + side, 66 + side, f"Scatter of {data['method']} against exact patching", *parts)


def marker(kind: int, x: float, y: float, text: str = "", dense: bool = False) -> Markup:
    """The mark of the nth kind of node; small and without a rim where there are many."""
    n, r, style = kind % SHAPES, 1.8 if dense else 4.2, "dense" if dense else "mark"
    outlines = {
        1: [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)],
        2: [(x, y - r - 1), (x + r + 1, y + r - 1), (x - r - 1, y + r - 1)],
        3: [(x, y - r - 2), (x + r + 2, y), (x, y + r + 2), (x - r - 2, y)],
        4: [(x, y + r + 1), (x + r + 1, y - r + 1), (x - r - 1, y - r + 1)],
        5: [(x - r, y - 2), (x + r, y - 2), (x + r, y + 2), (x - r, y + 2)],
    }
    title = [element("title", {}, text)] if text else []
    if n == 0:
        return element("circle", {"cx": x, "cy": y, "r": r, "class": f"{style} k0"}, *title)
    steps = "L".join(f"{a:.1f} {b:.1f}" for a, b in outlines[n])
    return element("path", {"d": f"M{steps}Z", "class": f"{style} k{n}"}, *title)


def legend_mark(kind: int) -> Markup:
    """A mark by itself, for the legend in the text."""
    return svg.drawing(16, 16, "", marker(kind, 8, 8))


# ------------------------------------------------------------ faithfulness


def curve(data: dict[str, Any]) -> Markup:
    """Faithfulness over circuit size with its interval, and the range and median of the random circuits."""
    points = data["points"]
    sizes = [p["size"] for p in points]
    log = sizes[-1] - sizes[0] > _LOG_FROM
    low, high = data["range"]
    x, y = Scale(sizes[0], sizes[-1], 78, 640, log), Scale(low, high, 300, 20)
    x_ticks = [(float(s), count(s)) for s in _spaced(sizes, x)]
    y_ticks = [(t, percent(t)) for t in svg.ticks(low, high)]
    names = (f"{data['parts']} in the circuit" + (" (logarithmic)" if log else ""), f"share of the {data['metric']}")
    parts = [svg.axes(x, y, x_ticks, y_ticks, names)]
    parts += [line(x.start, y(at), x.end, y(at), "reference") for at in (0.0, 1.0) if y.holds(at)]
    if data["size"] is not None and x.holds(data["size"]):
        parts += [
            line(x(data["size"]), y.start, x(data["size"]), y.end, "chosen"),
            label(x(data["size"]) + 5, y.end - 6, "chosen circuit"),
        ]
    parts += _band(points, "random_low", "random_high", x, y, "random-band")
    parts += _band(points, "low", "high", x, y, "interval-band")
    parts += _series(data, "random_median", x, y, "random-line", "median of the random circuits")
    parts += _series(data, "faithfulness", x, y, "own-line", "circuit")
    return svg.drawing(660, 352, "Faithfulness over circuit size", *parts)


def _spaced(sizes: Sequence[int], x: Scale) -> list[int]:
    """The sizes whose labels do not run into each other."""
    kept: list[int] = []
    for size in sizes:
        if not kept or x(size) - x(kept[-1]) >= 34:
            kept.append(size)
    return kept


def _inside(value: float, y: Scale) -> float:
    return y(min(max(value, y.low), y.high))


def _band(points: list[dict[str, Any]], low: str, high: str, x: Scale, y: Scale, kind: str) -> list[Markup]:
    """The range over sizes, in pieces: no band leads over a size that has none."""
    pieces = groupby(points, lambda p: p[low] is not None and p[high] is not None)
    return [_piece(list(piece), low, high, x, y, kind) for known, piece in pieces if known]


def _piece(points: list[dict[str, Any]], low: str, high: str, x: Scale, y: Scale, kind: str) -> Markup:
    if len(points) == 1:
        at = x(points[0]["size"])
        return line(at, _inside(points[0][low], y), at, _inside(points[0][high], y), "whisker")
    outline = [(x(p["size"]), _inside(p[high], y)) for p in points] + [
        (x(p["size"]), _inside(p[low], y)) for p in reversed(points)
    ]
    return path(outline, kind, closed=True)


def _series(data: dict[str, Any], key: str, x: Scale, y: Scale, kind: str, name: str) -> list[Markup]:
    known = [p for p in data["points"] if p[key] is not None]
    parts = [path([(x(p["size"]), _inside(p[key], y)) for p in known], kind)] if len(known) > 1 else []
    for p in known:
        title = element("title", {}, f"{name}, {count(p['size'])} {data['parts']}: {percent(p[key])}")
        shape: dict[str, str | float] = {"cx": x(p["size"]), "cy": _inside(p[key], y), "r": 3.5, "class": f"{kind}-dot"}
        parts.append(element("circle", shape, title))
    return parts


# ------------------------------------------------------------ bars


def bars(data: dict[str, Any]) -> Markup:
    """Scores as horizontal bars from zero, in the order given, with their numbers. `axis`: what they are, where they are no scores of nodes."""
    rows, limit, left = data["bars"], data["limit"] or 1.0, svg.width_of(b["name"] for b in data["bars"]) + 16
    zero, half = left + 200, 150.0
    parts = [line(zero, 6, zero, 14 + 18 * len(rows), "axis")]
    for i, bar in enumerate(rows):
        y, width = 10 + 18 * i, abs(bar["score"]) / limit * half
        sign = "neg" if bar["score"] < 0 else "pos"
        box: dict[str, str | float] = {
            "x": zero - width if sign == "neg" else zero,
            "y": float(y),
            "width": width,
            "height": 14.0,
            "class": sign,
        }
        text = score(bar["score"], data["digits"])
        parts += [
            label(left - 8, y + 11, bar["name"], "end"),
            element("rect", box, element("title", {}, f"{bar['name']}: {text} {data['unit']}")),
        ]
        parts.append(
            label(zero - width - 4, y + 11, text, "end value")
            if sign == "neg"
            else label(zero + width + 4, y + 11, text, "value")
        )
    axis = data.get("axis", f"score ({data['unit']})")
    parts.append(label(zero, 32 + 18 * len(rows), f"{axis}; zero at the line", "middle name"))
    spoken = f"Bars: {axis}" if "axis" in data else f"Largest scores of {number(len(rows), 0)} nodes"
    return svg.drawing(zero + 210, 44 + 18 * len(rows), spoken, *parts)
