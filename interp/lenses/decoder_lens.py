"""What a decoder makes of each layer of its encoder: the DecoderLens.

Axis words: `layer batch source_pos d_vocab`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from interp.errors import InterpError, LayoutError, SiteError
from interp.formatting.table import Table, along, check_sizes, lines_of
from interp.formatting.text import visible
from interp.given import kinds_checked
from interp.model.inputs.taking import taken
from interp.model.modules.lock import settled
from interp.model.modules.tensors import close
from interp.model.writing import written
from interp.parts.named_inputs import Inputs, repeated
from interp.parts.tokens import Texts, Tokens
from interp.precision import wide
from interp.whole_numbers import whole


@dataclass(frozen=True, eq=False, repr=False)
class DecoderLens(Table):
    """What the decoder says when it attends to layer l of the encoder in the place of the last.

    layers: those of the encoder that were tried, in order. logits [layer batch d_vocab]: of what follows what the decoder has been given.
    texts: by layer and example what it then writes, as far as was asked for. decode: the text of an id. `raw`: without the
    encoder's final norm; `normed`: whether the encoder has one.
    """

    layers: tuple[int, ...]
    logits: Tensor = field(metadata=along(0, 1))
    texts: tuple[tuple[str, ...], ...]
    decode: Texts
    raw: bool
    normed: bool
    model: str = ""

    def __post_init__(self) -> None:
        batch = self.logits.shape[1]
        check_sizes(self, logits=(self.logits.shape[:1], (len(self.layers),)))
        check_sizes(self, texts=([len(row) for row in self.texts], [batch] * len(self.layers)))

    @property
    def probabilities(self) -> Tensor:
        """softmax(logits) [layer batch d_vocab]."""
        return torch.softmax(self.logits, dim=-1)

    @property
    def agreement(self) -> tuple[float, ...]:
        """By layer the share of examples whose most probable token is that of the last layer that was tried."""
        best = self.logits.argmax(-1)
        return tuple((best == best[-1]).double().mean(-1).tolist())

    def log_probability(self, tokens: int | Sequence[int]) -> Tensor:
        """The log-probability of one token, or of one for each example [layer batch]."""
        wanted = torch.as_tensor(tokens).expand(self.logits.shape[1])
        return torch.log_softmax(self.logits, -1).gather(-1, wanted[None, :, None].expand(len(self.layers), -1, 1))[
            ..., 0
        ]

    def text(self, layer: int, example: int = 0) -> str:
        """What the decoder writes from a layer. Raises: SiteError for one that was not tried."""
        if layer not in self.layers:
            raise SiteError(f"layer {layer}: tried were {', '.join(map(str, self.layers))}.")
        return self.texts[self.layers.index(layer)][example]

    def to_pandas(self) -> Any:
        """A row for each layer and example: layer, example, token, probability, agrees, text."""
        best, probabilities = self.logits.argmax(-1), self.probabilities
        rows = [
            (
                layer,
                b,
                self.decode(int(best[i, b])),
                float(probabilities[i, b, best[i, b]]),
                bool(best[i, b] == best[-1, b]),
                self.text(layer, b),
            )
            for i, layer in enumerate(self.layers)
            for b in range(self.logits.shape[1])
        ]
        return lines_of(("layer", "example", "token", "probability", "agrees", "text"), rows)

    def __str__(self) -> str:
        head = f"DecoderLens({len(self.layers)} layers of the encoder, {self.logits.shape[1]} examples)"
        shown = [f"  layer {layer}: {visible(self.text(layer))}" for layer in self.layers if self.text(layer)]
        return "\n".join((head, *shown))

    def _rows(self) -> Any:
        return self.to_pandas()


@kinds_checked
def decoder_lens(
    model: Any, inputs: Any, *, layers: Sequence[int] | None = None, max_new_tokens: int = 0, raw: bool = False
) -> DecoderLens:
    """Let the decoder of an encoder-decoder attend to layer l of the encoder in the place of the last one, for every l.

    The stream behind layer l goes through the encoder's own final norm, where it has one, unless `raw`; with the last layer this is the model
    itself. inputs: what `model.run` takes, of one size. layers: of the encoder, all by default. max_new_tokens: how much the decoder writes
    from each layer, the most probable token each time; 0 for none.

    Units: logits. Cost: one forward, and for each new token one of the decoder for every layer, all layers in one batch. Source: Langedijk et al.
    2023 (DecoderLens). Raises: LayoutError for a model without an encoder whose stream a decoder attends to; SiteError for a layer that it has
    not.
    """
    layout = model.layout
    if not layout.crosses:
        raise LayoutError("decoder lens: this model has no encoder that a decoder attends to; use interp.logit_lens.")
    if not model.encoded_width:
        raise LayoutError(
            f"decoder lens: the decoder of {type(model.hf).__name__} does not run on what its encoder gives alone."
        )
    n = layout.others[0].n_layers
    chosen = tuple(range(n)) if layers is None else tuple(whole(layer, "layer", SiteError) for layer in layers)
    if odd := [layer for layer in chosen if not 0 <= layer < n]:
        raise SiteError(f"layers: {odd[0]} given; this encoder has layers 0 to {n - 1}.")
    if not chosen:
        raise SiteError("layers: none given; expected one or more, for example layers=[0].")
    with settled(model.device), torch.no_grad():
        given = taken(model, inputs)
        if isinstance(given, Tokens):
            raise LayoutError(f"decoder lens: {type(model.hf).__name__} reads its encoder's stream from tokens alone.")
        most = whole(max_new_tokens, "max_new_tokens")
        if most < 0:
            raise InterpError(f"max_new_tokens={most}: expected 0 or more.")
        return _lens(model, given, chosen, most, raw)


def _lens(model: Any, given: Inputs, layers: tuple[int, ...], most: int, raw: bool) -> DecoderLens:
    stack, batch = model.layout.others[0], len(given)
    streams = _streams(model, given, layers, raw)
    copies: Inputs = repeated(given, len(layers))
    logits = wide(model.run(copies, encoded=streams, logits_to_keep=1).logits[:, -1].cpu())
    found = (
        written(model, copies, most, lambda logits: logits.argmax(-1), encoded=streams) if most else [[]] * len(copies)
    )
    rows = tuple(tuple(_said(model, row) for row in found[i * batch : (i + 1) * batch]) for i in range(len(layers)))
    named = Texts.of(model.text_of, range(logits.shape[-1]))
    return DecoderLens(
        layers, logits.view(len(layers), batch, -1), rows, named, raw, stack.ln_final is not None, model.name
    )


def _said(model: Any, ids: Sequence[int]) -> str:
    """What ids say; the ids themselves without a tokeniser."""
    return str(model.tokenizer.decode(ids)) if model.tokenizer is not None else " ".join(map(str, ids))


def _streams(model: Any, given: Inputs, layers: tuple[int, ...], raw: bool) -> Tensor:
    """What is attended to from each layer [layer x batch source_pos d_model]. Raises: LayoutError where the last layer, through the norm, is not
    what the encoder gives."""
    stack = model.layout.others[0]
    norm = model.hf.get_submodule(stack.ln_final) if stack.ln_final else None
    kind, last = f"{stack.name}:resid_post", stack.n_layers - 1
    run = model.run(given, reads=[f"{kind}.{layer}" for layer in dict.fromkeys((*layers, last))], logits_to_keep=1)

    def seen(layer: int, through: bool) -> Tensor:
        x: Tensor = run[f"{kind}.{layer}"]
        return norm(x) if norm is not None and through else x

    if not close(seen(last, True), model.encode(given)):
        raise LayoutError(
            "decoder lens: what the encoder gives is not its last layer through its final norm, so what an earlier layer would give is not known."
        )
    return torch.cat([seen(layer, not raw) for layer in layers])
