"""What runs of circuits cost at most, in multiply-adds, as the runners of `circuits.evaluation.running` make them.

A runner is asked several times, each time for some sets of parts. It has runs of its own when it is made, and with each call those
that the sets share; what a set costs beside them depends on its size, or on nothing.

Axis words: a `Shape` is a batch of prompts of one length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Any

from circuits.circuit.circuit import ALWAYS
from circuits.costs.circuit_batches import Asked, Shape
from circuits.evaluation.running.node_runner import KEPT_BYTES
from circuits.evaluation.running.shared_runs import SHARED, SHARED_BYTES, sets_at_once
from interp.attribution.edges.edge_maps import EdgeMap
from interp.attribution.exact.machine import find_restart
from interp.attribution.protocol.spaces import EdgeSpace
from interp.dictionaries.dictionary import Dictionary
from interp.parts.graph import Graph
from interp.parts.nodes import FEATURES, model_groups
from interp.tasks.ablations import ABLATIONS
from interp.tasks.metrics import METRICS
from interp.tasks.replacements import Ablation


@dataclass(frozen=True)
class CircuitRuns(ABC):
    """Bounds of one runner."""

    asked: Asked

    @property
    def made(self) -> int:
        """What making it costs, and what it keeps for all calls."""
        return self.fixed

    @property
    def fixed(self) -> int:
        """Runs of the clean prompts that fixed values are taken in, or learned."""
        kind = ABLATIONS[self.asked.ablation]
        if not kind.is_fixed or (kind.learn is not None and self.asked.learned):
            return 0
        return kind.forwards * sum(self._fixed(shape) for shape in self.asked.shapes)

    def _fixed(self, shape: Shape) -> int:
        return self.asked.short(shape)

    def call(self, sizes: Sequence[int], *, ends: bool = True) -> int:
        """One call for circuits of these sizes; ends: the whole model and the empty one too."""
        return sum(self.batch(shape, sizes, ends) for shape in self.asked.shapes)

    @property
    def n(self) -> int:
        """How many parts there are."""
        raise NotImplementedError

    @abstractmethod
    def batch(self, shape: Shape, sizes: Sequence[int], ends: bool) -> int:
        """What a batch costs in a call."""


# ---------------------------------------------------------------- nodes


@dataclass(frozen=True)
class NodeRuns(CircuitRuns):
    """Sets of nodes share their runs where the model can be restarted: a set then has no more halves of layers than parts, at the
    positions that can differ. Else each is a whole forward."""

    @cached_property
    def _groups(self) -> list[Any]:
        return [g for g in model_groups(self.asked.model, self.asked.level) if g.kind not in ALWAYS]

    @cached_property
    def n(self) -> int:
        return sum(group.n_units for group in self._groups)

    @cached_property
    def shared(self) -> bool:
        """Whether sets share their runs."""
        machine = find_restart(self.asked.model).machine
        restarted = machine is not None and not machine.whole
        return restarted and all(group.kind in SHARED for group in self._groups)

    @cached_property
    def _kept(self) -> bool:
        """Whether both runs of every batch are kept from call to call, by what they take at most."""
        size, width = self.asked.model.layout, max(4, self.asked.model.dtype.itemsize)
        inside = 4 * size.n_heads * size.d_head + (size.d_mlp or 0) * (self.asked.level == "neurons")
        per_token = (
            size.n_layers * (3 * size.d_model + inside) + size.d_model + sum(g.width(size) for g in self._groups)
        )
        limit = min(KEPT_BYTES, self.asked.share or KEPT_BYTES)
        return bool(width * per_token * sum(shape.rows for shape in self.asked.shapes) <= limit)

    @property
    def made(self) -> int:
        kept = sum(self._recorded(shape) for shape in self.asked.shapes) if self.shared and self._kept else 0
        return super().made + kept

    def batch(self, shape: Shape, sizes: Sequence[int], ends: bool) -> int:
        plain = self.asked.plain(shape)
        if not self.shared:
            return plain * (1 + self.asked.based + len(sizes) + 2 * ends)
        sizes = [*sizes, *([0] if ends else [])]
        calls = ceil(len(sizes) / self._at_once(shape))
        each = sum(self._circuit(shape, size) for size in sizes)
        return int(
            (0 if self._kept else self._recorded(shape)) + each + calls * heads_write(self.asked.model) * shape.redone
        )

    def _recorded(self, shape: Shape) -> int:
        """The base run, and the other one where there is one."""
        return self.asked.plain(shape) * (1 + self.asked.paired)

    def _circuit(self, shape: Shape, size: int) -> int:
        """The halves of layers that so many parts can be in, and the logits. Neurons leave all attention in place."""
        halves = self._halves[shape.length]
        found = sum(halves) if self.asked.level == "neurons" else sum(halves[:size])
        return int(found * shape.redone + shape.batch * shape.read * shape.tokens * self.asked.model.prices.logit)

    @cached_property
    def _halves(self) -> Mapping[int, list[int]]:
        """What the halves of the layers cost at a position, the dearest first, by the length of a prompt."""
        prices, layers = self.asked.model.prices, range(self.asked.model.layout.n_layers)
        mlp = [prices.rows["mlp", i] for i in layers]
        attention = [prices.rows["qkv", i] + prices.rows["o", i] for i in layers]
        lengths = {shape.length for shape in self.asked.shapes}
        looking = {n: [a + prices.looking(i, n) for i, a in enumerate(attention)] for n in lengths}
        return {n: sorted([*mlp, *looking[n]], reverse=True) for n in lengths}

    def _at_once(self, shape: Shape) -> int:
        """How many sets go through together."""
        limit = min(SHARED_BYTES, self.asked.share or SHARED_BYTES)
        neurons = self.asked.level == "neurons"
        return sets_at_once(limit, self.asked.model.layout, shape.batch, shape.length, shape.start, neurons=neurons)


# ---------------------------------------------------------------- edges


@dataclass(frozen=True)
class EdgeRuns(CircuitRuns):
    """A set of edges is a forward of its own, with a copy of the stream for each reader; at several labels of positions each token is
    in one of them, so that they cost no more. labels: how many."""

    graph: Graph
    labels: int = 1

    @cached_property
    def _space(self) -> EdgeSpace:
        return EdgeSpace(EdgeMap.of(self.asked.model, self.graph))

    @property
    def n(self) -> int:
        return len(self.graph.edges) * self.labels

    def _fixed(self, shape: Shape) -> int:
        learning = self._written if ABLATIONS[self.asked.ablation].learn is not None else 0
        return super()._fixed(shape) + shape.rows * (self._normed + learning)

    @cached_property
    def _normed(self) -> int:
        return written_again(self.asked.model)

    @cached_property
    def row(self) -> int:
        """A row of a set, beside the plain run: what each head writes in it (twice more behind a post-norm), a copy of the stream for
        each reader of those before it, and its columns; q, k and v whole once for each set of readers that share columns."""
        prices, size = self.asked.model.prices, self.asked.model.layout
        copies = sum(self.graph.n_upstream) * size.d_model
        read = 0
        for layer, own in self._space.map.projections.items():
            read += sum(len(columns) for columns in own.columns) * size.d_model
            read += 0 if own.one_pass else len(own.passes) * prices.rows["qkv", layer]
        return int(copies + read + self._written + 2 * self._normed)

    @cached_property
    def _written(self) -> int:
        return heads_write(self.asked.model)

    @property
    def _ends(self) -> int:
        """The runs that a call makes beside its circuits: a position embedding is read off the base run."""
        return 1 + (self.asked.based or (self.graph.split_positions and self.asked.paired))

    def one_by_one(self, n: int) -> int:
        """Some sets, each in a call of its own on the same batches."""
        each = self.row + 2 * self._written
        return sum(
            (self._ends + n) * self.asked.plain(shape) + shape.rows * (self._ends * self._normed + n * each)
            for shape in self.asked.shapes
        )

    def batch(self, shape: Shape, sizes: Sequence[int], ends: bool) -> int:
        sets, plain = len(sizes) + 2 * ends, self.asked.plain(shape)
        first = self._ends * (plain + shape.rows * self._normed)
        return (
            first
            + sets * (plain + shape.rows * self.row)
            + ceil(sets / self._at_once(shape)) * shape.rows * 2 * self._written
        )

    def _at_once(self, shape: Shape) -> int:
        """How many sets go through together; what the source's heads write is computed for each such call."""
        metric = METRICS["logit_diff"]
        batch = self._space.batch(
            self.asked.model, self.asked.pairs, shape.index, metric, "noise", Ablation(self.asked.ablation)
        )
        return batch.sets_at_once(self.labels)


