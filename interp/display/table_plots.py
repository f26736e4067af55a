"""Plotly figures of tables: direct effects, second-order effects, paths, probes, agreement, coverage. The other figures are in `interp.display.plots`.

Nothing is computed that the value does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from interp.attribution.path_effects import PathEffects
from interp.dictionaries.evaluation.probing import DIMENSIONS, FEATURES, ProbeResult, ProbeRow
from interp.display.plots import COLOURS, DOTTED, GREY, MOST_BARS, NEGATIVE, POSITIVE, SYMBOLS, shown, shown_token
from interp.examples.mechanisms import Mechanisms
from interp.formatting import showing
from interp.lenses.direct_effects import DirectEffects
from interp.lenses.second_order import SecondOrder
from interp.model.coverage.coverage import Coverage
from interp.scores.agreement import Agreement, Row

#: Measures of a logit, or the difference of two.
_LOGITS: Final = ("logit", "logit_diff")
_TREATED: Final = {"rule": COLOURS[0], "plain gradient": GREY, "unsupported": COLOURS[1]}


@showing.figure.register
def plot_effects(found: DirectEffects) -> Any:
    """What each node writes to the answer, the largest at the top; under the pointer the tokens that it raises and lowers."""
    order = found.order[:MOST_BARS]
    names = [found.nodes[i].name for i in order]
    hover = [f"{shown(found.nodes[i].name)}: {found.mean[i]:+.4f} logits{_tokens(found, i)}" for i in order]
    figure = _bars(names, [float(found.mean[i]) for i in order], hover)
    where = f" on {found.task} ({found.model})" if found.task or found.model else ""
    return figure.update_layout(
        title=shown(f"Direct effects{where}, {len(found.total)} prompts"),
        xaxis_title="adds to the logit of the answer (logits)" if found.measure in _LOGITS else shown(found.measure),
        yaxis_title=f"node, the {len(order)} largest of {len(found.nodes)}",
    )


def _tokens(found: DirectEffects, place: int) -> str:
    """Lines of a hover: the tokens with what is added to each."""
    told = ""
    for word, ids, logits, sign in (
        ("raises", found.up[place], found.up_logits[place], 1),
        ("lowers", found.down[place], found.down_logits[place], -1),
    ):
        pairs = [f"{shown_token(found.texts(t))} {v:+.2f}" for t, v in zip(ids, logits, strict=True) if sign * v > 0]
        told += f"<br>{word} {', '.join(pairs)}" if pairs else ""
    return told


@showing.figure.register
def plot_second(found: SecondOrder, output: str | None = None) -> Any:
    """The neurons with the largest effect on one output, the first by default, the largest at the top. Raises: InterpError for an unknown one."""
    most = found.largest(output, MOST_BARS)
    hover = [f"{name}: {value:+.4f}" for name, value in most]
    figure = _bars([name for name, _ in most], [value for _, value in most], hover)
    return figure.update_layout(
        title=shown(f"Through one later attention, layer {found.layer}, {found.model}"),
        xaxis_title=shown(f"adds to {found.outputs[0] if output is None else output}"),
        yaxis_title=f"neuron, the {len(most)} largest of {len(found.neurons)}",
    )


@showing.figure.register
def plot_paths(found: PathEffects) -> Any:
    """The largest effects with their standard errors, the largest at the top."""
    order = found.order[:MOST_BARS]
    hover = [shown(f"{e.name}: {e.mean:+.4f} ± {e.stderr:.4f} {e.unit}") for e in order]
    figure = _bars([e.name for e in order], [e.mean for e in order], hover)
    first = order[0] if order else None
    return figure.update_layout(
        title=shown(f"Path patching on {first.task}, {first.conventions}" if first else "Path patching"),
        xaxis_title=shown(f"effect on {first.metric} ({first.unit})" if first else "effect"),
        yaxis_title=f"sender and receiver, the {len(order)} largest of {len(found)}",
    )


def _bars(names: Sequence[str], values: Sequence[float], hover: Sequence[str]) -> Any:
    """Bars from the top down, coloured by sign."""
    import plotly.graph_objects as go

    bar = go.Bar(x=list(values)[::-1], y=[shown(n) for n in names][::-1], orientation="h", hoverinfo="text")
    bar.marker.color = [POSITIVE if value >= 0 else NEGATIVE for value in values][::-1]
    bar.hovertext = list(hover)[::-1]
    return go.Figure(bar).update_layout(height=180 + 18 * len(names)).update_yaxes(dtick=1, type="category")


@showing.figure.register
def plot_probe(found: ProbeResult) -> Any:
    """AUC of the probes over k, of features and of as many dimensions, with 95 % intervals; dotted where all dimensions are."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, what in enumerate((FEATURES, DIMENSIONS)):
        rows = sorted((row for row in found.rows if row.what == what), key=lambda row: row.k)
        figure.add_scatter(
            **_measured(rows),
            mode="lines+markers",
            name=what,
            line={"color": COLOURS[i]},
            marker={"symbol": SYMBOLS[i], "size": 9},
            hovertemplate=f"%{{x}} {what}: AUC %{{y:.3f}}<extra></extra>",
        )
    for row in found.rows:
        if row.what not in (FEATURES, DIMENSIONS):
            figure.add_hline(y=row.quality.auc.value, line=DOTTED, annotation_text=shown(row.what))
    ks = sorted({row.k for row in found.rows if row.what in (FEATURES, DIMENSIONS)})
    return figure.update_layout(
        title=shown(f"Sparse probes of {found.name} at {found.site}, {found.n_test} held out"),
        xaxis={"title": "k, features or dimensions (log)", "type": "log", "tickvals": ks},
        yaxis_title="area under the ROC curve (0.5: chance)",
    )


