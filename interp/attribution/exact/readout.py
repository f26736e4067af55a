"""From the stream that enters the final norm to the logits that a metric reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interp.attribution.exact.counts import Counts
from interp.model.vocabulary import Columns


@dataclass(frozen=True)
class Readout:
    """The final norm and the unembedding of a model, of `columns` only where they are given."""

    model: Any
    columns: Columns | None

    @property
    def n_tokens(self) -> int:
        """How many logits a position has."""
        return self.model.layout.d_vocab if self.columns is None else len(self.columns.tokens)

    @property
    def computed(self) -> int:
        """How many logits are computed for a position: all, where only some cannot be."""
        alone = self.columns is not None and self.columns.W is not None
        return self.n_tokens if alone else int(self.model.layout.d_vocab)

    def logits(self, x: Tensor, counts: Counts) -> Tensor:
        """[row pos d_model] -> [row pos token]."""
        layout, get = self.model.layout, self.model.hf.get_submodule
        normed = x if layout.ln_final is None else get(layout.ln_final)(x)
        counts.unembedded += normed[..., 0].numel() * self.computed
        if self.columns is not None and self.columns.W is not None:
            return self.columns.of_input(normed)
        logits: Tensor = get(layout.unembed)(normed)
        logits = logits if layout.logits_scale == 1.0 else logits * layout.logits_scale
        logits = (
            logits
            if layout.logits_softcap is None
            else layout.logits_softcap * torch.tanh(logits / layout.logits_softcap)
        )
        return logits if self.columns is None else self.columns.chosen(logits)
