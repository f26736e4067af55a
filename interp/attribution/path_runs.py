"""The runs of path patching: receivers get inputs in which only the senders, and MLPs between where asked for, have changed.

`values` is what every writer writes in the frozen run: the senders the source's values, all others those of the base run.
A receiver then sees, of each writer that may have changed, the frozen run's value instead of this run's: a set of patched
edges whose values are those of the frozen run.

Axis words: `set example reader writer batch pos d_model`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from interp.attribution.edges.edge_batches import EdgeBatch
from interp.attribution.edges.interventions import PatchedRun
from interp.attribution.edges.writers import EMBED, Values
from interp.attribution.path_effects import Ends, PathEffect
from interp.attribution.protocol.spaces import EdgeSpace
from interp.attribution.scoring.driver import Attribution
from interp.errors import MetricError
from interp.model.edits import add, patch
from interp.model.modules import attention
from interp.model.modules.lock import settled
from interp.parts.graph import EMBEDDINGS, Graph
from interp.parts.sites import Site
from interp.precision import wide
from interp.progress import progress
from interp.tasks.lengths import by_length


@dataclass(frozen=True)
class Paths:
    """A checked request, and what its paths are."""

    request: Attribution
    through_mlps: bool
    pinned: bool

    @cached_property
    def space(self) -> EdgeSpace:
        if not isinstance(self.request.space, EdgeSpace):
            raise RuntimeError("paths run along edges")
        return self.request.space

    @property
    def graph(self) -> Graph:
        return self.space.graph

    def effects(self, senders: Sequence[Ends], receivers: Sequence[Ends], show: bool | None) -> tuple[PathEffect, ...]:
        """The effect of every set of senders on every set of receivers, senders slowest."""
        r, sets = self.request, [(u, v) for u in senders for v in receivers]
        table, ends = np.empty((len(sets), len(r.pairs))), np.full((2, len(r.pairs)), np.nan)
        indices = list(by_length([p.shape for p in r.pairs], r.memory.batch_size))
        with (
            settled(r.model.device),
            attention.selected(r.model.hf, None),
            progress("patching paths", len(senders) * len(indices), show) as advance,
        ):
            for index in indices:
                batch = self.space.batch(r.model, r.pairs, index, r.metric, r.direction, r.ablation)
                frozen = self._attention_out(batch) if self.through_mlps else {}
                for i, sent in enumerate(senders):
                    rows = slice(i * len(receivers), (i + 1) * len(receivers))
                    table[rows, index] = self._patched(batch, sent, receivers, frozen).double().cpu().numpy()
                    advance(1)
                for row, metric in zip(ends, (batch.base_metric(), batch.source_metric()), strict=True):
                    row[index] = np.nan if metric is None else metric.double().cpu().numpy()
        base, table = self._in_unit(ends[0], ends[1], table - ends[0])
        return tuple(self._effect(*path, base, row) for path, row in zip(sets, table, strict=True))

    def _in_unit(self, base: np.ndarray, source: np.ndarray, change: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean of the base run and the effects [set example], in the metric's unit."""
        low, high = (base, source) if self.request.direction == "denoise" else (source, base)
        if not self.request.metric.normalised:
            return float(base.mean()), change
        span = float(high.mean() - low.mean())
        if abs(span) < 1e-9:
            raise MetricError(f"metric {self.request.metric.name!r}: clean and corrupt prompts have the same mean.")
        return float(base.mean() - low.mean()) / span, change / span

    def _effect(self, senders: Ends, receivers: Ends, base: float, change: np.ndarray) -> PathEffect:
        r = self.request
        return PathEffect(
            senders=senders,
            receivers=receivers,
            per_example=change,
            base_metric=base,
            metric=r.metric.name,
            unit=r.metric.unit,
            direction=r.direction,
            ablation=r.ablation.kind,
            model=r.model.name,
            task=r.task,
            through_mlps=self.through_mlps,
            pinned=self.pinned,
        )

    def _patched(
        self, batch: EdgeBatch, senders: Ends, receivers: Sequence[Ends], frozen: Mapping[int, Tensor]
    ) -> Tensor:
        """The metric [set batch] with the inputs of each set of receivers changed by these senders."""
        values, embeds = self._written(batch, senders)
        if self.through_mlps:
            values |= self._mlps(batch, senders, values, embeds, frozen)
        cuts = torch.from_numpy(np.stack([self._cuts(senders, some) for some in receivers])).to(batch.model.device)
        size, found = batch.sets_at_once(), []
        for start in range(0, len(cuts), size):
            some = cuts[start : start + size]
            run = PatchedRun(
                self.space.map.writers, self.space.map.projections, values, embeds, some, None, batch.position()
            )
            logits = run.logits(batch.base_inputs, batch.keep, batch.columns)
            found += [batch.measure(batch.at_metric(one)) for one in logits]
        return torch.stack(found)

    def _cuts(self, senders: Ends, receivers: Ends) -> np.ndarray:
        """The edges whose value is given [reader writer]: from senders, from MLPs between, and from writers that
        pinned receivers would see change, which are those after the first receiver."""
        graph = self.graph
        rows = [graph.readers.index(v) for v in receivers]
        first = min(graph.n_upstream[row] for row in rows)
        given = [
            u in senders or (self.through_mlps and u.kind == "mlp") or (self.pinned and i >= first)
            for i, u in enumerate(graph.writers)
        ]
        found = np.zeros_like(graph.visible)
        found[rows] = given
        return np.asarray(found & graph.visible)

    def _written(self, batch: EdgeBatch, senders: Ends) -> tuple[Values, Tensor]:
        """What every writer writes: the senders the source's values, all others those of the base run."""
        base, source = batch.base(), batch.source()
        values, embeds, new = dict(base), batch.embeds_of(base).clone(), batch.source_embeds()
        for u in senders:
            if u.kind in EMBEDDINGS:
                embeds[:, EMBEDDINGS.index(u.kind)] = new[:, EMBEDDINGS.index(u.kind)]
            elif u.kind != "head":
                site = Site("mlp_out" if u.kind == "mlp" else u.kind, u.layer)
                values[site] = source[site]
            else:
                site = Site("z", u.layer)
                values[site] = values[site].clone()
                values[site][:, :, u.unit] = source[site][:, :, u.unit]
        return values, embeds

    # ------------------------------------------------------------ through MLPs

    def _attention_out(self, batch: EdgeBatch) -> Mapping[int, Tensor]:
        """What attention adds in the base run, by layer [batch pos d_model]."""
        sites = [Site("attn_out", layer) for layer in self.graph.attentions]
        with torch.no_grad():
            reads = batch.model.run(batch.base_inputs, reads=sites, logits_to_keep=1).reads
        return {layer: reads[site] for layer, site in zip(self.graph.attentions, sites, strict=True)}

    def _mlps(
        self, batch: EdgeBatch, senders: Ends, values: Values, embeds: Tensor, frozen: Mapping[int, Tensor]
    ) -> Values:
        """What the MLPs that are no senders write where every head is frozen and the senders' changes are in the stream."""
        writers, base = self.space.map.writers, batch.base()
        edits = [add(EMBED, (embeds - batch.embeds_of(base)).sum(1))]
        for layer, attn_out in frozen.items():
            site = Site("z", layer)
            change = writers.heads(layer, {site: values[site] - base[site]}).sum(0)
            edits.append(patch(Site("attn_out", layer), attn_out.to(change) + change))
        sent = [Site("mlp_out", u.layer) for u in senders if u.kind == "mlp"]
        without = [step.site for step in self.graph.steps if step.kind == "attn_out"]
        edits += [patch(site, values[site]) for site in (*sent, *without)]
        rest = [s.site for s in self.graph.steps if s.kind == "mlp" and s.site not in sent]
        with torch.no_grad():
            reads = batch.model.run(batch.base_inputs, reads=rest, edits=edits, logits_to_keep=1).reads
        return {site: wide(reads[site]) for site in rest}
