"""Runs sets of edges on a task: every edge outside a set carries the ablated value of its sender. Several sets per forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from circuits.circuit.circuit import CircuitError
from interp.attribution.batching.batch_sizes import default_batch_size
from interp.attribution.batching.positions import Label, align
from interp.attribution.edges.edge_maps import EdgeMap
from interp.attribution.protocol.spaces import EdgeSpace
from interp.model.modules import attention
from interp.model.modules.lock import settled
from interp.parts.graph import Graph, KeyValue, Part
from interp.progress import progress
from interp.tasks.lengths import by_length
from interp.tasks.metric import Metric
from interp.tasks.replacements import Ablation
from interp.tasks.task import Task

EdgeSet = frozenset[Part]


class EdgeRunner:
    """The metric of circuits of edges on clean prompts. At this level nothing is in every circuit. Of edges at positions each is
    in or out at each label by itself, at `rest` too: every token has one label, so without any the model is ablated whole.

    Raises: CircuitError for a metric that is not finite; MethodError for an edge that the model's graph does not have.
    """

    def __init__(
        self,
        model: Any,
        task: Task,
        ablation: str | Ablation,
        metric: Metric,
        seed: int,
        batch_size: int | None,
        kv: KeyValue = "shared",
        split_positions: bool = False,
        positions: str = "all",
        labels: Sequence[Label] = (),
    ) -> None:
        self.model, self.metric = model, metric
        self.graph = Graph.of(model.layout, kv=kv, split_positions=split_positions)
        self.space = EdgeSpace(EdgeMap.of(model, self.graph))
        self.pairs = task.tokenize(model.tokenizer, model.outputs, several=metric.several)
        self.positions = align(positions, self.pairs, labels)
        self.parts: tuple[Part, ...] = tuple(self.space.parts(self.positions.labels))
        self.full: EdgeSet = frozenset(self.parts)
        self.held: EdgeSet = frozenset()
        self.batch_size = batch_size or default_batch_size(model, max(p.length for p in self.pairs))
        self.ablation = self.space.ablation(ablation, model, self.pairs, seed, self.batch_size)

    def metrics(self, sets: Sequence[EdgeSet], show_progress: bool | None) -> dict[EdgeSet, np.ndarray]:
        """The metric of every set on every pair [example]."""
        table = np.empty((len(sets), len(self.pairs)))
        labels = self.positions.labels
        cuts = np.stack([self.graph.visible & ~self.graph.matrix(kept, labels) for kept in sets])  # type: ignore[arg-type]
        batches = list(by_length([p.shape for p in self.pairs], self.batch_size))
        with (
            settled(self.model.device),
            attention.selected(self.model.hf, None),
            progress("evaluating circuits", len(sets) * len(batches), show_progress) as advance,
        ):
            for index in batches:
                batch = self.space.batch(self.model, self.pairs, index, self.metric, "noise", self.ablation)
                size = batch.sets_at_once(len(labels))
                masks = None if len(labels) == 1 else self.positions.masks(index).to(self.model.device)
                for start in range(0, len(sets), size):
                    some = torch.from_numpy(cuts[start : start + size]).to(self.model.device)
                    found = batch.patched_edges(some, masks)
                    table[start : start + size, index] = found.double().cpu().numpy()
                    advance(len(some))
        if not np.isfinite(table).all():
            raise CircuitError(f"metric {self.metric.name!r} is not finite on an ablated run.")
        return dict(zip(sets, table, strict=True))
