"""How pairs of tokens show themselves: the matrix of two texts as a table of shaded cells, and as a plotly heat map."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from markupsafe import Markup

from interp.attribution.pair_attribution import FOUR, PairAttribution
from interp.display.plots import DIVERGING, shown, shown_token
from interp.formatting import showing
from interp.formatting.html import block, caption, element, joined, left_out, shaded, text
from interp.formatting.numbers import decimals, number, score, several
from interp.formatting.text import token

MOST_PAIRS: Final = 2
MOST_TOKENS: Final = 20
_CELL: Final = "padding: 1px 5px; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap"


@showing.card.register
def pairs_card(found: PairAttribution) -> Markup:
    """The matrices of the first pairs, a row for each token of the first text, with the four similarities below."""
    n = min(MOST_PAIRS, len(found))
    said = joined(several(len(found), "pair"), text(found.similarity), text(found.model))
    note = (
        f"What a token of the first text (rows) and one of the second (columns) add together to their similarity; "
        f"reference {found.reference}, layer {found.layer}, {found.steps} points."
    )
    left = left_out(len(found), n, "pairs")
    return block("PairAttribution", said, *(_matrix(found, pair) for pair in range(n)), caption(note, left))


def _matrix(found: PairAttribution, pair: int) -> Markup:
    values, largest = found.matrix(pair), float(np.abs(found.matrix(pair)).max(initial=0.0))
    a, b = found.tokens_a[pair][:MOST_TOKENS], found.tokens_b[pair][:MOST_TOKENS]
    digits = decimals([largest], 2)
    head = element("tr", element("th", ""), *(element("th", _token(t), style=_CELL) for t in b))
    rows = [
        element("tr", element("th", _token(t), style=_CELL), *(_cell(float(v), largest, digits) for v in row))
        for t, row in zip(a, values[: len(a), : len(b)], strict=True)
    ]
    grid = element("table", head, *rows, style="border-collapse: collapse; font-size: .9em; margin-top: 4px")
    four = ", ".join(f"s({name}) {number(s, 3)}" for name, s in zip(FOUR, found.similarities[pair], strict=True))
    left = f"Tokens behind the first {MOST_TOKENS} are not shown. " if values.size > len(a) * len(b) else ""
    total = f"Sum of the matrix {score(float(values.sum()), 3)}, missing {score(found.delta[pair], 3)}."
    return grid + caption(f"{left}{four}. {total}")


def _cell(value: float, limit: float, digits: int) -> Markup:
    return element("td", shaded(score(value, digits), value, limit), style=_CELL)


def _token(text_of: str) -> Markup:
    return Markup("<bdi>{}</bdi>").format(token(text_of))


@showing.figure.register
def plot_pairs(found: PairAttribution, pair: int = 0) -> Any:
    """The matrix of one pair: a row for each token of the first text, colours centred at zero. Raises: InterpError for a pair there is not."""
    import plotly.graph_objects as go

    values = found.matrix(pair)
    a, b = ([f"{i} {shown_token(t)}" for i, t in enumerate(side[pair])] for side in (found.tokens_a, found.tokens_b))
    heat = go.Heatmap(z=values.tolist(), x=b, y=a, colorscale=DIVERGING, zmid=0)
    heat.hovertemplate = "%{y} with %{x}: %{z:.4f}<extra></extra>"
    heat.colorbar.title = shown(found.similarity)
    figure = go.Figure(heat).update_yaxes(type="category", autorange="reversed").update_xaxes(type="category")
    title = shown(f"Pairs of tokens, {found.similarity} {found.similarities[pair][0]:.3f}, {found.model}")
    return figure.update_layout(title=title, height=200 + 26 * len(a), width=260 + 36 * len(b))
