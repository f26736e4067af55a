"""score[v, u] = sum over positions and d_model of d_u . g_v, while the gradients g_v come by in the backward pass.

Gradients wait in a buffer of bounded size; when it is full, it is contracted with the differences d_u. These are made once where they fit
into their memory, else as many layers at a time as do, for every buffer again. No tensor of all readers ever exists.

Axis words: `reader writer batch pos d_model label`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from interp.attribution.edges.pullbacks import Fill
from interp.attribution.edges.workspace import Workspace
from interp.attribution.edges.writers import Values, Writers

BUFFER_BYTES: Final = 32 << 20
WRITER_BYTES: Final = 64 << 20
#: Readers go through one product that see at least this share of what the first of them sees.
NEARLY: Final = 0.7


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
    _made: tuple[int, int] | None = None
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
        only = self._only
        for start, end in self._chunks():
            low, high = max(start, only.start), min(end, only.stop, max(sees))
            if low < high:
                self._meet(low, self._written(start, end)[low - start : high - start], sees)
        self._held = []

    @property
    def _only(self) -> range:
        return self.only or range(len(self.writers.graph.writers))

    def _chunks(self) -> Iterator[tuple[int, int]]:
        """(first writer, one past the last), the embedding and whole layers: as many at once as fit, at least one.

        Every chunk reads the whole buffer, so few chunks are fast.
        """
        start, end = -1, 0
        for own in (range(self.writers.first), *self.writers.graph.layer_writers):
            if own.stop <= self._only.start or own.start >= self._only.stop:
                continue
            if start >= 0 and (own.stop - start) * self._row_bytes > WRITER_BYTES:
                yield start, end
                start = -1
            start, end = own.start if start < 0 else start, own.stop
        yield start, end

    def _written(self, start: int, end: int) -> Tensor:
        """What writers start..end add [writer batch pos d_model]; made once where all writers fit into one chunk."""
        if self._added is None or len(self._added) < end - start:
            self._added = self._memory("writers", end - start)
        if self._made == (start, end):
            return self._added[: end - start]
        if start < self.writers.first:
            self._added[: self.writers.first] = self.embeds.transpose(0, 1)
        for step in (step for step in self.writers.graph.steps if start <= step.writers.start < end):
            place = slice(step.writers.start - start, step.writers.stop - start)
            self.writers.written(step, self.values, out=self._added[place])
        self._made = start, end
        return self._added[: end - start]

    def _meet(self, low: int, added: Tensor, sees: Sequence[int]) -> None:
        """Contract writers from `low` on [writer batch pos d_model] with the readers held that see any of them.

        Readers that see nearly as many go together: large products are fast. What one gets from a writer that it does not see is
        no edge's score, and nobody reads it.
        """
        seen = [min(low + len(added), n) - low for n in sees if n > low]
        first = 0
        while first < len(seen):
            most = seen[first]
            last = next((i for i, n in enumerate(seen) if i > first and n < NEARLY * most), len(seen))
            product = self._product(self._buffer[first:last], added[:most])  # type: ignore[index]
            held = torch.tensor(self._held[first:last], device=self.scores.device)
            self.scores[:, :, held, low : low + most] += self.weight * product.to(self.scores)
            first = last

    def _product(self, gradients: Tensor, differences: Tensor) -> Tensor:
        """[reader batch pos d_model], [writer batch pos d_model] -> [batch label reader writer]."""
        if self.masks is None:
            g, d = gradients.flatten(2), differences.flatten(2)
            return torch.bmm(d.transpose(0, 1), g.permute(1, 2, 0)).mT[:, None]  # writers are fewer: this way is faster
        per_position = torch.einsum("rbpd,ubpd->bpru", gradients, differences)
        return torch.einsum("lbp,bpru->blru", self.masks.to(per_position), per_position)
