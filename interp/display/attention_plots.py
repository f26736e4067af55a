"""Where heads look, as plotly heat maps: tokens on both axes, a map for each head.

Axis words: `head q_pos k_pos`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from interp.display.plots import SEQUENTIAL, shown, shown_token
from interp.errors import InterpError
from interp.formatting import showing
from interp.heads.patterns import AttentionPatterns, attention_patterns

MOST_HEADS: Final = 16
MOST_COLUMNS: Final = 4
_SIDE: Final = 260
_LABEL: Final = 12


def plot_attention(given: Any, prompt: Any = None, *, heads: str | Sequence[str] | None = None) -> Any:
    """The attention patterns of some heads on one prompt: a query token per row, a key token per column.

    given: a model, with its `prompt` (text, or ids [pos]); or `AttentionPatterns`. heads: names such as `a3.h2`; by default the
    first `MOST_HEADS`, and the title says how many are left out. Units: attention weight, 0 to 1; every map has the same scale.
    Raises: InterpError for a head that does not exist, or a prompt that is missing or not needed; what `attention_patterns` raises.
    """
    names = [heads] if isinstance(heads, str) else None if heads is None else list(dict.fromkeys(heads))
    if names is not None and not names:
        raise InterpError("heads: none given; expected one or more, for example heads=['a0.h0'].")
    if isinstance(given, AttentionPatterns) != (prompt is None):
        raise InterpError("plot_attention takes a model and a prompt, or attention patterns alone.")
    found = given if isinstance(given, AttentionPatterns) else attention_patterns(given, prompt)
    chosen = list(found.heads[:MOST_HEADS]) if names is None else names
    left = len(found.heads) - len(chosen) if names is None else 0
    return _maps({name: found[name] for name in chosen}, found, left)


@showing.figure.register
def patterns_figure(found: AttentionPatterns, heads: str | Sequence[str] | None = None) -> Any:
    return plot_attention(found, heads=heads)


def _maps(patterns: dict[str, np.ndarray], found: AttentionPatterns, left: int) -> Any:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    columns = min(MOST_COLUMNS, len(patterns))
    rows = math.ceil(len(patterns) / columns)
    figure = make_subplots(
        rows, columns, subplot_titles=list(patterns), horizontal_spacing=0.09, vertical_spacing=0.3 / rows
    )
    labels, columns_said = (
        [f"{i} {shown_token(t, _LABEL)}" for i, t in enumerate(names)] for names in (found.tokens, found.looked_at)
    )
    for i, (name, weights) in enumerate(patterns.items()):
        heat = go.Heatmap(z=np.round(weights, 5).tolist(), x=columns_said, y=labels, coloraxis="coloraxis")
        heat.hovertemplate = f"{name}: %{{y}} looks at %{{x}}, weight %{{z:.3f}}<extra></extra>"
        figure.add_trace(heat, row=i // columns + 1, col=i % columns + 1)
    figure.update_yaxes(type="category", autorange="reversed", tickfont={"size": 9})
    figure.update_xaxes(type="category", tickangle=-90, tickfont={"size": 9})
    note = f"; {left} more heads are left out" if left else ""
    scale = {"colorscale": SEQUENTIAL, "cmin": 0.0, "cmax": 1.0, "colorbar": {"title": {"text": "weight"}}}
    whose = shown(f" of {found.model}") if found.model else ""
    # In two lines: the figure of one head is narrow.
    title = f"Attention weights{whose}<br><sup>a row per query token, a column per key token{note}</sup>"
    side = _SIDE + 4 * min(max(len(labels), len(columns_said)), 40)
    return figure.update_layout(title=title, coloraxis=scale, height=140 + rows * side, width=160 + columns * side)
