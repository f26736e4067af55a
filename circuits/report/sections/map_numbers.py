"""The numbers of a heat-map as a table, for those who do not see it: small maps whole, of large ones the strongest cells."""

from __future__ import annotations

from typing import Any, Final

MOST_CELLS: Final = 300
STRONGEST: Final = 40


def map_numbers(data: dict[str, Any]) -> dict[str, Any]:
    """The rows of the table. `whole`: a row for each of the map, in order of layers; else a row for each of the strongest cells.

    `n`: how many cells have a value; `marks`: whether one of those shown is in the circuit.
    """
    values, marked = data["values"], data["marked"]
    cells = [
        {"name": data["names"][i][j], "value": value, "in": marked[i][j]}
        for i, row in enumerate(values)
        for j, value in enumerate(row)
        if value is not None
    ]
    whole = len(data["rows"]) * len(data["columns"]) <= MOST_CELLS
    shown = cells if whole else sorted(cells, key=lambda cell: -abs(cell["value"]))[:STRONGEST]
    return {
        "whole": whole,
        "rows": [
            {"name": name, "cells": [{"value": v, "in": m} for v, m in zip(row, marks, strict=True)]}
            for name, row, marks in zip(data["rows"], values, marked, strict=True)
        ]
        if whole
        else shown,
        "n": len(cells),
        "shown": len(shown),
        "marks": any(cell["in"] for cell in shown),
    }
