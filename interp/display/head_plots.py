"""Plotly figures of what heads look at over many texts: a measure by layer and head, distances, groups, relations."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from interp.display.plots import COLOURS, GREY, SEQUENTIAL, SYMBOLS, shown
from interp.errors import InterpError
from interp.formatting import showing
from interp.heads.clusters import HeadClusters
from interp.heads.distances import HeadDistances
from interp.heads.relations import HeadRelations
from interp.heads.statistics import HeadStatistics

_FIRST: Final = "to_offset(-1)"


@showing.figure.register
def plot_statistics(found: HeadStatistics, measure: str | None = None) -> Any:
    """One measure of every head: a row for each layer, layer 0 at the bottom, a column for each head. measure: by default the weight on the token before,
    where that is among them. Raises: InterpError for an unknown one."""
    import plotly.graph_objects as go

    name = measure or (_FIRST if _FIRST in found.measures else found.measures[0])
    layers = list(dict.fromkeys(head.rpartition(".")[0] for head in found.heads))
    values = found[name].reshape(len(layers), -1)
    columns = [f"h{i}" for i in range(values.shape[1])]
    entropy = "entropy" in name
    cells = [[None if not np.isfinite(v) else round(float(v), 5) for v in row] for row in values]
    heat = go.Heatmap(z=cells, x=columns, y=layers, colorscale=SEQUENTIAL, zmin=0, zmax=None if entropy else 1)
    heat.hovertemplate = "%{y}.%{x}: %{z:.3f}<extra></extra>"
    heat.colorbar.title = "nats" if entropy else "weight"
    figure = go.Figure(heat).update_yaxes(type="category", title="layer")
    title = shown(f"{name} of every head, {len(found.per_example)} texts, {found.model}")
    return figure.update_xaxes(type="category", title="head").update_layout(
        title=title, height=200 + 22 * len(layers), width=220 + 34 * len(columns)
    )


@showing.figure.register
def plot_distances(found: HeadDistances) -> Any:
    """The distance of any two heads."""
    import plotly.graph_objects as go

    names = list(map(shown, found.heads))
    heat = go.Heatmap(z=np.round(found.distances, 4).tolist(), x=names, y=names, colorscale=SEQUENTIAL, zmin=0)
    heat.hovertemplate = "%{y} and %{x}: %{z:.3f}<extra></extra>"
    heat.colorbar.title = "nats" if found.metric == "js" else "share"
    figure = go.Figure(heat).update_yaxes(autorange="reversed", type="category").update_xaxes(type="category")
    return figure.update_layout(
        title=shown(f"How differently heads look ({found.metric}), {found.n_examples} texts, {found.model}"),
        width=720,
        height=700,
    )


@showing.figure.register
def plot_clusters(found: HeadClusters) -> Any:
    """Every head in the plane that keeps the distances best, coloured by its group."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for label, heads in enumerate(found.members):
        at = found.places[found.labels == label]
        figure.add_scatter(
            x=at[:, 0].tolist(), y=at[:, 1].tolist(), mode="markers", name=f"group {label} ({len(heads)})",
            hovertext=list(map(shown, heads)), hoverinfo="text",
            marker={"color": COLOURS[label % len(COLOURS)], "symbol": SYMBOLS[label % len(SYMBOLS)], "size": 9},
        )  # fmt: skip
    kept = f"{100 * found.share:.0f} % of what the distances hold"
    figure.update_yaxes(scaleanchor="x")
    return figure.update_layout(
        title=f"{shown(f'Heads that look alike, {found.model}')}<br><sup>{kept}</sup>", height=600
    )


@showing.figure.register
def plot_relations(found: HeadRelations) -> Any:
    """How often the head of each relation is right on texts that did not choose it, and the best fixed offset.

    Raises: InterpError where no relation is in both parts.
    """
    import plotly.graph_objects as go

    rows = [row for row in found.rows if row.accuracy is not None]
    if not rows:
        raise InterpError("no relation is in both parts of the texts; annotate more of them.")
    names = [f"{shown(row.relation)} ({row.n})" for row in rows]
    values = [row.accuracy or 0.0 for row in rows]
    above = [(v if row.high is None else row.high) - v for row, v in zip(rows, values, strict=True)]
    below = [v - (v if row.low is None else row.low) for row, v in zip(rows, values, strict=True)]
    error = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    figure = go.Figure()
    figure.add_scatter(
        x=values, y=names, error_x=error, mode="markers", name="head", marker={"color": COLOURS[0], "size": 9},
        hovertext=[f"{row.head} {row.direction}" for row in rows],
    )  # fmt: skip
    figure.add_scatter(
        x=[row.offset_accuracy for row in rows], y=names, mode="markers", name="best fixed offset",
        marker={"color": GREY, "symbol": "square-open", "size": 14}, hovertext=[f"offset {row.offset}" for row in rows],
    )  # fmt: skip
    figure.update_yaxes(title="relation (pairs held out)", type="category", autorange="reversed")
    figure.update_xaxes(title="right, share of pairs", range=[0, 1.02])
    return figure.update_layout(title=shown(f"Heads that follow relations, {found.model}"), height=220 + 30 * len(rows))
