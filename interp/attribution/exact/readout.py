"""From the stream that enters the final norm to the logits that a metric reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interp.attribution.exact.counts import Counts
from interp.model.modules.tensors import activation_out
from interp.model.vocabulary import Columns


@dataclass(frozen=True)
class Readout:
    """The final norm and the unembedding of a model, of `columns` only where they are given; or its head, where that is more. Of a model that ends
    with the stream it is the stream.

    `at`: the one position of each example that is read [example], where it is not counted from the end.
    """

    model: Any
    columns: Columns | None
    at: Tensor | None = None

    @property
    def n_tokens(self) -> int:
        """How many logits a position has, or numbers in their place."""
        if self.model.outcome is not None:
            return int(self.model.layout.d_model)
        return self.model.layout.d_vocab if self.columns is None else len(self.columns.tokens)

    @property
    def computed(self) -> int:
        """How many logits are computed for a position: all, where only some cannot be."""
        if self.model.outcome is not None:
            return 0
        alone = self._unembeds and self.columns is not None and self.columns.W is not None
        return self.n_tokens if alone else int(self.model.layout.d_vocab)

    @property
    def _unembeds(self) -> bool:
        """Whether final norm and unembedding are all that is behind the last block."""
        return self.model.layout.readout == "each" and bool(self.model.layout.linear)

    def logits(self, x: Tensor, counts: Counts) -> Tensor:
        """[row pos d_model] -> [row pos token]; one position where a prompt has one output, or is read at one."""
        layout, get = self.model.layout, self.model.hf.get_submodule
        if self.at is not None:
            at = self.at.to(x.device).repeat(len(x) // len(self.at))
            x = x[torch.arange(len(x), device=x.device), at][:, None]
        if self.model.outcome is not None:
            return x
        if not self._unembeds:
            counts.unembedded += len(x) * (x.shape[1] if layout.readout == "each" else 1) * self.computed
            return self._through_head(x)
        normed = x if layout.ln_final is None else get(layout.ln_final)(x)
        counts.unembedded += normed[..., 0].numel() * self.computed
        if self.columns is not None and self.columns.W is not None:
            return self.columns.of_normed(normed)
        logits = self._scaled_and_capped(get(layout.unembed)(normed))
        return logits if self.columns is None else self.columns.chosen(logits)

    def _through_head(self, x: Tensor) -> Tensor:
        for step in self.model.layout.head:
            x = activation_out(self.model.hf.get_submodule(step.path)(x if step.at is None else x[:, step.at]))
        x = self._scaled_and_capped(x)
        x = x[:, None] if x.ndim == 2 else x
        return x if self.columns is None else self.columns.chosen(x)

    def _scaled_and_capped(self, x: Tensor) -> Tensor:
        layout = self.model.layout
        x = x if layout.logits_scale == 1.0 else x * layout.logits_scale
        return x if layout.logits_softcap is None else layout.logits_softcap * torch.tanh(x / layout.logits_softcap)
