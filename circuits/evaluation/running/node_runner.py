"""Runs sets of nodes on a task: every unit outside a set carries its ablated value.

Where the model can be restarted in the middle, sets share what they have in common (see `shared_runs`); else each is a
whole forward.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch

from circuits.circuit.circuit import ALWAYS, CircuitError
from circuits.evaluation.running.runner import NONE, PartSet
from circuits.evaluation.running.shared_runs import SHARED, SHARED_BYTES, SharedRuns
from interp.attribution.batching.batch_sizes import default_batch_size
from interp.attribution.batching.batches import Batch
from interp.attribution.batching.positions import positions_at
from interp.attribution.exact.engine import Machine
from interp.attribution.exact.machine import find_restart
from interp.attribution.methods.node_patching import one_attention, readout, recorded
from interp.attribution.protocol.spaces import NodeSpace
from interp.model.edits import Edit
from interp.model.modules.linear import input_embedding
from interp.model.modules.lock import reserved, settled
from interp.parts.graph import Part
from interp.parts.nodes import Group, model_groups, nodes_of
from interp.progress import progress
from interp.tasks.lengths import by_length
from interp.tasks.metric import Metric
from interp.tasks.replacements import Ablation
from interp.tasks.task import Task

#: Bytes of recorded runs that are kept for the next call.
KEPT_BYTES: Final = 512 << 20
#: Which of the sets, and their metric [set batch].
Found = Generator[tuple[list[int], torch.Tensor], None, None]


class NodeRunner:
    """Sets of nodes: a unit outside the set gets its ablated value, a group that is all inside is left alone."""

    def __init__(
        self,
        model: Any,
        task: Task,
        level: str,
        ablation: str | Ablation,
        metric: Metric,
        seed: int,
        batch_size: int | None,
        most_bytes: int | None = None,
    ) -> None:
        """most_bytes: what circuits that run together may take, and as much what is kept of a batch; None for the usual. Its `keep` says
        whether anything is: not for a runner that is called once."""
        self.model, self.metric, self.level, self.kind, self.seed = model, metric, level, ablation, seed
        self.groups = [g for g in model_groups(model, level) if g.kind not in ALWAYS]
        self.parts: tuple[Part, ...] = tuple(nodes_of(self.groups, [None]))
        self.full, self.held = frozenset(self.parts), NONE
        self.pairs = task.tokenize(model.tokenizer, model.outputs, several=metric.several)
        self.batch_size = batch_size or default_batch_size(model, max(p.longest for p in self.pairs))
        self.most_bytes = most_bytes
        self.keep = True
        self._kept: dict[tuple[int, ...], SharedRuns] = {}
        self._kept_of: tuple[Any, ...] = ()

    @cached_property
    def ablation(self) -> Ablation:
        """Made when first asked for, of all nodes of the level: means cost a pass over the data."""
        every = NodeSpace(tuple(model_groups(self.model, self.level)))
        return every.ablation(self.kind, self.model, self.pairs, self.seed, self.batch_size)

    def metrics(self, sets: Sequence[PartSet], show_progress: bool | None) -> dict[PartSet, np.ndarray]:
        """The metric of every set on every pair [example]. Cost: at most one forward per set."""
        table = np.empty((len(sets), len(self.pairs)))
        batches = list(by_length([p.shape for p in self.pairs], self.batch_size))
        with (
            settled(self.model.device),
            progress("evaluating circuits", len(sets) * len(batches), show_progress) as advance,
        ):
            machine = self._machine()
            for index in batches:
                found = self._whole(index, sets) if machine is None else self._shared(index, machine, sets)
                # A call that ends early must not hold the model for as long as its traceback lives.
                with closing(found):
                    for some, metric in found:
                        table[np.ix_(some, index)] = metric.double().cpu().numpy()
                        advance(len(some))
        if not np.isfinite(table).all():
            raise CircuitError(f"metric {self.metric.name!r} is not finite on an ablated run; try another metric.")
        return dict(zip(sets, table, strict=True))

    def _machine(self) -> Machine | None:
        """What sets that share their runs need of the model; None where each must be a whole forward."""
        if any(group.kind not in SHARED for group in self.groups):
            return None
        found = find_restart(self.model).machine
        return None if found is None or found.whole else found

    def _batch(self, index: Sequence[int]) -> Batch:
        return Batch.of(self.model, self.groups, self.pairs, index, self.metric, "noise", self.ablation)

    def _shared(self, index: Sequence[int], machine: Machine, sets: Sequence[PartSet]) -> Found:
        """The metric of all sets [set batch], several at a time; the whole model's is that of the recorded run."""
        runs = self._recorded(tuple(index), machine)
        ablated = [row for row, nodes in enumerate(sets) if nodes != self.full]
        yield [row for row, nodes in enumerate(sets) if nodes == self.full], runs.batch.base_metric()[None]
        size = runs.at_once(min(SHARED_BYTES, self.most_bytes or SHARED_BYTES))
        with reserved(self.model.hf), torch.no_grad(), one_attention(machine):
            for start in range(0, len(ablated), size):
                some = ablated[start : start + size]
                yield some, runs.metrics([sets[row] for row in some])
                runs.replay.counts.spent(self.model.prices)

    def _recorded(self, index: tuple[int, ...], machine: Machine) -> SharedRuns:
        """The recorded runs of some pairs: kept for the next call where they are small, as a search makes many, and the model
        is the same then."""
        if (of := _as_it_is(self.model.hf, machine)) != self._kept_of:
            self._kept, self._kept_of = {}, of
        if index in self._kept:
            return self._kept[index]
        batch = self._batch(index)
        replay = recorded(batch, machine)
        found = SharedRuns(replay, readout(batch), batch)
        kept = sum(runs.bytes for runs in (*self._kept.values(), found))
        if self.keep and kept <= min(KEPT_BYTES, self.most_bytes or KEPT_BYTES):
            self._kept[index] = found
        return found

    def _whole(self, index: Sequence[int], sets: Sequence[PartSet]) -> Found:
        """The metric of each set [1 batch]."""
        batch = self._batch(index)
        for row, nodes in enumerate(sets):
            yield [row], batch.patched(self._edits(batch, nodes))[None]

    def _edits(self, batch: Batch, nodes: PartSet) -> list[Edit]:
        """Ablate every unit that is not in `nodes`."""
        source = batch.source()
        everywhere = torch.ones(batch.shape, dtype=torch.bool, device=self.model.device)
        edits = []
        for group in self.groups:
            outside = torch.tensor([group.node(u) not in nodes for u in range(group.n_units)], device=self.model.device)
            if bool(outside.any()):
                edits.append(_ablate(group, source[group.site], outside, everywhere))
        return edits


def _as_it_is(hf: Any, machine: Machine) -> tuple[Any, ...]:
    """What recorded runs belong to: how the model is restarted, its weights as torch counts changes of them, and the hooks on
    the embedding, which are the only ones there can be."""
    first = input_embedding(hf)
    hooks = *first._forward_hooks.values(), *first._forward_pre_hooks.values()
    return (id(machine), hooks, *((p.data_ptr(), p._version) for p in hf.parameters()))


def _ablate(group: Group, value: torch.Tensor, outside: torch.Tensor, everywhere: torch.Tensor) -> Edit:
    return Edit(group.site, lambda x: group.mix(x, value, outside, positions_at(everywhere, x)))
