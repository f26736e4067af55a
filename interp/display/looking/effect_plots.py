"""Plotly figures of effects of neurons, of the last block, of an MLP and of the sources of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from interp.display.plots import COLOURS, DIVERGING, MOST_BARS, NEGATIVE, POSITIVE, shown, shown_token
from interp.effects.last_block import LastBlock
from interp.effects.mlp_response import MlpResponse
from interp.effects.neuron_table import NeuronEffects
from interp.effects.source_table import NO_TOKEN, TOKENS, FeatureSources
from interp.formatting import showing


@showing.figure.register
def plot_neurons(found: NeuronEffects) -> Any:
    """The first neurons by the measure, and in the title what zeroing the checked ones did; under the pointer both units and the tokens."""
    places, means = range(min(MOST_BARS, len(found.nodes))), found.mean
    hover = []
    for i in places:
        told = (
            f"{found.nodes[i].name}: log p {found.log_probs[:, i].mean():+.4f}, logit {found.logits[:, i].mean():+.4f}"
        )
        raised = ", ".join(map(shown_token, found.raised(i)[:5]))
        hover.append(shown(told) + (f"<br>raises {raised}" if raised else ""))
    figure = _bars([found.nodes[i].name for i in places], [float(means[i]) for i in places], hover)
    checks = [f"zeroing {len(row.neurons)} {row.which}: {row.log_prob:+.3f} nats" for row in found.checks[:2]]
    lines = "<br>".join(
        shown(line) for line in (f"Neurons by {found.measure}, {found.task} ({found.model})", "; ".join(checks))
    )
    compared = ", less that of the compared run" if found.compared else ""
    return figure.update_layout(title=lines, xaxis_title=shown(f"{found.measure}{compared}"))


@showing.figure.register
def plot_last_block(found: LastBlock) -> Any:
    """Logit and log-probability that each half adds, side by side."""
    import plotly.graph_objects as go

    rows, figure = found.to_pandas(), go.Figure()
    for i, (column, name) in enumerate(
        (("logit", "logit of the answer"), ("increase", "log-probability (nats)"), ("others", "of it all others"))
    ):
        figure.add_bar(x=list(rows["half"]), y=rows[column].tolist(), name=name, marker_color=COLOURS[i])
    return figure.update_layout(
        title=shown(f"Last block, {found.task} ({found.model})"), yaxis_title="adds to the answer"
    )


@showing.figure.register
def plot_response(found: MlpResponse) -> Any:
    """The weights of the heads, the largest at the top."""
    order = np.argsort(-np.abs(found.weights), kind="stable")[:MOST_BARS]
    hover = [shown(f"{found.heads[i]}: weight {found.weights[i]:+.4f}, logit {found.logits[i]:+.4f}") for i in order]
    figure = _bars([found.heads[i] for i in order], [float(found.weights[i]) for i in order], hover)
    title = f"MLP {found.layer} on heads, R² of left-out prompts {found.r2_left_out:.3f} ({found.model})"
    return figure.update_layout(title=shown(title), xaxis_title="weight of what the head writes")


@showing.figure.register
def plot_sources(found: FeatureSources, example: int | None = None) -> Any:
    """A strip for each feature over the parts; of tokens of one example, by default the one where the first feature is largest."""
    import plotly.graph_objects as go

    any_there = bool(len(found.ids) and found.features)
    at = int(found.pre_activations[:, 0].argmax()) if example is None and any_there else example or 0
    table = found.per_example[at][:MOST_BARS] if any_there else np.zeros((0, len(found.parts)))
    tokens = found.split == TOKENS
    real = [p for p in range(table.shape[1]) if not tokens or found.ids[at, p] != NO_TOKEN]
    if not tokens:
        real = sorted(sorted(real, key=lambda p: -float(np.abs(table[:, p]).max(initial=0.0)))[:MOST_BARS])
    names = [
        f"{p} {shown_token(found.texts(int(found.ids[at, p])))}" if tokens else shown(found.parts[p]) for p in real
    ]
    limit = float(np.abs(table).max(initial=0.0)) or 1.0
    rows = [f"feature {f}" for f in found.features[: len(table)]]
    heat = go.Heatmap(
        z=table[:, real].tolist(), x=names, y=rows, colorscale=[list(c) for c in DIVERGING], zmin=-limit, zmax=limit
    )
    figure = go.Figure(heat).update_yaxes(autorange="reversed", type="category").update_xaxes(type="category")
    where = f", example {at}" if any_there else ""
    return figure.update_layout(
        title=shown(f"Where features of {found.site} come from, by {found.split}{where} ({found.model})")
    )


def _bars(names: Sequence[str], values: Sequence[float], hover: Sequence[str]) -> Any:
    """Bars from the top down, coloured by sign. hover: text that is already safe."""
    import plotly.graph_objects as go

    colours = [POSITIVE if value >= 0 else NEGATIVE for value in values]
    bars = go.Bar(
        x=list(values)[::-1], y=[shown(n) for n in names][::-1], orientation="h", marker_color=colours[::-1],
        hovertext=list(hover)[::-1], hoverinfo="text",
    )  # fmt: skip
    return go.Figure(bars).update_layout(height=200 + 18 * len(names)).update_yaxes(dtick=1, type="category")
