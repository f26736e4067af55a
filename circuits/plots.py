"""Plotly figures for notebooks: a map of scores, a circuit of edges as a graph, an approximation against exact patching,
a faithfulness curve.

Each function takes a value and returns a `plotly.graph_objects.Figure`; nothing is computed that the value does not hold.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

import numpy as np

from circuits.circuit import Circuit
from circuits.evaluation import Evaluation
from circuits.report.edges import by_edge, most_important
from circuits.report.layered import Layered, box_name, layered
from interp.graph import Edge, Part
from interp.nodes import FEATURE_EDGES, FEATURES, Node
from interp.oracle import Agreement, agreement, headlines
from interp.scores import Scores

MOST_BARS: Final = 30
#: Red to blue through white, the same lightness on both sides: told apart with every common colour blindness.
SCALE: Final = "RdBu"
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SYMBOLS: Final = ("circle", "square", "triangle-up", "diamond", "x", "cross")
GREY: Final = "#777777"
DOTTED: Final = {"color": GREY, "dash": "dot"}
SIGNS: Final = {"for the answer": COLOURS[0], "against the answer": COLOURS[1], "no score": GREY}
DASHES: Final = {"q": "dash", "k": "dot"}
READ_BY: Final = {"dash": "query", "dot": "key", "solid": "value, MLP or logits"}
#: Steps of line width between the weakest and the strongest edge.
WIDTHS: Final = 4
#: q left and v right of k, so that edges between the same two heads lie beside each other.
ASIDE: Final = {"q": -0.04, "v": 0.04}
HOVER: Final = "%{text}<extra></extra>"
Effects = Mapping[str, tuple[float, float]]


def plot_scores(scores: Scores) -> Any:
    """Mean scores as a heat map: layer by head and MLP, or component by position where positions are scored apart.

    Neurons, features and edges are too many for a map: the largest are bars. Colours are centred at zero. Units: those of the metric.
    """
    import plotly.graph_objects as go

    p = scores.provenance
    title = html.escape(f"{p.method} on {p.task}, {p.direction}, {p.n_pairs} pairs ({p.unit})")
    apart = p.positions != "all"
    if p.level in ("edges", FEATURE_EDGES) or (p.level in ("neurons", FEATURES) and not apart):
        return _bars(scores).update_layout(title=title, xaxis_title=f"score ({html.escape(p.unit)})")
    nodes = cast(tuple[Node, ...], scores.parts)
    cells = {_cell(node, apart): i for i, node in enumerate(nodes)}
    rows, columns = (list(dict.fromkeys(key[axis] for key in cells)) for axis in (0, 1))
    at = [[cells.get((row, column)) for column in columns] for row in rows]
    figure = go.Figure(
        go.Heatmap(
            z=[[None if i is None else float(scores.mean[i]) for i in line] for line in at],
            x=columns,
            y=rows,
            text=[["not scored" if i is None else _hover(scores, i) for i in line] for line in at],
            hovertemplate=HOVER,
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


def plot_circuit(circuit: Circuit, scores: Scores | None = None) -> Any:
    """A circuit of edges as a graph: layers from the embedding at the bottom to the logits at the top.

    With `scores` of edges, colour is the sign of an edge's importance and width its size; without, all look alike.
    Queries are dashed and keys dotted. Above `MOST_DRAWN` edges only the strongest are drawn, and the title says so.

    Raises: CircuitError for a circuit of nodes; ScoreError for scores of nodes.
    """
    import plotly.graph_objects as go

    effects = by_edge(scores) if scores is not None else {}
    unit = scores.provenance.unit if scores is not None else ""
    drawn = most_important(circuit.edges, effects)
    places, figure = layered(drawn), go.Figure()
    shown: set[tuple[str, str]] = set()
    for (sign, dash, step), edges in _alike(drawn, effects).items():
        figure.add_scatter(**_curves(edges, places, effects, unit), mode="lines", name=f"{sign}, {READ_BY[dash]}")
        trace = figure.data[-1]
        trace.line = {"color": SIGNS[sign], "dash": dash, "width": 1 + 1.5 * step}
        trace.update(legendgroup=f"{sign} {dash}", showlegend=(sign, dash) not in shown, hovertemplate=HOVER)
        shown.add((sign, dash))
    left = len(circuit) - len(drawn)
    note = f", the strongest {len(drawn)} drawn, {left} left out" if left else ""
    title = f"{len(circuit)} edges on {circuit.task} ({circuit.method}){note}"
    return _boxed(figure, places).update_layout(title=html.escape(title))


def _alike(edges: list[Edge], effects: Effects) -> dict[tuple[str, str, int], list[Edge]]:
    """Edges by sign, dash and step of width, thin ones first: a trace has one of each."""
    limit = max((abs(effects[e.name][1]) for e in edges if e.name in effects), default=0.0)
    found: dict[tuple[str, str, int], list[Edge]] = {}
    for edge in edges:
        importance = effects[edge.name][1] if edge.name in effects else None
        sign = "no score" if importance is None else "against the answer" if importance < 0 else "for the answer"
        step = round(WIDTHS * abs(importance) / limit) if importance and limit else 0
        found.setdefault((sign, DASHES.get(edge.receiver.kind, "solid"), step), []).append(edge)
    return dict(sorted(found.items(), key=lambda item: item[0][2]))


def _curves(edges: list[Edge], places: Layered, effects: Effects, unit: str) -> dict[str, list[Any]]:
    """The points of some edges, apart from each other, each point with the name and score of its edge."""
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str] = []
    t = np.linspace(0.0, 1.0, 17)
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    for edge in edges:
        names = box_name(edge.sender), box_name(edge.receiver)
        a, b = (places.boxes[name] for name in names)
        bend, reach = places.bend(*names), 0.45 * (b.y - a.y)
        known = f": {effects[edge.name][0]:+.4f} {unit}" if edge.name in effects else ""
        aside = ASIDE.get(edge.receiver.kind, 0.0)
        x += [*_blend(weights, (a.x + aside, a.x + aside + bend, b.x + aside + bend, b.x + aside)), None]
        y += [*_blend(weights, (a.y, a.y + reach, b.y - reach, b.y)), None]
        text += [html.escape(edge.name + known)] * (len(t) + 1)
    return {"x": x, "y": y, "text": text}


def _blend(weights: tuple[np.ndarray, ...], points: tuple[float, ...]) -> list[float]:
    return [float(v) for v in sum(w * p for w, p in zip(weights, points, strict=True))]  # type: ignore[union-attr]


def _boxed(figure: Any, places: Layered) -> Any:
    """The boxes on top of the curves, and the layers on the axis."""
    for box in places.boxes.values():
        figure.add_annotation(
            x=box.x,
            y=box.y,
            text=html.escape(box.name),
            showarrow=False,
            bgcolor="#EEEEEE" if box.kind in ("mlp", "embed", "logits") else "#FFFFFF",
            bordercolor=GREY,
            font={"size": 11, "color": "#222222"},
        )
    low, high = places.rows
    rows = {"tickvals": [row + 0.25 for _, row in places.layers], "ticktext": [f"layer {n}" for n, _ in places.layers]}
    axis: dict[str, Any] = {"showgrid": False, "zeroline": False}
    return figure.update_layout(
        height=160 + min(100.0, 1100.0 / (high - low)) * (high - low),
        plot_bgcolor="#FFFFFF",
        xaxis={**axis, "showticklabels": False},
        yaxis={**axis, **rows, "range": [low - 0.4, high + 0.4]},
    )


def plot_agreement(scores: Scores, exact: Scores) -> Any:
    """Approximate scores over exact ones, one mark per node or edge; on the dotted line both agree.

    One colour per kind of node; edges are told apart by what reads them.

    The title quotes Pearson correlations with their 95 % intervals for the kinds that have enough of them.
    Raises: ScoreError where the two were made under different conventions.
    """
    import plotly.graph_objects as go

    found = agreement(scores, exact)
    column = {node.name: i for i, node in enumerate(scores.parts)}
    ours = scores.mean[[column[node.name] for node in exact.parts]]
    ends = [float(min(ours.min(), exact.mean.min())), float(max(ours.max(), exact.mean.max()))]
    figure = go.Figure(go.Scatter(x=ends, y=ends, mode="lines", line=DOTTED, name="equal", hoverinfo="skip"))
    kinds = [_mark(part) for part in exact.parts]
    for k, kind in enumerate(dict.fromkeys(kinds)):
        keep = [i for i, own in enumerate(kinds) if own == kind]
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
    rows = headlines(found) if exact.provenance.level != "edges" else _over_all(found)
    quoted = html.escape("; ".join(rows) or f"too few {_counted(exact)} to quote")
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
    what, marker = html.escape(evaluation.counts), {"color": GREY, "size": 5, "opacity": 0.5}
    hover = f"random circuit of %{{x}} {what}: %{{y:.3f}}<extra></extra>"
    figure = go.Figure(go.Scatter(x=x, y=y, mode="markers", name="random circuits", marker=marker, hovertemplate=hover))
    figure.add_scatter(
        x=[p.size for p in found],
        y=value,
        error_y={"type": "data", "symmetric": False, "array": high - value, "arrayminus": value - low},
        mode="lines+markers",
        name="circuit",
        line={"color": COLOURS[0]},
        hovertemplate=f"first %{{x}} {what} of the ranking: %{{y:.3f}}<extra></extra>",
    )
    figure.add_hline(y=0.0, line=DOTTED).add_hline(y=1.0, line=DOTTED)
    figure.add_vline(x=evaluation.size, line={"color": COLOURS[1], "dash": "dash"})
    pairs = f"{evaluation.n_pairs} {'held-out ' if evaluation.held_out else ''}pairs"
    why = f"<br><sup>undefined: {html.escape(evaluation.reason)}</sup>" if evaluation.reason else ""
    return figure.update_layout(
        title=f"Faithfulness on {pairs}; dashed: the circuit, {evaluation.size} of {evaluation.n_nodes} {what}{why}",
        xaxis={
            "title": f"{what} in the circuit (log scale)",
            "type": "log",
            "tickvals": [p.size for p in evaluation.curve],
        },
        yaxis_title=f"faithfulness (share of the {html.escape(evaluation.metric)})",
    )


def _counted(scores: Scores) -> str:
    level = scores.provenance.level
    return "edges" if level == FEATURE_EDGES else level if level in ("edges", "neurons", FEATURES) else "nodes"


def _mark(part: Part) -> str:
    return f"into {part.receiver.kind}" if isinstance(part, Edge) else part.kind


def _over_all(found: Agreement) -> list[str]:
    """The correlation over all edges; kinds of edges are too many for a title."""
    row = found["all"]
    if not row.headline or row.pearson is None:
        return []
    ci = f" [{row.pearson_ci[0]:.2f}, {row.pearson_ci[1]:.2f}]" if row.pearson_ci else ""
    return [f"{row.pearson:.2f}{ci} over {row.n} edges"]


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
    mean, names = scores.mean, [html.escape(scores.parts[i].name) for i in order]
    values = [float(mean[i]) for i in order]
    bar = go.Bar(x=values, y=names, orientation="h", hoverinfo="text")
    bar.marker.color = [COLOURS[0] if value >= 0 else COLOURS[1] for value in values]
    bar.hovertext = [_hover(scores, i) for i in order]
    figure = go.Figure(bar).update_layout(height=180 + 18 * len(order))
    return figure.update_yaxes(
        title=f"{_counted(scores)[:-1]}, the {len(order)} largest of {len(scores.parts)}", dtick=1
    )
