"""Sets of nodes run layer by layer, all together, from the modules of a model that can be restarted in the middle.

A state is the stream of all sets that have the same parts so far. A layer's attention is computed once for each state that
has heads there, with the ablated z of those that are out; where a set has no head of the layer, what the ablated values add
is added, and nothing is computed. The MLP is treated alike. Positions before the first token that differs between the runs
are those of the whole model; in the last layer only the positions count whose logits are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from torch import Tensor

from circuits.evaluation.running.layer_halves import IN_ATTENTION, IN_MLP, AttentionHalf, Half, MlpHalf
from circuits.evaluation.running.runner import PartSet
from interp.attribution.batching.batches import Batch
from interp.attribution.exact.engine import Replay
from interp.attribution.exact.forecast import starts_at
from interp.attribution.exact.readout import Readout
from interp.parts.layout import Layout
from interp.parts.nodes import Group

#: Bytes that what one call holds may take.
SHARED_BYTES: Final = 256 << 20
#: Kinds of node whose sets are run so; those of others are whole forwards.
SHARED: Final = frozenset((*IN_ATTENTION, *IN_MLP))


@dataclass(frozen=True)
class SharedRuns:
    """Sets of nodes on one batch of prompts of one length. Torch's grad mode must be off, and the model reserved."""

    replay: Replay
    readout: Readout
    batch: Batch

    @cached_property
    def start(self) -> int:
        """The first position where an ablated value can differ from the model's own, or that is read."""
        source = self.batch.source_inputs if self.batch.ablation.has_run else None
        first = starts_at(self.batch.base_inputs, source, self.replay.machine)
        return min(first, self.replay.first_read) if self.replay.keep else min(first, self.replay.length - 1)

    @cached_property
    def groups(self) -> Mapping[tuple[type[Half], int], Group]:
        """The nodes that are ablated in each half of each layer."""
        halves = {kind: half for half, kinds in ((AttentionHalf, IN_ATTENTION), (MlpHalf, IN_MLP)) for kind in kinds}
        return {(halves[group.kind], group.site.layer or 0): group for group in self.batch.groups}

    @property
    def bytes(self) -> int:
        """What is kept of both runs."""
        return self.replay.recording.bytes + sum(x.numel() * x.element_size() for x in self.batch.source().values())

    def at_once(self, limit: int) -> int:
        """How many sets one call of `metrics` takes within so many bytes."""
        neurons = any(group.kind == "neuron" for group in self.batch.groups)
        replay = self.replay
        return sets_at_once(limit, self.batch.model.layout, replay.batch, replay.length, self.start, neurons=neurons)

    def metrics(self, sets: Sequence[PartSet]) -> Tensor:
        """The metric of every set [set batch]."""
        x = self.replay.recording.stream(0)[None, :, self.start :]
        state = np.zeros(len(sets), dtype=int)
        for layer in range(self.replay.n_layers):
            x, state = self._through(layer, x, state, sets)
        found = torch.stack([self.batch.measure(self.batch.at_metric(self._logits(one))) for one in x])
        return found[torch.from_numpy(state).to(found.device)]

    def _logits(self, x: Tensor) -> Tensor:
        """The logits at the positions read, for the stream behind the last layer."""
        base = self.replay.recording.final
        rows = x.to(base.device)
        if not self.replay.keep and self.start:
            rows = torch.cat([base[:, : self.start], rows], dim=1)
        return self.readout.logits(rows, self.replay.counts)

    # ------------------------------------------------------------ one layer

    def _through(self, layer: int, x: Tensor, state: np.ndarray, sets: Sequence[PartSet]) -> tuple[Tensor, np.ndarray]:
        """The states [state batch pos d_model] behind a layer, and that of each set [set], from those before it."""
        x = x.to(self.replay.recording.layers[layer].x.device)
        first = max(self.start, self.replay.first_read if layer == self.replay.n_layers - 1 else 0)
        before = x[:, :, first - self.start :]
        own, middle, middle_of = self.replay.machine.modules[layer], before, state
        if own.attends:
            added, ways, middle_of = self._half(AttentionHalf, layer, first, x, state, sets)
            middle = own.between(before[[at for at, _ in ways]], added)
        if not own.computes:
            return middle, middle_of
        read = (before, state) if own.parallel else (middle, middle_of)
        added, _, mlp_of = self._half(MlpHalf, layer, first, *read, sets)
        ends, of = _different(middle_of, mlp_of)
        return torch.stack([own.leaving(middle[at], added[way]) for at, way in ends]), of

    def _half(
        self, half: type[Half], layer: int, first: int, x: Tensor, state: np.ndarray, sets: Sequence[PartSet]
    ) -> tuple[Tensor, list[tuple[int, int]], np.ndarray]:
        """What half of a layer adds to the states x, for each different (state, choice of units), these, and which each set has."""
        group = self.groups.get((half, layer))
        source = None if group is None else self.batch.source()[group.site].to(x.device)[:, first:]
        kept, of = _chosen(group, sets)
        ways, of = _different(state, of)
        found = half(self.replay, layer, self.start, first, group, source).added(x, [(at, kept[i]) for at, i in ways])
        return found, ways, of


def sets_at_once(limit: int, size: Layout, batch: int, length: int, start: int, *, neurons: bool) -> int:
    """How many sets go through together within so many bytes, on prompts that differ from position `start` on."""
    inside = 3 * (size.d_mlp or 0) if neurons else 0
    row = 6 * size.d_model + 5 * size.n_heads * size.d_head + inside + 2 * size.n_heads * length
    return int(max(1, limit // (4 * batch * (length - start) * row)))


def _chosen(group: Group | None, sets: Sequence[PartSet]) -> tuple[list[np.ndarray | None], np.ndarray]:
    """The different choices of a group's units that sets have, bool [unit] each, and which of them each set has [set]."""
    if group is None:
        return [None], np.zeros(len(sets), dtype=int)
    nodes = [group.node(unit) for unit in range(group.n_units)]
    table = np.array([[node in parts for node in nodes] for parts in sets])
    kept, of = np.unique(table, axis=0, return_inverse=True)
    return list(kept), of.ravel()


def _different(first: np.ndarray, second: np.ndarray) -> tuple[list[tuple[int, int]], np.ndarray]:
    """The different pairs of two numbers that sets have [set], in order, and which of them each set has [set]."""
    found, of = np.unique(np.stack([first, second]), axis=1, return_inverse=True)
    return [(int(a), int(b)) for a, b in found.T], of.ravel()
