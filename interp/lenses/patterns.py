"""Where the heads of a model look on one prompt.

Axis words: `layer head q_pos k_pos`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from interp.errors import InterpError, SiteError, TaskError, unknown
from interp.formatting.showing import card, figure
from interp.given import kinds_checked
from interp.model.inputs.taking import taken
from interp.model.modules.lock import settled
from interp.parts.sites import Site
from interp.parts.tokens import Tokens


@dataclass(frozen=True, eq=False)
class AttentionPatterns:
    """Attention weights of one prompt: how much of what a head reads at a query token comes from each key token.

    tokens: the prompt's, as text. layers: those that were read, in order. weights: [layer head q_pos k_pos], each row sums to
    1 (less where the model has an attention sink).
    """

    tokens: tuple[str, ...]
    layers: tuple[int, ...]
    weights: np.ndarray
    model: str = ""

    @property
    def heads(self) -> tuple[str, ...]:
        """The name of every head, layer by layer: `a3.h2`."""
        return tuple(f"a{layer}.h{head}" for layer in self.layers for head in range(self.weights.shape[1]))

    def __getitem__(self, head: str) -> np.ndarray:
        """The pattern of a head by name [q_pos k_pos]. Raises: InterpError with the near names."""
        if head not in self.heads:
            raise InterpError(unknown("head", head, self.heads))
        flat = self.weights.reshape(-1, *self.weights.shape[2:])
        return np.asarray(flat[self.heads.index(head)])

    def __str__(self) -> str:
        return f"Attention patterns of {len(self.heads)} heads on {len(self.tokens)} tokens"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return str(card(self))

    def plot(self, heads: str | Sequence[str] | None = None) -> Any:
        """Plotly heat maps of some heads: see `interp.plot_attention`."""
        return figure(self, heads=heads)


@kinds_checked
def attention_patterns(model: Any, prompt: Any, *, layers: Sequence[int] | None = None) -> AttentionPatterns:
    """The attention weights of every head of some layers (all by default) on one prompt: text, ids [pos], or one input that is no text.

    Cost: one forward; it holds [head q_pos k_pos] per layer.
    Raises: TaskError for several prompts or none; SiteError for a layer that does not exist, or a model whose attention does not go
    through the one attention function and so has no pattern to read.
    """
    with settled(model.device):
        given = taken(model, prompt)
    n = len(given.ids) if isinstance(given, Tokens) else len(given)
    if n != 1:
        raise TaskError(f"{n} prompts given; expected one: its text, or a list of token ids.")
    chosen = tuple(range(model.layout.n_layers)) if layers is None else tuple(dict.fromkeys(layers))
    if not chosen:
        raise SiteError("layers: none given; expected one or more, for example layers=[0].")
    with settled(model.device), torch.no_grad():
        run = model.run(given, reads=[Site("pattern", layer) for layer in chosen], logits_to_keep=1)
        weights = torch.stack([run[Site("pattern", layer)][0].float().cpu() for layer in chosen]).numpy()
    return AttentionPatterns(model.positions(given), chosen, weights, model.name)
