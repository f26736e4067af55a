"""What every writer wrote in a masked run less what replaces it, and the way back: one product a layer in each direction.

The copy of reader v is  s_v + sum_u M[v, u] delta_u  with delta_u = a_u(now) - a_u(source) and s_v the stream with every part replaced.
Backward, with g_v the gradient (or relevance coefficient) at that copy,

    d m / d M[v, u] = g_v . delta_u,        gradient at what u writes = sum_v M[v, u] g_v.

Both sums run over memory that is taken once. Autograd only orders the work: each write hands on a token of one number that
every later reader takes, so that it goes back after all of them.

Axis words: `reader writer batch pos d_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import torch
from torch import Tensor

from interp.attribution.edges.pullbacks import Fill
from interp.attribution.edges.workspace import Workspace
from interp.attribution.masks.tape import read, written
from interp.ledger import spend
from interp.parts.graph import Graph

#: Bytes of gradients at readers that wait before they meet all writers.
WAITING_BYTES: Final = 48 << 20


@dataclass
class Mixture:
    """The state of one masked run. mask [reader writer], 0 where no edge is; totals: by how many writers a reader sees, the stream
    [batch pos d_model] with every part replaced."""

    graph: Graph
    mask: Tensor
    totals: Mapping[int, Tensor]
    workspace: Workspace
    backward: bool = True
    _waiting: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.like = next(iter(self.totals.values()))
        self.token = self.like.new_zeros(1).requires_grad_(self.backward)
        shape = len(self.graph.writers), *self.like.shape
        self.deltas = self.workspace.take("masked deltas", shape, self.like)
        self.derivative = self.like.new_zeros(len(self.like), *self.mask.shape) if self.backward else self.like[:0]
        if self.backward:
            self.returned = self.workspace.take("masked gradients", shape, self.like).zero_()
            row = self.like.numel() * self.like.element_size()
            most = 2 * self.graph.n_attention_readers
            rows = max(most, min(WAITING_BYTES // row, len(self.graph.readers)))
            self._held = self.workspace.take("masked readers", (rows, *self.like.shape), self.like)

    # ------------------------------------------------------------ forward

    def write(self, start: int, end: int, value: Tensor) -> None:
        """Writers start..end now write this more than the source's [writer batch pos d_model]."""
        self.deltas[start:end] = value.detach()
        if value.requires_grad:
            self.token = written(self.token, value, partial(self.gradient_at, start, end))

    def read(self, value: Tensor, take: Callable[[Tensor], None]) -> Tensor:
        """`value`, which readers have now; `take` gets its gradient."""
        return read(self.token, value.detach(), take) if self.backward else value.detach()

    def share(self, readers: Sequence[int]) -> float | None:
        """How much readers that see the same writers see of all of them: 1 or 0, None for anything else."""
        rows = self.mask[readers[0] : readers[-1] + 1, : self.graph.n_upstream[readers[0]]]
        first = float(rows[0, 0])
        return first if first in (0.0, 1.0) and bool((rows == first).all()) else None

    def total(self, readers: Sequence[int]) -> Tensor:
        """What readers that see the same writers see where every part is replaced [batch pos d_model]."""
        return self.totals[self.graph.n_upstream[readers[0]]]

    def copies(self, readers: Sequence[int]) -> Tensor:
        """total + sum_u M[v, u] delta_u for readers that see the same writers [reader batch pos d_model]."""
        total, n = self.total(readers), self.graph.n_upstream[readers[0]]
        weights = self.mask[readers[0] : readers[-1] + 1, :n]
        spend(weights.numel() * self.like.numel())
        found = torch.addmm(total.flatten()[None], weights, self.deltas[:n].flatten(1))
        return found.view(len(readers), *self.like.shape)

    # ------------------------------------------------------------ backward

    def take(self, readers: Sequence[int], fill: Fill) -> None:
        """The gradients at the copies of these readers, which `fill` writes to a tensor [reader batch pos d_model]."""
        if len(self._waiting) + len(readers) > len(self._held):
            self.meet()
        fill(self._held[len(self._waiting) : len(self._waiting) + len(readers)])
        self._waiting += readers

    def gradient_at(self, start: int, end: int) -> Tensor:
        """sum_v M[v, u] g_v for writers start..end, once all their readers have been taken [writer batch pos d_model]."""
        found = self.returned[start:end].clone()
        if self._waiting:
            weights = self.mask[self._waiting, start:end].T
            spend(weights.numel() * self.like.numel())
            found.flatten(1).addmm_(weights, self._held[: len(self._waiting)].flatten(1))
        return found

    def let_go(self) -> None:
        """Hold nothing of the graph, whose marks hold this object: no garbage collector sees through it."""
        self.token = self.token.detach()

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
