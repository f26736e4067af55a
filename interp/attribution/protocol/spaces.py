"""What is scored: the nodes of a level, or the edges of a graph. The driver asks it for parts, batches and columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from interp.attribution.batching.batches import Batch
from interp.attribution.edges.contraction import BUFFER_BYTES, WRITER_BYTES
from interp.attribution.edges.edge_batches import SETS_BYTES, EdgeBatch
from interp.attribution.edges.edge_maps import EdgeMap
from interp.attribution.exact.edge_patches import WRITER_SHARE
from interp.attribution.protocol.registry import Method, Options
from interp.attribution.protocol.replacing import replacing_nodes, replacing_writers
from interp.errors import MethodError, unknown
from interp.model.modules import attention
from interp.model.modules.lock import settled
from interp.parts.ending import check_ends
from interp.parts.graph import Graph, KeyValue, Part
from interp.parts.nodes import Group, model_groups, nodes_of
from interp.tasks.metric import Direction, Metric
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.replacements import Ablation, make_ablation

Labels = Sequence[int | str | None]


@dataclass(frozen=True)
class Footprint:
    """What scoring the parts of a level takes in memory, beside the runs of the model.

    sites: numbers per token at all the places where parts are read, and `sites_of` them by the stack whose tokens they are. entries: further bytes per token. readers: vectors of d_model
    per token that the readers of one layer need. buffers: bytes whatever the batch. replay: how many more times the bytes of a
    replay are in use at once. masked, kept: vectors of d_model per token of a masked run, always and
    where norms' outputs are kept; held: numbers per token that stay between masked runs. eager: whether the level's runs compute attention
    patterns; patterns: whether they are read.
    """

    sites: int
    entries: int = 0
    readers: int = 0
    buffers: int = 0
    replay: float = 0.0
    masked: int = 0
    kept: int = 0
    held: int = 0
    eager: bool = False
    patterns: bool = False
    sites_of: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeSpace:
    """The nodes of some groups. `ends`: the sites that a metric reads, where parts behind them are none."""

    groups: tuple[Group, ...]
    ends: str = field(default="", kw_only=True)

    @property
    def n_sites(self) -> int:
        """How many sites have nodes."""
        return len({group.site for group in self.groups})

    @property
    def n_parts(self) -> int:
        return sum(group.n_units for group in self.groups)

    def parts(self, labels: Labels) -> list[Part]:
        """Every node at every position label, in the order of the columns of `scores`."""
        return list(nodes_of(self.groups, labels))

    def named(self, wanted: Iterable[str]) -> frozenset[str]:
        """These names, all of nodes here. Raises: MethodError with the near names."""
        return _known(wanted, self.parts([None]), self.ends)

    def ablation(self, kind: Any, model: Any, pairs: Sequence[TokenPair], seed: int, batch_size: int) -> Ablation:
        """What the nodes are replaced by."""
        with settled(model.device):
            sites = [group.site for group in self.groups]
            return make_ablation(
                kind, model, pairs, sites, seed, batch_size, replacing=replacing_nodes(model, self.groups)
            )

    def batch(self, *of: Any) -> Batch:
        """A batch: model, pairs, index, metric, direction, ablation."""
        model, *rest = of
        return Batch.of(model, self.groups, *rest)

    def footprint(self, size: Any) -> Footprint:
        """Its memory, for a model of this layout: gradients at q, k and v are read inside the attention."""
        inside = any(group.kind in ("q", "k", "v") for group in self.groups)
        own: Counter[str] = Counter()
        for group in self.groups:
            own[group.site.stack] += int(group.width(size))
        return Footprint(int(size.d_model) + own.total(), eager=inside, patterns=inside, sites_of=own)


@dataclass(frozen=True)
class EdgeSpace:
    """The edges of a graph. `ends`: as of nodes."""

    map: EdgeMap
    ends: str = field(default="", kw_only=True)

    @property
    def graph(self) -> Graph:
        return self.map.graph

    @property
    def n_sites(self) -> int:
        """How many sites have senders that are moved together: the embedding, each attention and each MLP."""
        return 1 + len(self.graph.steps)

    @property
    def n_parts(self) -> int:
        return len(self.graph.edges)

    def parts(self, labels: Labels) -> list[Part]:
        """Every edge at every position label, in the order of the columns of `scores`."""
        return list(self.graph.at_positions(labels))

    def named(self, wanted: Iterable[str]) -> frozenset[str]:
        """These names, all of edges here. Raises: MethodError with the near names."""
        return _known(wanted, self.parts([None]), self.ends)

    def ablation(self, kind: Any, model: Any, pairs: Sequence[TokenPair], seed: int, batch_size: int) -> Ablation:
        """What the writers are replaced by."""
        with settled(model.device), attention.selected(model.hf, None):
            writers = self.map.writers
            how = replacing_writers(self.map)
            return make_ablation(kind, model, pairs, writers.sites, seed, batch_size, self.map.see, replacing=how)

    def footprint(self, size: Any) -> Footprint:
        """Its memory, for a model of this layout: the gradients of one layer's readers, twice, and what its heads write."""
        return Footprint(
            int(size.d_model * (2 * size.n_layers + 1)),
            readers=2 * self.graph.n_attention_readers + self.graph.n_heads + 1,
            buffers=BUFFER_BYTES + WRITER_BYTES + SETS_BYTES,
            replay=WRITER_SHARE,
            masked=2 * len(self.graph.writers) + 3 * self.graph.n_attention_readers,
            kept=len(self.graph.readers),
            held=int(size.d_model * (2 * size.n_layers + 1)),
            eager=True,
        )

    def batch(
        self,
        model: Any,
        pairs: Sequence[TokenPair],
        index: Sequence[int],
        metric: Metric,
        direction: Direction,
        ablation: Ablation,
    ) -> EdgeBatch:
        """A batch of the pairs at `index`."""
        return EdgeBatch.of(model, (), pairs, index, metric, direction, ablation, map=self.map)


