"""What every writer wrote in a masked run less what replaces it, and the way back: one product a layer in each direction.

The copy of reader v is  s_v + sum_u M[v, u] delta_u  with delta_u = a_u(now) - a_u(source) and s_v the stream with every part replaced.
Backward, with g_v the gradient (or relevance coefficient) at that copy,

    d m / d M[v, u] = g_v . delta_u,        gradient at what u writes = sum_v M[v, u] g_v.

Both sums run over memory that is taken once. Autograd only orders the work: each write hands on a token of one number that
every later reader takes, so that it goes back after all of them.

Axis words: `reader writer batch pos d_model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from interp.attribution.edges.workspace import Workspace
from interp.ledger import spend
from interp.parts.graph import Graph

#: Bytes of gradients at readers that wait before they meet all writers.
WAITING_BYTES: Final = 48 << 20


@dataclass
class Mixture:
    """The state of one masked run. mask [reader writer]; like: [batch pos d_model], whose dtype and device everything has."""

    graph: Graph
    mask: Tensor
    like: Tensor
    workspace: Workspace
    backward: bool = True
    _waiting: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        shape = len(self.graph.writers), *self.like.shape
        self.deltas = self.workspace.take("masked deltas", shape, self.like)
        self.derivative = self.like.new_zeros(len(self.like), *self.mask.shape) if self.backward else self.like[:0]
        if self.backward:
            self.returned = self.workspace.take("masked gradients", shape, self.like).zero_()
            row = self.like.numel() * self.like.element_size()
            most = 2 * len(self.graph.attention_readers(0))
            rows = max(most, min(WAITING_BYTES // row, len(self.graph.readers)))
            self._held = self.workspace.take("masked readers", (rows, *self.like.shape), self.like)

    # ------------------------------------------------------------ forward

    def copies(self, total: Tensor, readers: Sequence[int]) -> Tensor:
        """total + sum_u M[v, u] delta_u for readers that see the same writers [reader batch pos d_model]."""
        n = self.graph.n_upstream[readers[0]]
        weights = self.mask[readers[0] : readers[-1] + 1, :n]
        spend(weights.numel() * self.like.numel())
        found = torch.addmm(total.flatten()[None], weights, self.deltas[:n].flatten(1))
        return found.view(len(readers), *self.like.shape)

    # ------------------------------------------------------------ backward

    def rows(self, n: int) -> Tensor:
        """Memory for the gradients of `n` more readers [reader batch pos d_model]; `take` says whose they are."""
        if len(self._waiting) + n > len(self._held):
            self.meet()
        return self._held[len(self._waiting) : len(self._waiting) + n]

    def take(self, readers: Sequence[int]) -> None:
        """The last rows are filled: the gradients at the copies of these readers."""
        self._waiting += readers

    def gradient_at(self, start: int, end: int) -> Tensor:
        """sum_v M[v, u] g_v for writers start..end, once all their readers have been taken [writer batch pos d_model]."""
        found = self.returned[start:end]
        if self._waiting:
            weights = self.mask[self._waiting, start:end].T
            spend(weights.numel() * self.like.numel())
            found.flatten(1).addmm_(weights, self._held[: len(self._waiting)].flatten(1))
        return found

    def meet(self) -> None:
        """Take the readers that wait to all writers that they see."""
        if not self._waiting:
            return
        sees = [self.graph.n_upstream[reader] for reader in self._waiting]
        for n in sorted(set(sees)):
            self._meet([i for i, seen in enumerate(sees) if seen == n], n)
        self._waiting = []

    def _meet(self, rows: list[int], n: int) -> None:
        readers = [self._waiting[i] for i in rows]
        g = self._held[rows[0] : rows[-1] + 1]
        deltas = self.deltas[:n]
        spend(2 * len(rows) * n * self.like.numel())
        product = torch.bmm(g.flatten(2).transpose(0, 1), deltas.flatten(2).permute(1, 2, 0))
        self.derivative[:, readers, :n] += product
        self.returned[:n].flatten(1).addmm_(self.mask[readers, :n].T, g.flatten(1))
