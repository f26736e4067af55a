"""Plotly figures of the engine's values: maps of scores, an approximation against exact patching, attributions to logits
and tokens, the logit lens. Attention patterns are in `interp.display.attention_plots`.

Each function takes a value and returns a `plotly.graph_objects.Figure`; nothing is computed that the value does not hold.
Colours say the same everywhere: orange is positive, blue negative, white zero.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, cast

from interp.attribution.tokens.token_values import TokenAttribution
from interp.formatting import showing
from interp.formatting.text import token, visible
from interp.given import kinds_checked
from interp.lenses.direct import LogitAttribution
from interp.lenses.lens import LogitLens
from interp.parts.graph import Edge, Part
from interp.parts.nodes import FEATURE_EDGES, FEATURES, Node
from interp.scores.agreement import Agreement, agreement, headlines
from interp.scores.scores import Scores

MOST_BARS: Final = 30
LONGEST: Final = 100
POSITIVE, NEGATIVE, GREY = "#C2570C", "#1F67B1", "#777777"
#: Blue to orange through white: the same lightness on both sides, told apart with every common colour blindness.
DIVERGING: Final = ((0.0, "#17508C"), (0.25, "#6EA6DC"), (0.5, "#FFFFFF"), (0.75, "#F09A5B"), (1.0, "#A04103"))
SEQUENTIAL: Final = "Blues"
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SYMBOLS: Final = ("circle", "square", "triangle-up", "diamond", "x", "cross")
DOTTED: Final = {"color": GREY, "dash": "dot"}
_IN_LAYER: Final = re.compile(
    r"a(?P<of_head>[0-9]{1,6})\.(?P<head>h[0-9]{1,6})|m(?P<mlp>[0-9]{1,6})|bias\.attn\.(?P<bias>[0-9]{1,6})"
)
HOVER: Final = "%{text}<extra></extra>"
_PLACE: Final = re.compile(r"r([0-9]{1,6})c([0-9]{1,6})")


def shown(text: object) -> str:
    """Text that a figure, which reads tags, shows as it is."""
    return html.escape(visible(str(text), LONGEST))


def shown_token(text: str, longest: int = 24) -> str:
    """A token as a label."""
    return html.escape(token(text[:longest]) + ("…" if len(text) > longest else ""))


@showing.figure.register
def scores_figure(scores: Scores, exact: Scores | None = None) -> Any:
    """A map of scores; with `exact` the scores over exact ones."""
    return plot_scores(scores) if exact is None else plot_agreement(scores, exact)


@kinds_checked
def plot_scores(scores: Scores) -> Any:
    """Mean scores as a heat map: layer by head and MLP, or component by position where positions are scored apart; layer 0 is at the bottom.

    Neurons, features and edges are too many for a map: the largest are bars. Colours are centred at zero. Units: those of the metric.
    """
    import plotly.graph_objects as go

    p = scores.provenance
    title = shown(f"{p.method} on {p.task}, {p.direction}, {p.n_pairs} pairs ({p.unit})")
    apart = p.positions != "all"
    if p.level in ("edges", FEATURE_EDGES) or (p.level in ("neurons", FEATURES) and not apart):
        return _bars(scores).update_layout(title=title, xaxis_title=f"score ({shown(p.unit)})")
    nodes = cast(tuple[Node, ...], scores.parts)
    cells = {_cell(node, apart): i for i, node in enumerate(nodes)}
    rows = list(dict.fromkeys(_cell(node, apart)[0] for node in sorted(nodes, key=_layer)))
    columns = list(dict.fromkeys(column for _, column in cells))
    at = [[cells.get((row, column)) for column in columns] for row in rows]
    heat = go.Heatmap(
        z=[[None if i is None else float(scores.mean[i]) for i in line] for line in at],
        x=columns,
        y=rows,
        text=[["not scored" if i is None else _hover(scores, i) for i in line] for line in at],
        hovertemplate=HOVER,
        colorscale=DIVERGING,
        zmid=0.0,
        colorbar={"title": {"text": shown(p.unit)}},
    )
    names = ("position", "component") if apart else ("component of the layer", "layer")
    # Grey is where nothing was scored; the scale itself has no grey.
    return go.Figure(heat).update_layout(
        title=title,
        plot_bgcolor="#BBBBBB",
        xaxis={"title": names[0], "type": "category", "showgrid": False},
        yaxis={"title": names[1], "type": "category", "showgrid": False},
    )


def _cell(node: Node, apart: bool) -> tuple[str, str]:
    """Row and column: component and position, or layer and component."""
    if apart:
        return replace(node, position=None).name, shown(node.position)
    column = node.kind if node.unit is None else node.name.split(".", 1)[1]
    return "none" if node.layer is None else str(node.layer), shown(column)


def _layer(node: Node) -> int:
    """From the bottom of a map: what comes before all layers, then these."""
    return -1 if node.layer is None else node.layer


def _hover(scores: Scores, i: int) -> str:
    error = f" ± {scores.stderr[i]:.4f}" if len(scores.per_example) > 1 else ""
    return shown(f"{scores.parts[i].name}: {scores.mean[i]:+.4f}{error} {scores.provenance.unit}")


def _bars(scores: Scores) -> Any:
    import plotly.graph_objects as go

    order = [int(i) for i in scores.rank()[:MOST_BARS]][::-1]
    values = [float(scores.mean[i]) for i in order]
    bar = go.Bar(x=values, y=[shown(scores.parts[i].name) for i in order], orientation="h", hoverinfo="text")
    bar.marker.color = [POSITIVE if value >= 0 else NEGATIVE for value in values]
    bar.hovertext = [_hover(scores, i) for i in order]
    figure = go.Figure(bar).update_layout(height=180 + 18 * len(order))
    return figure.update_yaxes(
        title=f"{_counted(scores)[:-1]}, the {len(order)} largest of {len(scores.parts)}", dtick=1, type="category"
    )


def _counted(scores: Scores) -> str:
    level = scores.provenance.level
    return "edges" if level == FEATURE_EDGES else level if level in ("edges", "neurons", FEATURES) else "nodes"


# ---------------------------------------------------------------- agreement


@kinds_checked
def plot_agreement(scores: Scores, exact: Scores) -> Any:
    """Approximate scores over exact ones, one mark per node or edge; on the dotted line, which searches on masks have none of, both agree.

    One colour and shape per kind of node; edges are told apart by what reads them.

    The title quotes Pearson correlations with their 95 % intervals for the kinds that have enough of them.
    Raises: ScoreError where the two were made under different conventions.
    """
    import plotly.graph_objects as go

    found = agreement(scores, exact)
    column = {node.name: i for i, node in enumerate(scores.parts)}
    ours = scores.mean[[column[node.name] for node in exact.parts]]
    ends = [float(min(ours.min(), exact.mean.min())), float(max(ours.max(), exact.mean.max()))]
    equal = go.Scatter(x=ends, y=ends, mode="lines", line=DOTTED, name="equal", hoverinfo="skip")
    figure = go.Figure([] if found.order else [equal])
    kinds = [_mark(part) for part in exact.parts]
    for k, kind in enumerate(dict.fromkeys(kinds)):
        keep = [i for i, own in enumerate(kinds) if own == kind]
        marker = {"size": 9, "color": COLOURS[k % len(COLOURS)], "symbol": SYMBOLS[k % len(SYMBOLS)]}
        figure.add_scatter(
            x=exact.mean[keep].tolist(),
            y=ours[keep].tolist(),
            mode="markers",
            name=shown(kind),
            marker=marker,
            text=[shown(exact.parts[i].name) for i in keep],
            hovertemplate="%{text}: exact %{x:.4f}, score %{y:.4f}<extra></extra>",
        )
    method, unit = shown(found.method), shown(exact.provenance.unit)
    rows = headlines(found) if exact.provenance.level != "edges" else _over_all(found)
    quoted = shown("; ".join(rows) or f"too few {_counted(exact)} to quote")
    said = "an order of parts, no estimates of effects" if found.order else f"Pearson: {quoted}"
    return figure.update_layout(
        title=f"{method} against exact patching<br><sup>{said}</sup>",
        xaxis_title=f"exact patching ({unit})",
        yaxis_title=f"{method} ({shown(scores.provenance.unit)})",
    )


def _mark(part: Part) -> str:
    return f"into {part.receiver.kind}" if isinstance(part, Edge) else part.kind


def _over_all(found: Agreement) -> list[str]:
    """The correlation over all edges; kinds of edges are too many for a title."""
    row = found["all"]
    if not row.headline or row.pearson is None:
        return []
    ci = f" [{row.pearson_ci[0]:.2f}, {row.pearson_ci[1]:.2f}]" if row.pearson_ci else ""
    return [f"{row.pearson:.2f}{ci} over {row.n} edges"]


# ---------------------------------------------------------------- logits and tokens


@showing.figure.register
def plot_logit_attribution(found: LogitAttribution) -> Any:
    """What each component adds to the logit, a row per layer from 0 at the bottom: heads, MLP and attention bias; the rest is in the title."""
    import plotly.graph_objects as go

    cells = {_logit_cell(node): found[node] for node in found.nodes}
    layers = sorted({row for row, _ in cells if row is not None})
    columns = list(dict.fromkeys(column for row, column in cells if row is not None))
    columns.sort(key=lambda c: (c in ("mlp", "bias"), c == "bias", int(c[1:]) if c[1:].isdigit() else 0))
    z = [[cells.get((layer, column)) for column in columns] for layer in layers]
    rest = ", ".join(f"{shown(column)} {value:+.3f}" for (row, column), value in cells.items() if row is None)
    heat = go.Heatmap(
        z=z,
        x=columns,
        y=[f"layer {i}" for i in layers],
        colorscale=DIVERGING,
        zmid=0.0,
        colorbar={"title": {"text": "logits"}},
    )
    title = f"Direct logit attribution: {rest}; total {found.total.mean():+.3f} logits"
    return go.Figure(heat).update_layout(title=title, plot_bgcolor="#BBBBBB", xaxis={"type": "category"})


def _logit_cell(node: str) -> tuple[int | None, str]:
    """(layer, column) of a node in the heat map; no layer for embed, final norm and unembedding."""
    found = _IN_LAYER.fullmatch(node)
    if found is None:
        return None, node
    if found["of_head"]:
        return int(found["of_head"]), found["head"]
    return (int(found["mlp"]), "mlp") if found["mlp"] else (int(found["bias"]), "bias")


def token_heat(**what: Any) -> Any:
    """Cells with a token each, `text`, coloured by its probability, `z`."""
    import plotly.graph_objects as go

    scale = {"colorscale": SEQUENTIAL, "zmin": 0.0, "zmax": 1.0, "colorbar": {"title": {"text": "probability"}}}
    return go.Heatmap(texttemplate="%{text}", **scale, **what)


@showing.figure.register
def plot_lens(found: LogitLens, example: int = 0) -> Any:
    """One prompt through the logit lens: the most probable token per site, the first at the bottom, and position, coloured by probability."""
    import plotly.graph_objects as go

    probabilities, ids = found.top(1)
    real = found.tokens.mask[example].nonzero()[:, 0]
    heat = token_heat(
        z=probabilities[:, example, real, 0].tolist(),
        x=[f"{i} {shown_token(found.decode(int(found.tokens.ids[example, p])))}" for i, p in enumerate(real)],
        y=[str(site) for site in found.sites],
        text=[[shown_token(found.decode(token)) for token in row] for row in ids[:, example, real, 0].tolist()],
        hovertemplate="%{y}, after %{x}: %{text}, probability %{z:.3f}<extra></extra>",
    )
    title = "Logit lens: most probable next token (probability)"
    return go.Figure(heat).update_layout(title=title, xaxis_title="token", yaxis_title="site")


@showing.figure.register
def plot_tokens(found: TokenAttribution, example: int = 0) -> Any:
    """What each token of one prompt adds to the metric, as bars; of pixels or patches a map of them."""
    import plotly.graph_objects as go

    if (grid := _grid(found.tokens[example])) is not None:
        return _plot_pixels(found, example, grid)
    tokens, values = found.tokens[example], [float(v) for v in found.values[example]]
    bar = go.Bar(x=[f"{i} {shown_token(t)}" for i, t in enumerate(tokens)], y=values, hoverinfo="text")
    bar.marker.color = [POSITIVE if value >= 0 else NEGATIVE for value in values]
    bar.hovertext = [f"{shown_token(t)}: {v:+.4f} {shown(found.unit)}" for t, v in zip(tokens, values, strict=True)]
    title = shown(f"{found.method} on {found.task}, pair {example + 1} of {len(found.tokens)}")
    return go.Figure(bar).update_layout(
        title=title,
        xaxis={"title": "token", "type": "category"},
        yaxis_title=f"adds to {shown(found.metric)} ({shown(found.unit)})",
    )


def _grid(names: Sequence[str]) -> tuple[int, int] | None:
    """How many rows and columns positions `r0c0`, `r0c1`, ... are of; None for any other positions."""
    places = [_PLACE.fullmatch(name) for name in names]
    if len(names) < 2 or not all(places):
        return None
    rows, columns = (1 + max(int(place[i]) for place in places if place) for i in (1, 2))
    whole = [f"r{i}c{j}" for i in range(rows) for j in range(columns)] if rows * columns == len(names) else []
    return (rows, columns) if whole == list(names) else None


def _plot_pixels(found: TokenAttribution, example: int, grid: tuple[int, int]) -> Any:
    """What each pixel or patch adds to the metric, where it is in the image: orange adds, blue takes away."""
    import plotly.graph_objects as go

    rows, columns = grid
    values = [float(v) for v in found.values[example]]
    table = [values[i * columns : (i + 1) * columns] for i in range(rows)]
    text = [[f"r{i}c{j}: {v:+.4f} {shown(found.unit)}" for j, v in enumerate(row)] for i, row in enumerate(table)]
    most = max(map(abs, values)) or 1.0
    heat = go.Heatmap(z=table, text=text, hovertemplate=HOVER, colorscale=DIVERGING, zmin=-most, zmax=most)
    heat.colorbar.title.text = f"adds to {shown(found.metric)} ({shown(found.unit)})"
    figure = (
        go.Figure(heat)
        .update_yaxes(autorange="reversed", scaleanchor="x", title="row")
        .update_xaxes(title="column", constrain="domain")
    )
    return figure.update_layout(
        title=shown(f"{found.method} on {found.task}, pair {example + 1} of {len(found.tokens)}")
    )
