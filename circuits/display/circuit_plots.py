"""Plotly figures of circuits and of what was measured of them. Those of scores are in `interp.display.plots`.

Each function takes a value and returns a `plotly.graph_objects.Figure`; nothing is computed that the value does not hold.
Boxes and edges stand where the report draws them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from circuits.circuit.algebra import Comparison
from circuits.circuit.circuit import Circuit, CircuitError
from circuits.evaluation.evaluation import Evaluation
from circuits.report.drawing.box_places import Place, Placed, key_of
from circuits.report.drawing.curves import Point
from circuits.report.drawing.row_heights import Strip
from circuits.report.sections.edges_section import by_edge, most_important, whole
from circuits.report.view.view import held
from circuits.report.view.view_layouts import FEWEST, PER_NODE, placed_parts
from circuits.report.view.view_parts import Parts
from circuits.runs.record import Record
from circuits.terms.kinds import kinds_checked
from circuits.terms.words import kind_name, pairs_in_words
from interp.display.plots import COLOURS, DOTTED, GREY, HOVER, NEGATIVE, POSITIVE, shown
from interp.formatting import showing
from interp.parts.graph import Edge
from interp.parts.nodes import FEATURE_EDGES, FEATURES
from interp.scores.scores import Scores

SIGNS: Final = {"for the answer": POSITIVE, "against the answer": NEGATIVE, "no score": GREY}
DASHES: Final = {"q": "dash", "k": "dot"}
READ_BY: Final = {"dash": "query", "dot": "key", "solid": "value, MLP or logits"}
#: Steps of line width between the weakest and the strongest edge.
WIDTHS: Final = 4
#: How far from the middle of its box an edge ends, as a share of what it is in the report.
NARROW: Final = 0.4
#: How far apart the points of a curve are.
STEP: Final = 12.0
#: A figure of a deep model is as high as its boxes need, up to so many pixels.
TALLEST: Final = 4000.0
#: What is known of a part: its score and its importance.
Effects = Mapping[str, tuple[float, float]]


@showing.figure.register
@kinds_checked
def plot_circuit(circuit: Circuit, scores: Scores | None = None, *, edges: Scores | None = None) -> Any:
    """A circuit as a graph: layers, or sites of features, from the embedding at the bottom to the logits at the top.

    scores: of the circuit's parts; colour is then the sign of an importance, width or depth its size. edges: of a circuit of nodes,
    scores of the edges between them (level `edges`, or `interp.feature_edges`), without which its nodes stand alone. Queries are
    dashed and keys dotted. Above `MOST_DRAWN` edges only the strongest are drawn, and the title says so.

    Raises: ScoreError for scores of nodes where those of edges are needed; CircuitError for scores of another level.
    """
    import plotly.graph_objects as go

    own = _own(circuit, scores, edges)
    own = replace(own, edges=whole(own.edges))
    linked = scores if circuit.level == "edges" else edges
    effects = by_edge(linked, circuit) if linked is not None else {}
    drawn = most_important(own.edges, effects)
    if circuit.level != "edges":
        drawn = drawn[: PER_NODE * max(FEWEST, len(own.nodes))]
    parts = replace(own, edges=drawn)
    placed, figure = placed_parts(parts), go.Figure()
    unit = linked.provenance.unit if linked is not None else ""
    known: set[tuple[str, str]] = set()
    for (sign, dash, step), members in _alike(drawn, effects).items():
        named = sign if circuit.level == FEATURES else f"{sign}, {READ_BY[dash]}"
        figure.add_scatter(**_curves(members, placed, effects, unit), mode="lines", name=named)
        trace = figure.data[-1]
        trace.line = {"color": SIGNS[sign], "dash": dash, "width": 1 + 1.5 * step}
        trace.update(legendgroup=f"{sign} {dash}", showlegend=(sign, dash) not in known, hovertemplate=HOVER)
        known.add((sign, dash))
    if circuit.level != "edges":
        _nodes(figure, placed, parts)
    return _boxed(figure, placed, parts).update_layout(title=shown(_title(circuit, own, len(drawn))))


def _own(circuit: Circuit, scores: Scores | None, edges: Scores | None) -> Parts:
    """The parts of the circuit alone, without what follows it in the ranking."""
    if circuit.level == "edges":
        return held(Record({}, (), circuit=circuit), circuit)
    level = FEATURE_EDGES if circuit.level == FEATURES else "edges"
    for given, wanted, name in ((scores, circuit.level, "scores"), (edges, level, "edges")):
        if given is not None and given.provenance.level != wanted:
            raise CircuitError(
                f"{name} of level {given.provenance.level!r} for a circuit of level {circuit.level!r}; expected {wanted!r}."
            )
    inside = set(circuit.parts)
    kept = [] if scores is None else [i for i, part in enumerate(scores.parts) if part in inside]
    found = () if scores is None or not kept else (scores.select(kept),)
    return held(Record({}, found, circuit=circuit, feature_edges=edges, node_edges=edges), circuit)


def _title(circuit: Circuit, own: Parts, drawn: int) -> str:
    what = circuit.level if circuit.level in ("edges", FEATURES) else f"nodes ({circuit.level})"
    left = (len(own.edges) if circuit.labels else own.n_edges) - drawn
    among = ", the strongest" if circuit.level == "edges" else ", of the edges between them the strongest"
    note = f"{among} {drawn} drawn, {left} left out" if left else ""
    return f"{len(circuit)} {what} on {circuit.task} ({circuit.method}){note}"


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


def _curves(edges: list[Edge], placed: Placed, effects: Effects, unit: str) -> dict[str, list[Any]]:
    """The points of some edges, apart from each other, each point with the name and score of its edge."""
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for edge in edges:
        known = f": {effects[edge.name][0]:+.4f} {unit}" if edge.name in effects else ""
        points = _points(placed, edge)
        x += [*(round(at, 1) for at, _ in points), None]
        y += [*(round(-at, 1) for _, at in points), None]
        text += [shown(edge.name + known)] * (len(points) + 1)
    return {"x": x, "y": y, "text": text}


def _points(placed: Placed, edge: Edge) -> list[Point]:
    """Along the curve of the report, from middle to middle: the boxes of a figure keep their size when it is stretched, and hide its ends."""
    sender, receiver, _ = key = key_of(edge)
    a, b, curve = placed.nodes[sender], placed.nodes[receiver], placed.curves[key]
    start, end = (a.x + NARROW * (curve.start[0] - a.x), a.y), (b.x + NARROW * (curve.end[0] - b.x), b.y)
    return replace(curve, start=start, end=end).points(STEP)


def _nodes(figure: Any, placed: Placed, parts: Parts) -> None:
    """A mark for every node, under its box: what the pointer shows, and all that is seen of a node without a box."""
    scores = parts.scores
    effects = _effects(scores)
    unit = scores.provenance.unit if scores is not None else ""
    names = list(placed.nodes)
    figure.add_scatter(
        x=[round(placed.nodes[name].x, 1) for name in names],
        y=[round(-placed.nodes[name].y, 1) for name in names],
        mode="markers",
        name="nodes",
        showlegend=False,
        marker={"size": 9, "color": [_colour(name, effects) for name in names], "line": {"color": GREY, "width": 1}},
        text=[shown(f"{name}: {effects[name][0]:+.4f} {unit}" if name in effects else name) for name in names],
        hovertemplate=HOVER,
    )


def _effects(scores: Scores | None) -> dict[str, tuple[float, float]]:
    if scores is None:
        return {}
    both = zip(scores.parts, scores.mean.tolist(), scores.importance.tolist(), strict=True)
    return {part.name: (mean, importance) for part, mean, importance in both}


def _colour(name: str, effects: Effects) -> str:
    """White for a node without a score, else the colour of its sign, the deeper the larger."""
    limit = max((abs(importance) for _, importance in effects.values()), default=0.0)
    if name not in effects or not limit:
        return "#FFFFFF"
    importance = effects[name][1]
    full = (110, 166, 220) if importance < 0 else (240, 154, 91)
    share = abs(importance) / limit
    return "#" + "".join(f"{round(255 + share * (c - 255)):02X}" for c in full)


def _boxed(figure: Any, placed: Placed, parts: Parts) -> Any:
    """The boxes on top of the curves, and the layers on the axis."""
    effects = _effects(None if parts.of_edges else parts.scores)
    for node in placed.nodes.values():
        if not node.dot:
            figure.add_annotation(**_box(node, effects))
    axis: dict[str, Any] = {"showgrid": False, "zeroline": False}
    rows = {"tickvals": [round(-s.y, 1) for s in placed.strips], "ticktext": [_named(s) for s in placed.strips]}
    heights = [-node.y for node in placed.nodes.values()] or [0.0]
    low, high = min(heights) - 40, max(heights) + 40
    return figure.update_layout(
        height=160 + min(TALLEST, high - low),
        plot_bgcolor="#FFFFFF",
        xaxis={**axis, "showticklabels": False},
        yaxis={**axis, **rows, "range": [low, high]},
    )


def _named(strip: Strip) -> str:
    return shown(f"{strip.label}: none" if strip.folded else strip.label)


def _box(node: Place, effects: Effects) -> dict[str, Any]:
    always = node.kind in ("mlp", "embed", "logits") and node.name not in effects
    return {
        "x": round(node.x, 1),
        "y": round(-node.y, 1),
        "text": shown(node.label),
        "showarrow": False,
        "captureevents": False,
        "bgcolor": "#EEEEEE" if always else _colour(node.name, effects),
        "bordercolor": GREY,
        "font": {"size": 11, "color": "#222222"},
    }


@showing.figure.register
@kinds_checked
def plot_evaluation(evaluation: Evaluation) -> Any:
    """Faithfulness over circuit size with 95 % intervals, and every random circuit of the same sizes and kinds."""
    import plotly.graph_objects as go

    found = [p for p in evaluation.curve if p.faithfulness.value is not None]
    value, low, high = (np.array([getattr(p.faithfulness, k) for p in found], float) for k in ("value", "low", "high"))
    twins = [(p.size, twin) for p in evaluation.curve for twin in p.random if twin is not None]
    x, y = [size for size, _ in twins], [twin for _, twin in twins]
    what, marker = shown(evaluation.counts), {"color": GREY, "size": 5, "opacity": 0.5}
    hover = f"random circuit of %{{x}} {what}: %{{y:.3f}}<extra></extra>"
    figure = go.Figure(go.Scatter(x=x, y=y, mode="markers", name="random circuits", marker=marker, hovertemplate=hover))
    figure.add_scatter(
        x=[p.size for p in found],
        y=value,
        error_y={"type": "data", "symmetric": False, "array": high - value, "arrayminus": value - low},
        mode="lines+markers",
        name="circuit",
        line={"color": COLOURS[0]},
        hovertemplate=f"%{{x}} {what}: %{{y:.3f}}<extra></extra>",
    )
    figure.add_hline(y=0.0, line=DOTTED).add_hline(y=1.0, line=DOTTED)
    figure.add_vline(x=evaluation.size, line={"color": COLOURS[1], "dash": "dash"})
    pairs = pairs_in_words(evaluation.n_pairs, evaluation.held_out)
    why = f"<br><sup>undefined: {shown(evaluation.reason)}</sup>" if evaluation.reason else ""
    return figure.update_layout(
        title=f"Faithfulness on {pairs}; dashed: the circuit, {evaluation.size} of {evaluation.n_nodes} {what}{why}",
        xaxis={"title": f"{what} in the circuit (log)", "type": "log", "tickvals": [p.size for p in evaluation.curve]},
        yaxis_title=f"faithfulness (share of the {shown(evaluation.metric)})",
    )


@showing.figure.register
def plot_comparison(found: Comparison) -> Any:
    """How many parts of each kind are in both circuits, and in one of them only."""
    import plotly.graph_objects as go

    rows = [found.parts, *found.kinds]
    names = ["all" if o.name == "all" else shown(kind_name(o.name)) for o in rows]
    figure = go.Figure()
    for name, key, colour in (
        ("both", "both", COLOURS[2]),
        ("A only", "only_a", COLOURS[0]),
        ("B only", "only_b", COLOURS[1]),
    ):
        counts, hover = [getattr(o, key) for o in rows], f"%{{y}}: %{{x}} {name}<extra></extra>"
        figure.add_bar(x=counts, y=names, orientation="h", name=name, marker_color=colour, hovertemplate=hover)
    figure.update_yaxes(title="kind", type="category", autorange="reversed")
    what = "edges" if found.level == "edges" else "nodes"
    title = f"{found.size_a} and {found.size_b} {what}, {found.parts.both} in both: Jaccard {found.jaccard:.2f}"
    return figure.update_layout(title=title, barmode="stack", xaxis_title=what, height=200 + 30 * len(rows))
