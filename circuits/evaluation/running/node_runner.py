"""Runs sets of nodes on a task: every unit outside a set carries its ablated value. One set per forward."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from circuits.circuit.circuit import ALWAYS, CircuitError
from circuits.evaluation.running.runner import NONE, PartSet
from interp.attribution.batching.batches import Batch, default_batch_size
from interp.model.edits import Edit
from interp.model.modules.lock import settled
from interp.parts.graph import Part
from interp.parts.nodes import Group, groups, nodes_of
from interp.progress import progress
from interp.tasks.ablations import Ablation, make_ablation
from interp.tasks.lengths import by_length
from interp.tasks.metrics import Metric
from interp.tasks.task import Task


class NodeRunner:
    """Sets of nodes: a unit outside the set gets its ablated value, a group that is all inside is left alone."""

    def __init__(
        self, model: Any, task: Task, level: str, ablation: str, metric: Metric, seed: int, batch_size: int | None
    ) -> None:
        self.model, self.metric, self.kind, self.seed = model, metric, ablation, seed
        self.groups = [g for g in groups(level, model.layout) if g.kind not in ALWAYS]
        self.parts: tuple[Part, ...] = tuple(nodes_of(self.groups, [None]))
        self.full, self.held = frozenset(self.parts), NONE
        self.pairs = task.tokenize(model.tokenizer, model.layout.d_vocab, several=metric.several)
        self.batch_size = batch_size or default_batch_size(model, max(p.length for p in self.pairs))

    @cached_property
    def ablation(self) -> Ablation:
        """Made when first asked for: means cost a pass over the data."""
        sites = [g.site for g in self.groups]
        return make_ablation(self.kind, self.model, self.pairs, sites, self.seed, self.batch_size)

    def metrics(self, sets: Sequence[PartSet], show_progress: bool | None) -> dict[PartSet, np.ndarray]:
        """The metric of every set on every pair [example]. Cost: one forward per set."""
        table = np.empty((len(sets), len(self.pairs)))
        batches = list(by_length([p.length for p in self.pairs], self.batch_size))
        with (
            settled(self.model.device),
            progress("evaluating circuits", len(sets) * len(batches), show_progress) as advance,
        ):
            for index in batches:
                batch = Batch.of(self.model, self.groups, self.pairs, index, self.metric, "noise", self.ablation)
                for row, nodes in enumerate(sets):
                    table[row, index] = batch.patched(self._edits(batch, nodes)).double().cpu().numpy()
                    advance(1)
        if not np.isfinite(table).all():
            raise CircuitError(f"metric {self.metric.name!r} is not finite on an ablated run; try another metric.")
        return dict(zip(sets, table, strict=True))

    def _edits(self, batch: Batch, nodes: PartSet) -> list[Edit]:
        """Ablate every unit that is not in `nodes`."""
        source = batch.source()
        everywhere = torch.ones(batch.base_ids.shape, dtype=torch.bool, device=self.model.device)
        edits = []
        for group in self.groups:
            outside = torch.tensor([group.node(u) not in nodes for u in range(group.n_units)], device=self.model.device)
            if bool(outside.any()):
                edits.append(_ablate(group, source[group.site], outside, everywhere))
        return edits


def _ablate(group: Group, value: torch.Tensor, outside: torch.Tensor, everywhere: torch.Tensor) -> Edit:
    return Edit(group.site, lambda x: group.mix(x, value, outside, everywhere))
