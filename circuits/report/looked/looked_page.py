"""The page of a look inside a model, as plain data: sentences, and of each section a figure and rows with their numbers written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from circuits.report.drawing import figures
from circuits.report.looked import line_chart
from circuits.runs.looked import Bars, Cell, HeatMap, Lines, Looked, Rows, Section
from interp.formatting.numbers import count, decimals, number, score

#: What a manifest says that the page shows, by its title there.
SHOWN: Final = (
    "command",
    "options",
    "model",
    "versions",
    "machine",
    "created",
    "seconds",
    "multiply_adds",
    "forwards_total",
)
#: Cells of a heat map are wide enough for their numbers up to so many columns.
_NUMBERS: Final = 12


def payload(found: Looked, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data, and pictures as markup."""
    return {
        "title": found.title,
        "sentences": found.sentences,
        "numbers": [{"name": n.name.replace("_", " "), "value": _written(n.value)} for n in found.numbers],
        "sections": [_section(section) for section in found.sections],
        "run": {name: manifest[name] for name in SHOWN if name in manifest},
    }


def _section(section: Section) -> dict[str, Any]:
    rows = section.rows
    return {
        "title": section.title,
        "text": section.text,
        "drawing": None if section.figure is None else drawing(section.figure, section.title),
        "rows": None if rows is None else _rows(rows),
    }


# ---------------------------------------------------------------- figures


def drawing(figure: Bars | HeatMap | Lines, title: str) -> Markup:
    """A figure as SVG."""
    if isinstance(figure, Bars):
        return figures.bars(_bars(figure))
    if isinstance(figure, HeatMap):
        return figures.heat_map(_map(figure, title))
    lines = [{"name": line.name, "values": line.values} for line in figure.lines]
    return line_chart.line_chart({"x": figure.x, "lines": lines, "x_title": figure.x_title, "y_title": figure.y_title})


def _bars(figure: Bars) -> dict[str, Any]:
    sizes = list(map(abs, figure.values))
    return {
        "bars": [{"name": n, "score": v} for n, v in zip(figure.names, figure.values, strict=True)],
        "limit": max(sizes, default=0.0),
        "digits": decimals(sizes),
        "unit": figure.unit,
        "axis": figure.unit,
    }


def _map(figure: HeatMap, title: str) -> dict[str, Any]:
    sizes = [abs(v) for line in figure.values for v in line if v is not None]
    return {
        "title": title,
        "rows": figure.rows,
        "columns": figure.columns,
        "values": figure.values,
        "marked": [[False] * len(figure.columns)] * len(figure.rows),
        "names": [[f"{row}, {column}" for column in figure.columns] for row in figure.rows],
        "row_title": figure.row_title,
        "column_title": figure.column_title,
        "limit": max(sizes, default=0.0),
        "digits": min(3, decimals(sizes, 3)),
        "numbers": len(figure.columns) <= _NUMBERS,
        "signed": figure.signed,
        "unit": figure.unit,
    }


# ---------------------------------------------------------------- rows


def _rows(rows: Rows) -> dict[str, Any]:
    """Every column with one number of digits; a column of numbers ends at the right."""
    columns = list(zip(*rows.lines, strict=True))
    numeric = [all(v is None or _is_number(v) for v in column) for column in columns]
    return {
        "columns": [
            {"name": n, "numeric": right}
            for n, right in zip(rows.columns, numeric or [False] * len(rows.columns), strict=True)
        ],
        "lines": written_rows(rows),
        "left": f"The first {count(len(rows.lines))} of {count(rows.n)} rows." if rows.n > len(rows.lines) else "",
    }


def written_rows(rows: Rows) -> list[tuple[str, ...]]:
    """The lines with their numbers written, each column with one number of digits."""
    columns = [_column(column) for column in zip(*rows.lines, strict=True)]
    return list(zip(*columns, strict=True))


def _is_number(value: Cell) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _column(values: Sequence[Cell]) -> list[str]:
    floats = [v for v in values if isinstance(v, float)]
    digits = decimals(floats)
    write = score if any(v < 0 for v in floats) else number
    return [write(v, digits) if isinstance(v, float) else _written(v) for v in values]


def _written(value: Cell) -> str:
    """A cell on its own."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    return value if isinstance(value, str) else number(value)
