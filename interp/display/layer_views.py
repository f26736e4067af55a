"""How layers look: what each is used for, what is left without some, chains beside noise, layers of two models, and what a decoder makes of each
layer of its encoder."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from markupsafe import Markup

from interp.depth.chain_search import Chains
from interp.depth.drop_layers import DroppedLayers
from interp.depth.layer_match import LayerMatch
from interp.depth.layer_use import LayerUse
from interp.display.plots import COLOURS, DOTTED, SEQUENTIAL, SYMBOLS, shown, shown_token, token_heat
from interp.formatting import showing
from interp.formatting.html import MOST_ROWS, block, caption, joined, left_out, shaded, table, text
from interp.formatting.numbers import MISSING, number, percent, several, share_digits
from interp.formatting.text import token
from interp.lenses.decoder_lens import DecoderLens


def _number(value: float) -> str:
    return number(value) if value == value else MISSING


@showing.card.register
def layer_use_card(found: LayerUse) -> Markup:
    """A row for each layer and part."""
    rows = [
        (str(layer), part, *map(_number, values))
        for layer, part, values in zip(found.layers, found.parts, found.values.tolist(), strict=True)
    ]
    said = joined(several(found.n, "token"), text(found.task), text(found.model))
    note = "Means over tokens. norm_in, norm: lengths of what a part reads and adds; influence: 1 - cosine of the stream in front of it and behind it; cross-entropy and KL in nats."
    left = left_out(len(rows), min(len(rows), MOST_ROWS), "parts")
    columns = ("layer", "part", *found.measures)
    numeric = (0, *range(2, len(columns)))
    return block("LayerUse", said, table(columns, rows[:MOST_ROWS], numeric=numeric, left=left), caption(note))


@showing.figure.register
def plot_layer_use(found: LayerUse, measure: str | None = None) -> Any:
    """One measure over the layers, a line for each part. measure: by default the influence, where that is among them. Raises: MethodError for an unknown one."""
    import plotly.graph_objects as go

    name = measure or ("influence" if "influence" in found.measures else (*found.measures, "later")[0])
    figure = go.Figure()
    for i, part in enumerate(dict.fromkeys(found.parts)):
        values = found.of(part, name)
        at = [layer for layer, own in zip(found.layers, found.parts, strict=True) if own == part]
        if np.isfinite(values).any():
            figure.add_scatter(
                x=at, y=[v if np.isfinite(v) else None for v in values.tolist()], name=part, mode="lines+markers",
                line={"color": COLOURS[i % len(COLOURS)]}, marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8},
                hovertemplate=f"layer %{{x}}, {part}: %{{y:.4f}}<extra></extra>",
            )  # fmt: skip
    title = shown(f"{name} by layer, {found.n:,} tokens, {found.model}")
    return figure.update_layout(title=title, xaxis={"title": "layer", "dtick": 1}, yaxis_title=shown(name))


@showing.card.register
def dropped_card(found: DroppedLayers) -> Markup:
    """A row for each step, the full model first."""
    names = ("full model", *found.removed)
    rows = [
        (str(i), name, _number(ce), f"{_number(low)} to {_number(high)}", _number(kl), percent(right))
        for i, (name, (ce, kl, right, low, high)) in enumerate(zip(names, found.curve.tolist(), strict=True))
    ]
    where = "the prompts that the order was chosen on" if found.judged == "chosen" else "others than it was chosen on"
    said = joined(
        f"{found.unit} by {found.score}, {found.search}",
        several(found.n, "prompt"),
        text(found.task),
        text(found.model),
    )
    note = f"What is left after each step, measured on {where}; cross-entropy with its 95 % interval over prompts, and KL from the full model, in nats."
    left = left_out(len(rows), min(len(rows), MOST_ROWS), "steps")
    columns = ("step", "left out", "cross-entropy", "95 %", "KL", "right")
    return block(
        "DroppedLayers", said, table(columns, rows[:MOST_ROWS], numeric=(0, 2, 4, 5), left=left), caption(note)
    )


@showing.figure.register
def plot_dropped(found: DroppedLayers) -> Any:
    """The cross-entropy after each step with its 95 % interval; the line is the full model."""
    import plotly.graph_objects as go

    ce, low, high = (found.curve[:, i] for i in (0, 3, 4))
    steps = list(range(len(ce)))
    names = ["full model", *map(shown, found.removed)]
    error = {
        "type": "data",
        "symmetric": False,
        "array": (high - ce).tolist(),
        "arrayminus": (ce - low).tolist(),
    }
    hover = [f"{name}: {value:.4f} nats" for name, value in zip(names, ce.tolist(), strict=True)]
    figure = go.Figure()
    figure.add_scatter(
        x=steps, y=ce.tolist(), error_y=error, mode="lines+markers", line={"color": COLOURS[0]}, hovertext=hover, hoverinfo="text",
    )  # fmt: skip
    figure.add_hline(y=float(ce[0]), line=DOTTED, annotation_text="full model")
    where = "on the prompts it was chosen on" if found.judged == "chosen" else "on other prompts"
    return figure.update_layout(
        title=shown(f"Without {found.unit}, by {found.score} ({found.search}), {where}, {found.model}"),
        xaxis={"title": "left out, one after the other", "tickvals": steps, "ticktext": names},
        yaxis_title="cross-entropy (nats)",
    )


@showing.card.register
def chains_card(found: Chains) -> Markup:
    """The chains of the lowest cross-entropy where they were chosen, and what is to be had by chance."""
    order = sorted(range(len(found.chains)), key=lambda i: found.values[i, 0])[:MOST_ROWS]
    rows = [
        (
            " ".join(map(str, found.chains[i])),
            *(_number(v) for v in (found.values[i, 0], found.values[i, 3])),
            percent(float(found.values[i, 5])),
        )
        for i in order
    ]
    said = joined(
        several(len(found.chains), "chain"),
        f"{found.n[0]} and {found.n[1]} prompts",
        text(found.task),
        text(found.model),
    )
    note = (
        f"Chosen: {' '.join(map(str, found.best))}. Of the answers judged, some chain gets {percent(found.any_right)} right, for who knows the answer; "
        f"some of as many perturbations by noise of equal KL {percent(found.null_right)}."
    )
    left = left_out(len(found.chains), len(order), "chains")
    columns = ("chain", "cross-entropy, chosen on", "judged on", "right, judged on")
    return block("Chains", said, table(columns, rows, numeric=(1, 2, 3), left=left), caption(note))


@showing.figure.register
def plot_chains(found: Chains) -> Any:
    """Each chain by its cross-entropy where it was chosen and where it is judged; the lines are the full model."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, places, colour in (
        ("chains", [i for i in range(len(found.chains)) if i != found.chosen], COLOURS[0]),
        ("chosen", [found.chosen], COLOURS[1]),
    ):
        figure.add_scatter(
            x=[float(found.values[i, 0]) for i in places], y=[float(found.values[i, 3]) for i in places], mode="markers", name=name,
            marker={"color": colour, "size": 9}, hovertext=[" ".join(map(str, found.chains[i])) for i in places], hoverinfo="text",
        )  # fmt: skip
    figure.add_hline(y=float(found.values[0, 3]), line=DOTTED).add_vline(x=float(found.values[0, 0]), line=DOTTED)
    return figure.update_layout(
        title=shown(f"{len(found.chains)} chains of layers, {found.model}"),
        xaxis_title="cross-entropy on the prompts to choose on (nats)",
        yaxis_title="cross-entropy on the prompts to judge on (nats)",
    )