def heads_write(model: Any) -> int:
    """What all heads write, for a row."""
    return sum(n for (part, _), n in model.prices.rows.items() if part == "o")


def written_again(model: Any) -> int:
    """What the heads of layers with a post-norm behind them write, for a row: level edges computes it once more in each run that it
    reads, for the scale of the norm."""
    blocks = model.layout.blocks
    return sum(model.prices.rows["o", i] for i, block in enumerate(blocks) if block.attn and not block.attn.plain)


# ---------------------------------------------------------------- features


@dataclass(frozen=True)
class FeatureRuns(CircuitRuns):
    """A set of features is a forward of its own, in which every dictionary encodes what is there and writes what changes. errors: as the
    runner has them; removed ones are what a dictionary does not make up again."""

    errors: str = "kept"

    @property
    def n(self) -> int:
        """As many as there may be."""
        return sum(d.n_features for d in self._given)

    @property
    def _given(self) -> Sequence[Dictionary]:
        return list((self.asked.dictionaries or {}).values())

    @property
    def coded(self) -> int:
        """Encoding a token and making it up again, by every dictionary."""
        return sum(d.encoding + d.decoding + d.skipping for d in self._given)

    @property
    def made(self) -> int:
        """It finds the features that are active in any run; and then means, where they are wanted."""
        sides = 1 + ABLATIONS[self.asked.ablation].paired
        encoding = sum(d.encoding for d in self._given)
        return super().made + sides * sum(self.asked.short(s) + s.rows * encoding for s in self.asked.shapes)

    def _fixed(self, shape: Shape) -> int:
        return super()._fixed(shape) + shape.rows * self.coded

    def batch(self, shape: Shape, sizes: Sequence[int], ends: bool) -> int:
        plain = self.asked.plain(shape)
        source = self.asked.short(shape) + shape.rows * self.coded if self.asked.paired else 0
        changed = sum(d.encoding + d.decoding for d in self._given)
        whole = changed + sum(d.decoding + d.skipping for d in self._given)
        each = len(sizes) * (plain + shape.rows * (whole if self.errors == "removed" else changed))
        return source + each + ends * (2 * plain + shape.rows * whole)

    def without_errors(self) -> FeatureRuns:
        """The same runner with the errors removed."""
        return replace(self, errors="removed")


def runs_of(asked: Asked, *, kv: Any = "shared", split_positions: bool = False, labels: int = 1) -> CircuitRuns:
    """The bounds of the runner of a level; `kv` and `split_positions` say which graph edges belong to, `labels` at how many positions
    they are apart."""
    if asked.level == FEATURES:
        return FeatureRuns(asked)
    if asked.level == "edges":
        return EdgeRuns(asked, Graph.of(asked.model.layout, kv=kv, split_positions=split_positions), labels)
    return NodeRuns(asked)
