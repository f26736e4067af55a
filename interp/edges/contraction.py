"""score[v, u] = sum over positions and d_model of d_u . g_v, while the gradients g_v come by in the backward pass.

Gradients wait in a buffer of bounded size; when it is full, the differences d_u are made, heads one layer at a time, and
contracted with all of it. No tensor of all writers or of all readers ever exists, and memory is taken once and used again:
fresh pages cost as much as the arithmetic on them.

Axis words: `reader writer batch pos d_model label`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from interp.edges.readers import Pullback
from interp.edges.writers import Values, Writers

BUFFER_BYTES: Final = 48 << 20
WRITER_BYTES: Final = 16 << 20


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
    _heads: Tensor | None = None
    _held: list[int] = field(default_factory=list)

    def add(self, readers: Sequence[int], gradient: Tensor, pullback: Pullback, mean: Tensor | None = None) -> None:
        """Take readers in the order of the backward pass, so that no later one sees more writers than an earlier one.

        gradient [reader batch pos d_model]: at what their norm makes of the stream; `pullback` takes it to the stream, and
        `mean` is for it.
        """
        if self._buffer is not None and len(self._held) + len(readers) > self._buffer.shape[1]:
            self.flush()
        if self._buffer is None or self._buffer.shape[1] < len(readers):
            _, batch, *rest = gradient.shape
            self._buffer = gradient.new_empty(batch, self._rows(len(readers), gradient), *rest)
        place = self._buffer[:, len(self._held) : len(self._held) + len(readers)].transpose(0, 1)
        pullback.into(place, gradient, mean)
        self._held += readers

    def _rows(self, least: int, gradient: Tensor) -> int:
        """How many readers the buffer holds: what its bytes allow, and no more than there are."""
        fit = BUFFER_BYTES // (gradient[0].numel() * gradient.element_size())
        return max(least, min(fit, len(self.writers.graph.readers)))

    def flush(self) -> None:
        """Contract what is held with every writer that it sees."""
        if not self._held:
            return
        sees = [self.writers.graph.n_upstream[reader] for reader in self._held]
        for layer, start, end in self.writers.layers():
            if start < max(sees) and self._wanted(start):
                self._heads = self.writers.heads(layer, self.values, self._heads)
                self._meet(range(start, end - 1), self._heads.transpose(0, 1), sees)
        for members, added in self._others(max(sees)):
            self._meet(members, added, sees)
        self._held = []

    def _wanted(self, writer: int) -> bool:
        return self.only is None or writer in self.only

    def _others(self, limit: int) -> Iterator[tuple[list[int], Tensor]]:
        """The embedding writers and the MLPs below `limit`: (their numbers, what they add), a few at a time."""
        found = [(writer, self.embeds[:, writer]) for writer in range(self.writers.first)]
        found += [(end - 1, self.writers.mlp(layer, self.values)) for layer, _, end in self.writers.layers()]
        found = [(writer, added) for writer, added in found if writer < limit and self._wanted(writer)]
        size = max(1, WRITER_BYTES // (self.embeds[:, 0].numel() * self.embeds.element_size()))
        for i in range(0, len(found), size):
            some = found[i : i + size]
            yield [writer for writer, _ in some], torch.stack([added for _, added in some], dim=1)

    def _meet(self, members: Sequence[int], added: Tensor, sees: Sequence[int]) -> None:
        """Contract writers, [batch writer pos d_model] in ascending order, with the readers held that see any of them."""
        counts = [sum(writer < n for writer in members) for n in sees]
        added, where = added.to(self.scores.dtype), torch.tensor(members, device=self.scores.device)
        for count in sorted(set(counts) - {0}):
            first, last = counts.index(count), len(counts) - counts[::-1].index(count)
            product = self._product(self._buffer[:, first:last], added[:, :count])  # type: ignore[index]
            held = torch.tensor(self._held[first:last], device=self.scores.device)
            self.scores[:, :, held[:, None], where[:count]] += self.weight * product.to(self.scores)

    def _product(self, gradients: Tensor, differences: Tensor) -> Tensor:
        """[batch reader pos d_model], [batch writer pos d_model] -> [batch label reader writer]."""
        if self.masks is None:
            return torch.bmm(gradients.flatten(2), differences.flatten(2).transpose(1, 2))[:, None]
        per_position = torch.einsum("brpd,bupd->bpru", gradients, differences)
        return torch.einsum("lbp,bpru->blru", self.masks.to(per_position), per_position)