@showing.card.register
def match_card(found: LayerMatch) -> Markup:
    """For each layer of b the layer of a that explains most of it."""
    rows = [(str(layer), str(i), _number(float(found.explained[i, layer]))) for layer, i in enumerate(found.best)]
    said = joined(text(found.a), text(found.b), several(found.n[1], "token"))
    note = "R2 of a linear map between the streams behind the layers, on texts that it was not fitted on."
    left = left_out(len(rows), min(len(rows), MOST_ROWS), "layers")
    columns = ("layer of b", "best layer of a", "R2")
    return block("LayerMatch", said, table(columns, rows[:MOST_ROWS], numeric=(0, 1, 2), left=left), caption(note))


@showing.figure.register
def plot_match(found: LayerMatch) -> Any:
    """How much of each layer of b each layer of a explains."""
    import plotly.graph_objects as go

    heat = go.Heatmap(z=np.round(found.explained, 4).tolist(), colorscale=SEQUENTIAL, zmin=0, zmax=1)
    heat.hovertemplate = "layer %{y} of a, layer %{x} of b: %{z:.3f}<extra></extra>"
    heat.colorbar.title = "R2"
    return go.Figure(heat).update_layout(
        title=shown(f"{found.a} to {found.b}"), xaxis_title="layer of b", yaxis_title="layer of a", width=560
    )


# ---------------------------------------------------------------- the decoder lens

_MOST_EXAMPLES: Final = 24


@showing.card.register
def decoder_lens_card(found: DecoderLens) -> Markup:
    """The first example from every layer: the most probable token, its probability, and what was written; the last layer at the bottom."""
    layers, first = found.layers[-MOST_ROWS:], max(0, len(found.layers) - MOST_ROWS)
    best, probabilities = found.logits[first:, 0].argmax(-1).tolist(), found.probabilities[first:, 0]
    given, agreement = probabilities.amax(-1).tolist(), found.agreement[first:]
    digits = share_digits(given)
    rows = [
        (
            f"layer {layer}",
            shaded(text(token(found.decode(i))), p, 1.0),
            percent(p, digits),
            percent(agrees, 0),
            text(said[0]),
        )
        for layer, i, p, agrees, said in zip(layers, best, given, agreement, found.texts[first:], strict=True)
    ]
    through = "raw" if found.raw or not found.normed else "through the encoder's final norm"
    said = joined(several(len(found.layers), "layer"), several(found.logits.shape[1], "example"), text(found.model))
    note = (
        f"What the decoder says when it attends to a layer of its encoder, {through}, in the place of the last: the next token of the "
        "first example and what it writes. Agrees: share of examples with the next token of the last of these layers."
    )
    left = left_out(len(found.layers), len(layers), "layers at the start")
    columns = ("", "next token", "probability", "agrees", "writes")
    return block("DecoderLens", said, table(columns, rows, numeric=(2, 3), left=left), caption(note))


@showing.figure.register
def decoder_lens_figure(found: DecoderLens) -> Any:
    """The most probable next token by layer and example, coloured by its probability; under the pointer what was written."""
    import plotly.graph_objects as go

    n = min(_MOST_EXAMPLES, found.logits.shape[1])
    shares, ids = found.probabilities[:, :n].max(-1)
    heat = token_heat(
        z=shares.tolist(),
        x=[str(b) for b in range(n)],
        y=[f"layer {layer}" for layer in found.layers],
        text=[[shown_token(found.decode(token)) for token in row] for row in ids.tolist()],
        customdata=[[shown_token(said, 120) for said in row[:n]] for row in found.texts],
        hovertemplate="%{y}: %{text}, probability %{z:.3f}<br>%{customdata}<extra></extra>",
    )
    title = "Decoder lens: next token when the decoder attends to a layer of the encoder (probability)"
    return (
        go.Figure(heat)
        .update_layout(title=title, xaxis_title="example")
        .update_xaxes(type="category")
        .update_yaxes(type="category")
    )
