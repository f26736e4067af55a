"""Attention patterns as small drawings: a row per token that looks, a column per token looked at."""

from __future__ import annotations

from typing import Any, Final

from markupsafe import Markup

from circuits.report.drawing import svg
from circuits.report.drawing.svg import element, label
from interp.formatting.numbers import number

#: Thousandths from which a cell is drawn, and from which it says its value when the pointer rests on it.
FROM: Final = 25
SAID_FROM: Final = 100
#: Pixels for all cells of a row, within limits for one.
WIDE: Final = 190.0
LARGEST: Final = 14.0
#: As high as the names beside them; a long prompt makes a drawing that is scrolled.
SMALLEST: Final = 11.0


def pattern(data: dict[str, Any]) -> Markup:
    """`tokens` and `columns` as they are shown, `labels` and `columns_labels` cut to fit, `rows` in thousandths [query][key], `skipped` and
    `skipped_columns` tokens before the first."""
    rows, labels, columns = data["rows"], data["labels"], data["columns_labels"]
    cell = max(SMALLEST, min(LARGEST, WIDE / max(len(columns), 1)))
    margin = 10 + 6.8 * max(map(len, (*labels, *columns)), default=0)
    high, wide = len(labels) * cell, len(columns) * cell
    parts = [element("rect", {"x": margin, "y": margin, "width": wide, "height": high, "class": "frame"})]
    places = [margin + (i + 0.5) * cell + 3.5 for i in range(max(len(labels), len(columns)))]
    parts += [label(margin - 5, at, text, "end tick") for at, text in zip(places, labels, strict=False)]
    parts += [label(at, margin - 5, text, "tick", turn=-90) for at, text in zip(places, columns, strict=False)]
    parts += _faint(rows, margin, cell)
    strong = ((i, j) for i, row in enumerate(rows) for j, weight in enumerate(row) if weight >= SAID_FROM)
    parts += [_cell(data, i, j, margin, cell) for i, j in strong]
    return svg.drawing(margin + wide + 6, margin + high + 4, f"Attention pattern of {data['head']}", *parts)


def _cell(data: dict[str, Any], i: int, j: int, margin: float, cell: float) -> Markup:
    weight = data["rows"][i][j] / 1000
    who = f"{data['tokens'][i]} (position {i + data['skipped']})"
    whom = f"{data['columns'][j]} (position {j + data['skipped_columns']})"
    title = element("title", {}, f"{who} looks at {whom}: {number(weight, 2)}")
    place: dict[str, str | float] = {"x": margin + j * cell, "y": margin + i * cell, "width": cell, "height": cell}
    return element("rect", {**place, "class": "look", "fill-opacity": weight}, title)


def _faint(rows: list[list[int]], margin: float, cell: float) -> list[Markup]:
    """The weak cells, those of about the same weight as one path: there are many of them."""
    found: dict[int, list[str]] = {}
    for i, row in enumerate(rows):
        for j, weight in enumerate(row):
            if FROM <= weight < SAID_FROM:
                box = f"M{margin + j * cell:.1f} {margin + i * cell:.1f}h{cell:.1f}v{cell:.1f}h-{cell:.1f}z"
                found.setdefault(round(weight / 50) * 50, []).append(box)
    # Made of numbers only, so that it is safe, and never cut as long text is.
    return [
        element("path", {"d": Markup("".join(boxes)), "class": "look", "fill-opacity": level / 1000})
        for level, boxes in sorted(found.items())
    ]