def _measured(rows: Sequence[ProbeRow]) -> dict[str, Any]:
    auc = [row.quality.auc for row in rows]
    above, below = [m.high - m.value for m in auc], [m.value - m.low for m in auc]
    error = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    return {"x": [row.k for row in rows], "y": [m.value for m in auc], "error_y": error}


@showing.figure.register
def plot_correlations(found: Agreement) -> Any:
    """Pearson and Spearman correlations of each kind with their 95 % intervals; a kind without a correlation has no mark."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, measure in enumerate(("pearson", "spearman")):
        rows = [row for row in found.rows if getattr(row, measure) is not None]
        figure.add_scatter(
            y=[f"{shown(row.kind)} ({row.n})" for row in rows],
            **_correlated(rows, measure),
            mode="markers",
            name=measure.capitalize(),
            marker={"color": COLOURS[i], "symbol": SYMBOLS[i], "size": 9},
            hovertemplate=f"%{{y}}: {measure.capitalize()} %{{x:.3f}}<extra></extra>",
        )
    figure.add_vline(x=1.0, line=DOTTED).add_vline(x=0.0, line=DOTTED)
    figure.update_yaxes(title="kind (parts)", type="category", autorange="reversed")
    return figure.update_layout(
        title=shown(f"{found.method} against exact patching, {found.n_pairs} pairs"),
        xaxis_title="correlation of mean scores, with 95 % intervals",
        height=220 + 30 * len(found.rows),
    )


def _correlated(rows: Sequence[Row], measure: str) -> dict[str, Any]:
    """Marks and bars; a correlation of few parts has no interval."""
    values = [getattr(row, measure) for row in rows]
    ends = [getattr(row, f"{measure}_ci") or (v, v) for row, v in zip(rows, values, strict=True)]
    above = [high - v for (_, high), v in zip(ends, values, strict=True)]
    below = [v - low for (low, _), v in zip(ends, values, strict=True)]
    return {"x": values, "error_x": {"type": "data", "symmetric": False, "array": above, "arrayminus": below}}


@showing.figure.register
def plot_coverage(found: Coverage) -> Any:
    """How many operations of each kind have a rule, the plain gradient, or are not supported."""
    import plotly.graph_objects as go

    kinds = list(dict.fromkeys(row.operation for row in found.rows))
    figure = go.Figure()
    for treatment, colour in _TREATED.items():
        counts = [sum((r.operation, r.treatment) == (kind, treatment) for r in found.rows) for kind in kinds]
        hover = f"%{{y}}: %{{x}} {treatment}<extra></extra>"
        names = [shown(kind) for kind in kinds]
        figure.add_bar(x=counts, y=names, orientation="h", name=treatment, marker_color=colour, hovertemplate=hover)
    figure.update_yaxes(title="operation", type="category", autorange="reversed")
    title = shown(f"Coverage by rules: {found.rules.describe()}")
    return figure.update_layout(title=title, barmode="stack", xaxis_title="modules", height=200 + 30 * len(kinds))


@showing.figure.register
def plot_mechanisms(found: Mechanisms) -> Any:
    """Each example by how alike its scores are to those of its own group and of the nearest other: above the dotted line it is nearer to
    its own. Where there is one group, by its number."""
    import plotly.graph_objects as go

    one = found.n == 1
    figure = go.Figure(
        [] if one else [go.Scatter(x=[-1, 1], y=[-1, 1], mode="lines", line=DOTTED, name="equal", hoverinfo="skip")]
    )
    for i, name in enumerate(found.names):
        places = found.places(i)
        marker = {"size": 8, "color": COLOURS[i % len(COLOURS)], "symbol": SYMBOLS[i % len(SYMBOLS)]}
        figure.add_scatter(
            x=places if one else found.other[places].tolist(),
            y=found.own[places].tolist(),
            mode="markers",
            name=shown(name),
            marker=marker,
            text=[f"example {p}: {shown(found.prompts[p])}" if found.prompts else f"example {p}" for p in places],
            hovertemplate="%{text}<extra></extra>",
        )
    x = "example" if one else "mean rank correlation with the nearest other group"
    title = shown(f"Mechanisms of {found.task} by {found.method} ({found.model})")
    return figure.update_layout(title=title, xaxis_title=x, yaxis_title="mean rank correlation with its own group")
