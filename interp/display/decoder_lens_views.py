"""How a decoder lens looks: what the decoder says, and writes, from each layer of its encoder."""

from __future__ import annotations

from typing import Any, Final

from markupsafe import Markup

from interp.display.plots import shown_token, token_heat
from interp.formatting import showing
from interp.formatting.html import MOST_ROWS, block, caption, joined, left_out, shaded, table, text
from interp.formatting.numbers import percent, several, share_digits
from interp.formatting.text import token
from interp.lenses.decoder_lens import DecoderLens

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
