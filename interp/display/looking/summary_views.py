"""How statistics of a corpus look: a row for each site, and the course of one number over the layers."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from interp.activations.summary import Summary
from interp.display.plots import shown
from interp.errors import unknown
from interp.formatting import showing
from interp.formatting.html import MOST_ROWS, block, caption, joined, left_out, table, text
from interp.formatting.numbers import number, several
from interp.statistics.accumulator import StatisticError

_MOST_COLUMNS = 10


@showing.card.register
def summary_card(found: Summary) -> Markup:
    """What statistics say of each site in one number; of units there are files and tables."""
    numbers = found.numbers()
    columns = list(numbers.columns[1 : 1 + _MOST_COLUMNS])
    rows = [
        (text(str(row["site"])), str(found.width(str(row["site"]))), *(number(float(row[name])) for name in columns))
        for _, row in numbers.head(MOST_ROWS).iterrows()
    ]
    said = joined(
        several(len(found), "site"),
        several(found.n_tokens, "token"),
        several(found.n_prompts, "prompt"),
        text(found.model),
    )
    kept = ", ".join(next(iter(found.accumulators.values()), {}))
    note = f"Holds {kept}; summary[site][statistic] gives their tensors, to_pandas() a row for each unit."
    left = left_out(len(found), len(rows), "sites")
    names = ("site", "units", *(name.replace("_", " ") for name in columns))
    return block(
        "Summary", said, table(names, rows, numeric=tuple(range(1, len(names))), left=left), caption(text(note))
    )


@showing.figure.register
def summary_figure(found: Summary, number: str | None = None) -> Any:
    """One number of each site (`hoyer`, `share_pos`, ...), sites in forward order. Raises: StatisticError for one that there is not."""
    import plotly.graph_objects as go

    numbers = found.numbers()
    names = list(numbers.columns[1:])
    if not names:
        raise StatisticError(
            "these statistics have no number for a site as a whole; see to_pandas(), which has a row for each unit."
        )
    if (name := names[0] if number is None else number) not in names:
        raise StatisticError(unknown("number of the summary", name, names))
    figure = go.Figure(go.Bar(x=[shown(str(site)) for site in numbers["site"]], y=numbers[name].tolist()))
    return figure.update_layout(
        title=shown(f"{name.replace('_', ' ')}, {found.n_tokens} tokens, {found.model}"), yaxis_title=name
    )
