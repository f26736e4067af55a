"""Plotly figures for notebooks: a map of scores, an approximation against exact patching, a faithfulness curve.

Each function takes a value and returns a `plotly.graph_objects.Figure`; nothing is computed that the value does not hold.
"""

from __future__ import annotations

import html
from dataclasses import replace
from typing import Any, Final

import numpy as np

from circuits.evaluation import Evaluation
from interp.nodes import Node
from interp.oracle import agreement, headlines
from interp.scores import Scores

MOST_BARS: Final = 30
#: Red to blue through white, the same lightness on both sides: told apart with every common colour blindness.
SCALE: Final = "RdBu"
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SYMBOLS: Final = ("circle", "square", "triangle-up", "diamond", "x", "cross")
GREY: Final = "#777777"
DOTTED: Final = {"color": GREY, "dash": "dot"}


def plot_scores(scores: Scores) -> Any:
    """Mean scores as a heat map: layer by head and MLP, or component by position where positions are scored apart.

    Neurons are too many for a map: the largest are bars. Colours are centred at zero. Units: those of the metric.
    """
    import plotly.graph_objects as go

    p = scores.provenance
    title = html.escape(f"{p.method} on {p.task}, {p.direction}, {p.n_pairs} pairs ({p.unit})")
    apart = p.positions != "all"
    if p.level == "neurons" and not apart:
        return _bars(scores).update_layout(title=title, xaxis_title=f"score ({html.escape(p.unit)})")
    cells = {_cell(node, apart): i for i, node in enumerate(scores.parts)}
    rows, columns = (list(dict.fromkeys(key[axis] for key in cells)) for axis in (0, 1))
    at = [[cells.get((row, column)) for column in columns] for row in rows]
    figure = go.Figure(
        go.Heatmap(
            z=[[None if i is None else float(scores.mean[i]) for i in line] for line in at],
            x=columns,
            y=rows,
            text=[["not scored" if i is None else _hover(scores, i) for i in line] for line in at],
            hovertemplate="%{text}<extra></extra>",
            colorscale=SCALE,
            zmid=0.0,
            colorbar={"title": {"text": html.escape(p.unit)}},
        )
    )
    names = ("position", "component") if apart else ("component of the layer", "layer")
    # Grey is where nothing was scored; the scale itself has no grey.
    return figure.update_layout(
        title=title,
        plot_bgcolor="#BBBBBB",
        xaxis={"title": names[0], "type": "category", "showgrid": False},
        yaxis={"title": names[1], "type": "category", "showgrid": False, "autorange": "reversed"},
    )


def plot_agreement(scores: Scores, exact: Scores) -> Any:
    """Approximate scores over exact ones, one mark per node and one colour per kind; on the dotted line both agree.

    The title quotes Pearson correlations with their 95 % intervals for the kinds that have enough nodes.
    Raises: ScoreError where the two were made under different conventions.
    """
    import plotly.graph_objects as go

    found = agreement(scores, exact)
    column = {node.name: i for i, node in enumerate(scores.parts)}
    ours = scores.mean[[column[node.name] for node in exact.parts]]
    ends = [float(min(ours.min(), exact.mean.min())), float(max(ours.max(), exact.mean.max()))]
    figure = go.Figure(go.Scatter(x=ends, y=ends, mode="lines", line=DOTTED, name="equal", hoverinfo="skip"))
    for k, kind in enumerate(dict.fromkeys(node.kind for node in exact.parts)):
        keep = [i for i, node in enumerate(exact.parts) if node.kind == kind]
        marker = {"size": 9, "color": COLOURS[k % len(COLOURS)], "symbol": SYMBOLS[k % len(SYMBOLS)]}
        figure.add_scatter(
            x=exact.mean[keep],
            y=ours[keep],
            mode="markers",
            name=kind,
            marker=marker,
            text=[html.escape(exact.parts[i].name) for i in keep],
            hovertemplate="%{text}: exact %{x:.4f}, estimate %{y:.4f}<extra></extra>",
        )
    method, unit = html.escape(found.method), html.escape(exact.provenance.unit)
    quoted = html.escape("; ".join(headlines(found)) or "too few nodes to quote")
    return figure.update_layout(
        title=f"{method} against exact patching<br><sup>Pearson: {quoted}</sup>",
        xaxis_title=f"exact patching ({unit})",
        yaxis_title=f"{method} ({unit})",
    )


