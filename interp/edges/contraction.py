"""score[v, u] = sum over positions and d_model of d_u . g_v, while the gradients g_v come by in the backward pass.

Gradients wait in a buffer of bounded size; when it is full, the differences d_u are made one layer of writers at a time and
contracted with all of it. No tensor of all writers or of all readers ever exists.

Axis words: `reader writer batch pos d_model label`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from interp.edges.writers import Values, Writers

BUFFER_BYTES: Final = 48 << 20


@dataclass
class Contraction:
    """Accumulates weight * d_u . g_v into `scores` [batch label reader writer].

    `embeds`: differences of the embedding writers [batch writer pos d_model]; `values`: those of all other writers.
    `masks` [label batch pos]: which positions each label means; None where there is one label for all. `only`: the writers
    to score.
    """

    writers: Writers
    values: Values
    embeds: Tensor
    masks: Tensor | None
    scores: Tensor
    weight: float = 1.0
    only: range | None = None
    _buffer: Tensor | None = None
    _held: list[int] = field(default_factory=list)

    def add(self, readers: Sequence[int], gradient: Tensor) -> None:
        """Take gradients [reader batch pos d_model] of readers that no earlier call sees less of than this one."""
        if self._buffer is not None and len(self._held) + len(readers) > len(self._buffer):
            self.flush()
        if self._buffer is None or len(self._buffer) < len(readers):
            self._buffer = gradient.new_empty(self._rows(len(readers), gradient), *gradient.shape[1:])
        self._buffer[len(self._held) : len(self._held) + len(readers)] = gradient
        self._held += readers

    def _rows(self, least: int, gradient: Tensor) -> int:
        """How many readers the buffer holds: what its bytes allow, and no more than there are."""
        fit = BUFFER_BYTES // (gradient[0].numel() * gradient.element_size())
        return max(least, min(fit, len(self.writers.graph.readers)))

    def flush(self) -> None:
        """Contract what is held with every writer that it sees."""
        if not self._held or self._buffer is None:
            return
        sees = [self.writers.graph.n_upstream[reader] for reader in self._held]
        self._meet(0, self.embeds.shape[1], lambda: self.embeds, sees)
        for layer, start, end in self.writers.layers():
            if start < max(sees):
                self._meet(start, end, lambda layer=layer: self.writers.expanded(layer, self.values), sees)  # type: ignore[misc]
        self._held = []

    def _meet(self, start: int, end: int, expand: Callable[[], Tensor], sees: Sequence[int]) -> None:
        """Contract writers start..end with the readers held that see any of them."""
        only = self.only or range(len(self.writers.graph.writers))
        low, high = max(start, only.start), min(end, only.stop)
        if low >= high or low >= max(sees):
            return
        differences = expand()[:, low - start : high - start]
        for seen in sorted({min(high, n) for n in sees if n > low}):
            rows = [i for i, n in enumerate(sees) if min(high, n) == seen]
            first, last = rows[0], rows[-1] + 1
            product = self._product(self._buffer[first:last], differences[:, : seen - low])  # type: ignore[index]
            held = torch.tensor(self._held[first:last], device=self.scores.device)
            self.scores[:, :, held, low:seen] += self.weight * product.to(self.scores)

    def _product(self, gradients: Tensor, differences: Tensor) -> Tensor:
        """[reader batch pos d_model], [batch writer pos d_model] -> [batch label reader writer]."""
        if self.masks is None:
            rows = [g.flatten(1) @ d.flatten(1).T for g, d in zip(gradients.unbind(1), differences, strict=True)]
            return torch.stack(rows)[:, None]
        per_position = torch.einsum("rbpd,bupd->bpru", gradients, differences.to(gradients))
        return torch.einsum("lbp,bpru->blru", self.masks.to(per_position), per_position)
