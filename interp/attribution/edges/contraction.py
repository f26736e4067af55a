"""score[v, u] = sum over positions and d_model of d_u . g_v, while the gradients g_v come by in the backward pass.

Gradients wait in a buffer of bounded size; when it is full, the differences d_u are made a layer at a time (a few where they are small), and
contracted with all of it. No tensor of all writers or of all readers ever exists.

Axis words: `reader writer batch pos d_model label`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from interp.attribution.edges.readers import Fill
from interp.attribution.edges.workspace import Workspace
from interp.attribution.edges.writers import Values, Writers

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
    workspace: Workspace
    weight: float = 1.0
    only: range | None = None
    _buffer: Tensor | None = None
    _added: Tensor | None = None
    _held: list[int] = field(default_factory=list)

    def add(self, readers: Sequence[int], fill: Fill) -> None:
        """Take readers in the order of the backward pass, so that no later one sees more writers than an earlier one.

        `fill` writes their gradients to a tensor [reader batch pos d_model].
        """
        if self._buffer is not None and len(self._held) + len(readers) > len(self._buffer):
            self.flush()
        if self._buffer is None or len(self._buffer) < len(readers):
            rows = max(len(readers), min(BUFFER_BYTES // self._row_bytes, len(self.writers.graph.readers)))
            self._buffer = self._memory("readers", rows)
        fill(self._buffer[len(self._held) : len(self._held) + len(readers)])
        self._held += readers

    @property
    def _row_bytes(self) -> int:
        """Bytes of one reader's gradient, or of what one writer adds."""
        return self.embeds[:, 0].numel() * self.scores.element_size()

    def _memory(self, name: str, rows: int) -> Tensor:
        """Memory for readers or writers [row batch pos d_model]."""
        batch, _, *rest = self.embeds.shape
        return self.workspace.take(name, (rows, batch, *rest), self.scores)

    def flush(self) -> None:
        """Contract what is held with every writer that it sees."""
        if not self._held:
            return
        sees = [self.writers.graph.n_upstream[reader] for reader in self._held]
        only = self.only or range(len(self.writers.graph.writers))
        for start, end, layers in self._chunks():
            low, high = max(start, only.start), min(end, only.stop, max(sees))
            if low < high:
                self._meet(low, self._written(start, end, layers)[low - start : high - start], sees)
        self._held = []

    def _chunks(self) -> Iterator[tuple[int, int, list[int]]]:
        """(first writer, one past the last, their layers): as many layers at once as fit, at least one.

        The embedding writers go with the first layers. Every chunk reads the whole buffer, so few chunks are fast.
        """
        start, end, layers = 0, self.writers.first, list[int]()
        for layer, _, last in self.writers.layers():
            if layers and (last - start) * self._row_bytes > WRITER_BYTES:
                yield start, end, layers
                start, layers = end, []
            layers.append(layer)
            end = last
        yield start, end, layers

    def _written(self, start: int, end: int, layers: Sequence[int]) -> Tensor:
        """What writers start..end add [writer batch pos d_model]."""
        if self._added is None or len(self._added) < end - start:
            self._added = self._memory("writers", end - start)
        place = self.writers.first if start == 0 else 0
        self._added[:place] = self.embeds.transpose(0, 1)[:place]
        for layer in layers:
            last = place + self.writers.graph.n_heads
            self.writers.heads(layer, self.values, out=self._added[place:last])
            self._added[last] = self.writers.mlp(layer, self.values)
            place = last + 1
        return self._added[: end - start]

    def _meet(self, low: int, added: Tensor, sees: Sequence[int]) -> None:
        """Contract writers from `low` on [writer batch pos d_model] with the readers held that see any of them."""
        high = low + len(added)
        for seen in sorted({min(high, n) for n in sees if n > low}):
            rows = [i for i, n in enumerate(sees) if min(high, n) == seen]
            first, last = rows[0], rows[-1] + 1
            product = self._product(self._buffer[first:last], added[: seen - low])  # type: ignore[index]
            held = torch.tensor(self._held[first:last], device=self.scores.device)
            self.scores[:, :, held, low:seen] += self.weight * product.to(self.scores)

    def _product(self, gradients: Tensor, differences: Tensor) -> Tensor:
        """[reader batch pos d_model], [writer batch pos d_model] -> [batch label reader writer]."""
        if self.masks is None:
            g, d = gradients.flatten(2), differences.flatten(2)
            return torch.bmm(g.transpose(0, 1), d.permute(1, 2, 0))[:, None]
        per_position = torch.einsum("rbpd,ubpd->bpru", gradients, differences)
        return torch.einsum("lbp,bpru->blru", self.masks.to(per_position), per_position)
