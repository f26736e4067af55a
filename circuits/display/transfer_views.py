"""Circuits judged on other tasks, as notebooks and figures show them."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from circuits.comparison.transfers import Transfer
from interp.display.plots import DIVERGING, HOVER, shown
from interp.formatting import showing
from interp.formatting.html import MOST_ROWS, block, caption, joined, left_out, table, text
from interp.formatting.numbers import MISSING, count, number


@showing.card.register
def transfer_card(found: Transfer) -> Markup:
    """Faithfulness of each circuit on each task, beside random circuits like it."""
    n = min(len(found.names), MOST_ROWS)
    rows = [
        (text(found.names[i]), count(len(found.parts[i])), *(_cell(found, i, j) for j in range(n))) for i in range(n)
    ]
    columns = ("circuit of", found.counts, *(f"on {name}"[:60] for name in found.names[:n]))
    said = joined(text(found.model), text(found.method), f"{found.ablation} ablation")
    where = "pairs that were held out" if found.held_out else "the pairs that the circuits were found on"
    note = f"Faithfulness on {where}; in brackets the median of random circuits with as many parts of each kind."
    left = left_out(len(found.names), n, "circuits")
    return block("Transfer", said, table(columns, rows, numeric=range(1, n + 2), left=left), caption(note))


def _cell(found: Transfer, i: int, j: int) -> str:
    return f"{_number(found.faithfulness[i, j])} ({_number(found.random[i, j])})"


def _number(value: float) -> str:
    return MISSING if math.isnan(value) else number(float(value), 2)


@showing.figure.register
def plot_transfer(found: Transfer) -> Any:
    """Faithfulness as a map: a row for each circuit, a column for the pairs that it is judged on; the scale ends at -1 and 1."""
    import plotly.graph_objects as go

    names = [shown(name) for name in found.names]
    hover = [
        [
            f"circuit of {a} on {b}: {_number(found.faithfulness[i, j])} [{_number(found.low[i, j])}, {_number(found.high[i, j])}], "
            f"random {_number(found.random[i, j])}, shared {_number(found.jaccard[i, j])}"
            for j, b in enumerate(names)
        ]
        for i, a in enumerate(names)
    ]
    grid = [[None if math.isnan(v) else float(v) for v in line] for line in found.faithfulness]
    heat = go.Heatmap(
        z=grid,
        x=names,
        y=names,
        text=hover,
        hovertemplate=HOVER,
        colorscale=DIVERGING,
        zmin=-1.0,
        zmax=1.0,
        colorbar={"title": {"text": "faithfulness"}},
    )
    title = shown(f"Circuits by {found.method} judged on each other's pairs ({found.model}, {found.ablation})")
    axes = {
        "xaxis": {"title": "judged on", "type": "category"},
        "yaxis": {"title": "circuit of", "type": "category", "autorange": "reversed"},
    }
    return go.Figure(heat).update_layout(title=title, plot_bgcolor="#BBBBBB", **axes)
