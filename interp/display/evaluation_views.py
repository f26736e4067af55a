"""How an evaluation of token attributions looks: a table of measures by method, and the curves with the band of random orders."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from interp.display.plots import COLOURS, GREY, shown
from interp.evaluation.token_evaluation import RANDOM, Curve, Judgement, TokenEvaluation
from interp.formatting import showing
from interp.formatting.html import MOST_ROWS, block, caption, joined, left_out, table, text
from interp.formatting.numbers import MISSING, interval, number, several
from interp.scores.resampling import Estimate


@showing.card.register
def evaluation_card(found: TokenEvaluation) -> Markup:
    """A row for each measure of each method, with the interval over the pairs and what random orders give."""
    rows = [_row(row) for row in found.rows[:MOST_ROWS]]
    said = joined(
        Markup("{} on {}").format(text(found.task), text(found.model)),
        several(found.n_pairs, "pair"),
        f"{number(found.groups, 1)} groups of a prompt can be replaced",
    )
    note = Markup(
        "Mean over pairs with 95 % bootstrap intervals, of {} in {}; tokens are replaced by the {} baseline, scored as {}. "
        "Random: mean of {} random orders, lowest and highest."
    ).format(text(found.metric), text(found.unit), text(found.baseline), text(found.features), found.orders)
    left = left_out(len(found.rows), len(rows), "rows")
    columns = ("method", "measure", "better", "value", "", "random orders", "", "pairs")
    return block("TokenEvaluation", said, table(columns, rows, numeric=(3, 5, 7), left=left), caption(note))


def _row(row: Judgement) -> tuple[str | Markup, ...]:
    own, other = (*_shown(row.estimate),), _shown(row.random) if row.random else ("", "")
    return text(row.method), text(row.measure), row.better, *own, *other, str(row.n)


def _shown(found: Estimate) -> tuple[str, str]:
    """A value and its interval."""
    if found.value is None:
        return MISSING, ""
    ends = None if found.low is None or found.high is None else (found.low, found.high)
    return number(found.value), "" if ends is None else interval(ends)


@showing.figure.register
def evaluation_figure(found: TokenEvaluation) -> Any:
    """Deletion on the left, insertion on the right: a line for each method with its interval, the grey band of random orders behind them."""
    from plotly.subplots import make_subplots

    figure = make_subplots(1, 2, shared_yaxes=True, subplot_titles=("deletion", "insertion"))
    colours = {method: COLOURS[i % len(COLOURS)] for i, method in enumerate(found.methods)}
    for curve in sorted(found.curves, key=lambda curve: curve.method != RANDOM):
        column = 1 if curve.kind == "deletion" else 2
        random = curve.method == RANDOM
        colour = GREY if random else colours.get(curve.method, GREY)
        for line in _lines(curve, "random orders" if random else shown(curve.method), colour, column == 1):
            figure.add_trace(line, row=1, col=column)
    figure.update_xaxes(title="groups replaced", tickformat=".0%", col=1)
    figure.update_xaxes(title="groups put in", tickformat=".0%", col=2)
    figure.update_yaxes(title=shown(f"{found.metric} ({found.unit})"), col=1)
    return figure.update_layout(
        title=shown(f"Deletion and insertion on {found.task}, {several(found.n_pairs, 'pair')}")
    )


def _lines(curve: Curve, name: str, colour: str, legend: bool) -> list[Any]:
    """The band of a curve, and the curve."""
    import plotly.graph_objects as go

    there, back = list(curve.shares), list(curve.shares)[::-1]
    band = go.Scatter(
        x=there + back,
        y=[*curve.high, *curve.low[::-1]],
        fill="toself",
        mode="none",
        fillcolor=colour,
        opacity=0.2,
        hoverinfo="skip",
        showlegend=False,
        legendgroup=name,
    )
    points = zip(curve.shares, curve.mean, curve.low, curve.high, strict=True)
    hover = [f"{name}, {share:.0%}: {mean:.4g} [{low:.4g}, {high:.4g}]" for share, mean, low, high in points]
    line = go.Scatter(
        x=there,
        y=list(curve.mean),
        mode="lines+markers",
        name=name,
        line={"color": colour},
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        showlegend=legend,
        legendgroup=name,
    )
    return [band, line]
