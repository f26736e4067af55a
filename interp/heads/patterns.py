"""Where the heads of a model look on one prompt, from token to token or from word to word.

Axis words: `layer head q_pos k_pos`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from interp.errors import InterpError, TaskError, unknown
from interp.formatting.showing import card, figure, page
from interp.given import kinds_checked
from interp.heads.looking import Watched
from interp.heads.words_of_tokens import over_words, words_of
from interp.model.inputs.answering import answers_at
from interp.model.inputs.taking import taken
from interp.model.modules.lock import settled
from interp.parts.named_inputs import Inputs
from interp.parts.tokens import Tokens


@dataclass(frozen=True, eq=False)
class AttentionPatterns:
    """Attention weights of one prompt: how much of what a head reads at a query token comes from each key token.

    tokens: the prompt's, as text, or its words. sources: of heads that attend to another stream what stands there. layers: those that were read, in order. weights: [layer head q_pos k_pos], each row sums to
    1 (less where the model has an attention sink). read: the position that the answer is read at, -1 for the last; None where it is made of several.
    """

    tokens: tuple[str, ...]
    layers: tuple[int, ...]
    weights: np.ndarray
    model: str = ""
    stack: str = ""
    read: int | None = -1
    sources: tuple[str, ...] = ()

    @property
    def looked_at(self) -> tuple[str, ...]:
        """What the columns of a pattern are [k_pos]."""
        return self.sources or self.tokens

    @property
    def heads(self) -> tuple[str, ...]:
        """The name of every head, layer by layer: `a3.h2`, `x3.h2` of one that attends to another stream; with the prefix of its stack, where that has one."""
        prefix = f"{self.stack}:" if self.stack else ""
        prefix += "x" if self.sources else "a"
        return tuple(f"{prefix}{layer}.h{head}" for layer in self.layers for head in range(self.weights.shape[1]))

    def __getitem__(self, head: str) -> np.ndarray:
        """The pattern of a head by name [q_pos k_pos]. Raises: InterpError with the near names."""
        if head not in self.heads:
            raise InterpError(unknown("head", head, self.heads))
        flat = self.weights.reshape(-1, *self.weights.shape[2:])
        return np.asarray(flat[self.heads.index(head)])

    def looks(self, head: str) -> np.ndarray:
        """Where a head looks from the position that the answer is read at, or from all of them on average [k_pos]."""
        weights = self[head]
        return np.asarray(weights.mean(0) if self.read is None else weights[self.read])

    def __str__(self) -> str:
        return f"Attention patterns of {len(self.heads)} heads on {len(self.tokens)} tokens"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return str(card(self))

    def render(self) -> str:
        """One self-contained HTML page of all heads, which loads nothing: a small map of each, and one of them large."""
        return page(self)

    def plot(self, heads: str | Sequence[str] | None = None) -> Any:
        """Plotly heat maps of some heads: see `interp.plot_attention`."""
        return figure(self, heads=heads)


@kinds_checked
def attention_patterns(
    model: Any,
    prompt: Any,
    *,
    layers: Sequence[int] | None = None,
    words: bool = False,
    stack: str | None = None,
    cross: bool = False,
) -> AttentionPatterns:
    """The attention weights of every head of some layers (all by default) on one prompt: text, ids [pos], or one input that is no text.

    stack: whose heads, by its prefix, of a model with several (`encoder`); by default the one that is read last.
    cross: attention to the other stream instead, of a decoder to its encoder's: columns are then the encoder's positions (`sources`).
    words: from word to word of a text, as its fast tokeniser cuts it: summed to a word, averaged from it (see `interp.heads.words_of_tokens`).
    Cost: one forward; it holds [head q_pos k_pos] per layer.
    Raises: TaskError for several prompts or none, and for `words` of what is no text or has no fast tokeniser, or with `cross`; SiteError for a
    layer that does not exist or, with `cross`, attends to its own stream alone, or a model whose attention does not go through the one attention function and so has no pattern to read.
    """
    with settled(model.device):
        given = taken(model, prompt)
    n = len(given.ids) if isinstance(given, Tokens) else len(given)
    if n != 1:
        raise TaskError(f"{n} prompts given; expected one: its text, or a list of token ids.")
    if words and cross:
        raise TaskError(
            "words=True with cross=True: words are of one text, and cross-attention goes from one stream to another."
        )
    if words and not (isinstance(prompt, str) and isinstance(given, Tokens)):
        raise TaskError(f"words=True: given {prompt!r:.60}; expected one text, whose tokens have words.")
    watched = Watched.of(model, layers, stack, cross)
    with settled(model.device), torch.no_grad():
        run = model.run(given, reads=watched.sites, logits_to_keep=1)
        weights = torch.stack([run[site][0].float().cpu() for site in watched.sites]).numpy()
    at = answers_at(model, given) if watched.stack == model.layout.name else None
    if not words or isinstance(given, Inputs):
        names = model.positions(given, watched.stack)
        sources = model.positions(given, watched.looked_at) if cross else ()
        return AttentionPatterns(names, watched.layers, weights, model.name, watched.stack, at, sources)
    groups, names = words_of(model.tokenizer, prompt, given.ids[0].tolist())
    read = next((i for i, tokens in enumerate(groups) if at in tokens), None)
    whole = over_words(weights, groups).astype(weights.dtype)
    return AttentionPatterns(names, watched.layers, whole, model.name, read=read)