def plot_evaluation(evaluation: Evaluation) -> Any:
    """Faithfulness over circuit size with 95 % intervals, and every random circuit of the same sizes and kinds."""
    import plotly.graph_objects as go

    found = [p for p in evaluation.curve if p.faithfulness.value is not None]
    value, low, high = (np.array([getattr(p.faithfulness, k) for p in found], float) for k in ("value", "low", "high"))
    twins = [(p.size, twin) for p in evaluation.curve for twin in p.random if twin is not None]
    x, y = [size for size, _ in twins], [twin for _, twin in twins]
    marker, hover = {"color": GREY, "size": 5, "opacity": 0.5}, "random circuit of %{x} nodes: %{y:.3f}<extra></extra>"
    figure = go.Figure(go.Scatter(x=x, y=y, mode="markers", name="random circuits", marker=marker, hovertemplate=hover))
    figure.add_scatter(
        x=[p.size for p in found],
        y=value,
        error_y={"type": "data", "symmetric": False, "array": high - value, "arrayminus": value - low},
        mode="lines+markers",
        name="circuit",
        line={"color": COLOURS[0]},
        hovertemplate="first %{x} nodes of the ranking: %{y:.3f}<extra></extra>",
    )
    figure.add_hline(y=0.0, line=DOTTED).add_hline(y=1.0, line=DOTTED)
    figure.add_vline(x=evaluation.size, line={"color": COLOURS[1], "dash": "dash"})
    pairs = f"{evaluation.n_pairs} {'held-out ' if evaluation.held_out else ''}pairs"
    why = f"<br><sup>undefined: {html.escape(evaluation.reason)}</sup>" if evaluation.reason else ""
    return figure.update_layout(
        title=f"Faithfulness on {pairs}; dashed: the circuit, {evaluation.size} of {evaluation.n_nodes} nodes{why}",
        xaxis={
            "title": "nodes in the circuit (log scale)",
            "type": "log",
            "tickvals": [p.size for p in evaluation.curve],
        },
        yaxis_title=f"faithfulness (share of the {html.escape(evaluation.metric)})",
    )


def _cell(node: Node, apart: bool) -> tuple[str, str]:
    """Row and column: component and position, or layer and component."""
    if apart:
        return replace(node, position=None).name, html.escape(str(node.position))
    column = node.kind if node.unit is None else html.escape(node.name.split(".", 1)[1])
    return "none" if node.layer is None else str(node.layer), column


def _hover(scores: Scores, i: int) -> str:
    error = f" ± {scores.stderr[i]:.4f}" if len(scores.per_example) > 1 else ""
    return html.escape(f"{scores.parts[i].name}: {scores.mean[i]:+.4f}{error} {scores.provenance.unit}")


def _bars(scores: Scores) -> Any:
    import plotly.graph_objects as go

    order = [int(i) for i in scores.rank()[:MOST_BARS]][::-1]
    values, names = [float(scores.mean[i]) for i in order], [scores.parts[i].name for i in order]
    bar = go.Bar(x=values, y=names, orientation="h", hoverinfo="text")
    bar.marker.color = [COLOURS[0] if value >= 0 else COLOURS[1] for value in values]
    bar.hovertext = [_hover(scores, i) for i in order]
    figure = go.Figure(bar).update_layout(height=180 + 18 * len(order))
    return figure.update_yaxes(title=f"neuron, the {len(order)} largest of {len(scores.parts)}", dtick=1)