Space = NodeSpace | EdgeSpace


def space_of(model: Any, level: str, kv: KeyValue, split_positions: bool, stack: str | None = None) -> Space:
    """What is scored at a level that needs no more than the model; stack: the nodes of this one alone. Raises: MethodError, SiteError,
    LayoutError."""
    ends = "" if model.outcome is None else ", ".join(model.outcome.names)
    if level != "edges":
        found = model_groups(model, level)
        return NodeSpace(tuple(group for group in found if stack is None or group.site.stack == stack), ends=ends)
    if model.outcome is not None:
        check_ends(model.outcome, "level 'edges'")
    return EdgeSpace(EdgeMap.of(model, Graph.of(model.layout, kv=kv, split_positions=split_positions)), ends=ends)


def part_scores(method: Method, batch: Batch, options: Options) -> Tensor:
    """Scores [batch part] of one method on one batch."""
    if isinstance(batch, EdgeBatch):
        if method.edges is None:
            raise RuntimeError(f"{method.name} does not score edges batch by batch")
        return method.edges(batch, options, method.rules).reshape(len(batch.pairs), -1).double().cpu()
    if method.function is None:
        raise RuntimeError(f"{method.name} does not score nodes")
    found = method.function(batch, options, method.rules)
    return torch.cat([found[g].reshape(len(batch.pairs), -1).double().cpu() for g in batch.groups], dim=1)


def _known(wanted: Iterable[str], parts: Iterable[Part], ends: str) -> frozenset[str]:
    found, names = {part.name for part in parts}, frozenset(wanted)
    if odd := sorted(names - found):
        said = f" Parts behind what the metric reads ({ends}) are none." if ends else ""
        raise MethodError(f"parts={odd[:3]}: {unknown('part of this level', odd[0], found)}{said}")
    return names
