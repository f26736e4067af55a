"""A mask over all parts of a level, on all pairs: the metric at any mask, and its slopes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from interp.attribution.batching.batches import Batch
from interp.attribution.edges.edge_batches import EdgeBatch
from interp.attribution.masks.masked_edges import MaskedEdges
from interp.attribution.masks.masked_nodes import MaskedNodes
from interp.attribution.masks.node_places import Place, places_of
from interp.ledger import BACKWARD
from interp.parts.nodes import Group, competes
from interp.rules.rules import GRADIENT, Rules


@dataclass(frozen=True)
class Masked:
    """The parts of a level on batches of pairs. A mask [part] has a share from 0 to 1 for each, in the order of the level's parts.

    Examples come batch by batch. advance: told of each run. turn: to which part of the pairs each batch belongs, where some can go
    through alone.
    """

    batches: Sequence[Batch]
    keep: bool = True
    advance: Callable[[int], None] = lambda steps: None
    turn: Sequence[int] = ()

    @property
    def _first(self) -> Batch:
        return self.batches[0]

    @cached_property
    def n_parts(self) -> int:
        first = self._first
        if isinstance(first, EdgeBatch):
            return len(first.map.graph.edges)
        return sum(group.n_units for group in first.groups)

    @cached_property
    def competing(self) -> Tensor:
        """Which parts compete for a place in a circuit: bool [part]."""
        first = self._first
        if isinstance(first, EdgeBatch):
            return torch.ones(self.n_parts, dtype=torch.bool)
        return torch.tensor([competes(group.kind) for group in first.groups for _ in range(group.n_units)])

    @property
    def turns(self) -> int:
        """How many parts of the pairs can go through alone."""
        return max(self.turn, default=0) + 1

    def examples(self, turn: int) -> Tensor:
        """Which examples are of one part of the pairs: bool [example]."""
        of = self.turn or [0] * len(self.batches)
        return torch.tensor([own == turn for own, batch in zip(of, self.batches, strict=True) for _ in batch.pairs])

    @property
    def spent(self) -> float:
        """What runs of these batches have cost so far, in forwards of all pairs; a backward counts two."""
        passes = [(b.forwards + BACKWARD * b.backwards, len(b.pairs)) for b in self.batches]
        return sum(cost * n for cost, n in passes) / sum(n for _, n in passes)

    def metric(self, mask: Tensor) -> Tensor:
        """The metric of every pair [example], batch by batch."""
        found = []
        for i in range(len(self.batches)):
            found.append(self._run(i, mask, GRADIENT).metric().double().cpu())
            self.advance(1)
        return torch.cat(found)

    def slopes(self, mask: Tensor, rules: Rules = GRADIENT, turn: int | None = None) -> tuple[Tensor, Tensor]:
        """The metric [example], and d metric / d share [example part], the coefficients of the rules in the place of gradients; of all
        pairs, or those of one turn."""
        metrics, slopes = [], []
        for i, batch in enumerate(self.batches):
            if turn is not None and self.turn and self.turn[i] != turn:
                continue
            metric, found = self._run(i, mask, rules).derivative()
            metrics.append(metric.double().cpu())
            if isinstance(found, Tensor):
                found = found[:, self._visible.to(found.device)]
            else:
                found = torch.cat([found[group] for group in batch.groups], dim=1)
            slopes.append(found.double().cpu())
            self.advance(1)
        return torch.cat(metrics), torch.cat(slopes)

    @cached_property
    def _visible(self) -> Tensor:
        return torch.from_numpy(self._first.map.graph.visible)  # type: ignore[attr-defined]

    def _run(self, i: int, mask: Tensor, rules: Rules) -> MaskedEdges | MaskedNodes:
        batch = self.batches[i]
        dtype = torch.float64 if batch.model.dtype is torch.float64 else torch.float32
        mask = mask.detach().to(batch.model.device, dtype)
        if isinstance(batch, EdgeBatch):
            square = mask.new_zeros(self._visible.shape)
            square[self._visible] = mask
            return MaskedEdges(batch, square, rules, self.keep)
        shares: dict[Group, Tensor] = {}
        for group in batch.groups:
            shares[group], mask = mask[: group.n_units], mask[group.n_units :]
        return MaskedNodes(batch, self._places[i], shares, rules)

    @cached_property
    def _places(self) -> list[dict[Group, Place]]:
        return [places_of(batch) for batch in self.batches]
