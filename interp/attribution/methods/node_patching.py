"""Exact patching of nodes and of edges: by replay where the model can be restarted in the middle, else by whole forwards."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interp.attribution.batching.batches import Batch
from interp.attribution.batching.positions import positions_at
from interp.attribution.edges.edge_batches import EdgeBatch
from interp.attribution.exact.edge_patches import EdgePatches
from interp.attribution.exact.engine import Machine, Replay
from interp.attribution.exact.machine import check_recorded
from interp.attribution.exact.node_patches import added_patches, node_patches, plus, span
from interp.attribution.exact.patches import Patches
from interp.attribution.exact.readout import Readout
from interp.attribution.exact.recording import record
from interp.attribution.exact.sweep import sweep
from interp.attribution.features.changes import Apart
from interp.attribution.features.feature_batches import FeatureBatch
from interp.attribution.protocol.registry import Options, edge_method, method
from interp.ledger import spend
from interp.model.edits import Edit
from interp.model.inputs.taking import taken
from interp.model.modules import attention
from interp.model.modules.lock import reserved
from interp.model.vocabulary import Columns
from interp.parts.nodes import Group
from interp.parts.outputs import AtMask
from interp.rules.rules import Rules


@method(
    "exact",
    formula="m(base run with a_u := a_u(source)) - m(base)",
    cost="2F + part of a forward per node",
    paper="Vig et al. 2020; Meng et al. 2022; Heimersheim & Nanda 2024",
    exact=True,
)
def activation_patching(batch: Batch, options: Options, rules: Rules) -> dict[Group, Tensor]:
    """The effect of patching each node alone, by running the model with the patch. The oracle of every other method.

    Units: those of the metric. Cost: 2 forwards, and for each node the layers behind it, at the positions behind the
    first one that differs (see `interp.attribution.exact`); a whole forward where the model cannot be restarted.
    """
    replay = None if options.machine is None else recorded(batch, options.machine)
    batch.source()
    if options.resumes:
        batch.record()
    base = batch.base_metric()
    size = len(base), len(options.positions)
    scores = {group: base.new_zeros(*size, group.n_units) for group in batch.groups}
    found = _whole_nodes(batch, options) if replay is None else _replayed_nodes(batch, options, replay)
    with closing(found):  # a run that ends early must not hold the model for as long as its traceback lives
        for group, label, owners, metric in found:
            effects = metric - base
            patch, example = (owners >= 0).nonzero(as_tuple=True)
            scores[group][example, label, owners[patch, example]] = effects[patch, example]
    return scores


#: group, label, owners [patch batch], metric [patch batch]
Found = Generator[tuple[Group, int, Tensor, Tensor], None, None]


def _wanted(group: Group, options: Options) -> list[int]:
    """The units of a group that are to be scored."""
    every = range(group.n_units)
    return [u for u in every if options.only is None or group.node(u).name in options.only]


@dataclass(frozen=True, eq=False)
class Values:
    """Units of a group, each patched alone with the source's value at the positions chosen [batch pos].

    owners [patch batch]: the unit that a patch is of, in each prompt; -1 for none.
    """

    group: Group
    units: list[int]
    source: Tensor
    base: Tensor
    chosen: Tensor

    @property
    def owners(self) -> Tensor:
        return torch.tensor(self.units, device=self.source.device)[:, None].expand(-1, len(self.base))

    def edit(self, patch: int) -> Edit:
        """One of the patches, for a whole forward."""
        units = torch.zeros(self.group.n_units, dtype=torch.bool, device=self.source.device)
        units[self.units[patch]] = True
        return Edit(
            self.group.site, lambda x: self.group.mix(x, self.source.to(x.device), units, self.chosen.to(x.device))
        )

    def patches(self, replay: Replay) -> Patches | None:
        """All of them for a replay; None where nothing changes."""
        return node_patches(replay, self.group, self.source, self.base, self.chosen, self.units)


@dataclass(frozen=True, eq=False)
class Parts:
    """Features of a dictionary, or its error, each patched alone: what `apart` adds at the group's site."""

    group: Group
    apart: Apart

    @property
    def owners(self) -> Tensor:
        """[patch batch]"""
        return self.apart.owners

    def edit(self, patch: int) -> Edit:
        """One of the patches, for a whole forward."""
        added = self.apart.added(slice(patch, patch + 1))[0]
        return Edit(self.group.site, lambda x: plus(x, added.view(x.shape).to(x.device)))

    def patches(self, replay: Replay) -> Patches | None:
        """All of them for a replay; None where nothing changes."""
        return added_patches(replay, self.group.site, self.apart.moved, len(self.owners), self.apart.added)


def _alone(batch: Batch, options: Options, group: Group, label: int) -> Values | Parts | None:
    """The wanted units of a group, each patched alone at the positions of a label; None without any."""
    if not (units := _wanted(group, options)):
        return None
    chosen = options.positions[label]
    if isinstance(batch, FeatureBatch):
        return Parts(group, batch.apart(group, torch.tensor(units), chosen))
    base = batch.base()[group.site]
    return Values(group, units, batch.source()[group.site], base, positions_at(chosen, base))


def _whole_nodes(batch: Batch, options: Options) -> Found:
    """Every patch, one forward each, or the part of one that it reaches."""
    for group in batch.groups:
        for label in range(len(options.positions)):
            alone = _alone(batch, options, group, label)
            for patch, owner in enumerate(alone.owners if alone else ()):
                yield group, label, owner[None], batch.patched([alone.edit(patch)], resume=options.resumes)[None]  # type: ignore[union-attr]
                options.advance(1)


def _replayed_nodes(batch: Batch, options: Options, replay: Replay) -> Found:
    """The patches that change anything; the others have no effect."""
    batch.base()

    def items() -> Iterator[tuple[Any, Patches]]:
        for group in sorted(batch.groups, key=_entry):
            for label in range(len(options.positions)):
                alone = _alone(batch, options, group, label)
                patches = alone.patches(replay) if alone else None
                if alone and patches is not None:
                    yield (group, label, alone.owners), patches

    for (group, label, owners), some, metric in _replayed(batch, options, replay, items()):
        yield group, label, owners[some].to(metric.device), metric


def _entry(group: Group) -> int:
    """The first layer whose input a patch changes: patches that share it go through together."""
    inside = group.site.kind not in ("embed", "resid_pre")
    return (group.site.layer or 0) + inside


# ---------------------------------------------------------------- replays


def recorded(batch: Batch, machine: Machine) -> Replay:
    """A replay of the base run, which also gives the batch its base values. Raises: LayoutError where a layer of it is no sum of its parts."""
    neurons = any(site.kind == "mlp_post" for site in batch.sites)
    with reserved(batch.model.hf), torch.no_grad():  # throughout: what another thread records sits on the same modules
        found = record(batch.model, machine.modules, taken(batch.model, batch.base_inputs), neurons=neurons)
        check_recorded(machine, found)
        replay = Replay(machine, found, batch.keep_end)
        logits = readout(batch).logits(found.final[:, replay.first_read :], replay.counts)
        batch.take_base({site: replay.value(site) for site in batch.sites}, batch.at_metric(logits))
    replay.counts.clear()  # it is the one forward that is counted here
    spend(batch.model.prices.run(replay.batch, replay.length, (batch.keep or replay.length) * readout(batch).computed))
    batch.forwards += 1
    return replay


def readout(batch: Batch) -> Readout:
    """How a batch's replays end: at the logits that its metric reads."""
    outputs = batch.model.outputs
    at = (batch.base_ids == outputs.mask).int().argmax(-1) if isinstance(outputs, AtMask) and batch.keep else None
    return Readout(batch.model, None if batch.columns is None else Columns.of(batch.model, batch.columns), at)


def _replayed(
    batch: Batch, options: Options, replay: Replay, items: Iterator[tuple[Any, Patches]]
) -> Iterator[tuple[Any, slice, Tensor]]:
    """What `sweep` finds, with the cost in forwards of the whole model."""
    with reserved(batch.model.hf), torch.no_grad(), one_attention(replay.machine):
        for key, some, metric in sweep(
            replay,
            readout(batch),
            items,
            lambda logits: batch.measure(batch.at_metric(logits)),
            options.replay_bytes,
        ):
            options.advance(int(some.stop - some.start))
            yield key, some, metric
    prices = batch.model.prices
    batch.forwards += replay.counts.spent(prices) / prices.forward(replay.batch, replay.length)


def one_attention(machine: Machine) -> AbstractContextManager[None]:
    """Our attention function throughout, so that no run has to select it."""
    return nullcontext() if machine.whole else attention.selected(machine.model.hf, None)


# ---------------------------------------------------------------- edges


@edge_method("exact")
def edge_patching(batch: EdgeBatch, options: Options, rules: Rules) -> Tensor:
    """The effect of patching each edge alone, by running the model with it. The oracle of level `edges`.

    Units: those of the metric. Cost: 2 forwards, and for each edge the layers behind its reader; several edges go through as
    one batch.
    """
    replay = None if options.machine is None else recorded(batch, options.machine)
    graph, base = batch.map.graph, batch.base_metric()
    ends = torch.from_numpy(graph.visible).nonzero().tolist()
    wanted = {(r, w): i for i, (r, w) in enumerate(ends) if options.only is None or graph.edges[i].name in options.only}
    scores = base.new_zeros(len(base), len(options.positions), len(ends))
    every = list(wanted)
    found = _whole_edges(batch, options, every) if replay is None else _replayed_edges(batch, options, every, replay)
    with closing(found):
        for label, some, metric in found:
            scores[:, label, [wanted[end] for end in some]] = metric - base[:, None]
    return scores


FoundEdges = Generator[tuple[int, list[tuple[int, int]], Tensor], None, None]


def _whole_edges(batch: EdgeBatch, options: Options, wanted: list[tuple[int, int]]) -> FoundEdges:
    """(label, edges, metric [batch edge]), several edges to a forward."""
    graph, size = batch.map.graph, batch.edges_at_once()
    for label, chosen in enumerate(options.positions):
        for start in range(0, len(wanted), size):
            some = wanted[start : start + size]
            cuts = torch.zeros(len(some), *graph.visible.shape, dtype=torch.bool, device=batch.model.device)
            cuts[(torch.arange(len(some)), *torch.tensor(some).T)] = True
            masks = None if len(options.positions) == 1 else chosen[None]
            yield label, some, batch.patched_edges(cuts, masks).T
            options.advance(len(some))


def _replayed_edges(batch: EdgeBatch, options: Options, wanted: list[tuple[int, int]], replay: Replay) -> FoundEdges:
    """(label, edges, metric [batch edge]) of the edges that change anything; the others have no effect."""
    values, embeds = batch.differences()
    every = (*values.values(), embeds.transpose(1, 2))
    moved = torch.stack([(x != 0).flatten(2).any(-1).to(embeds.device) for x in every]).any(0)

    def items() -> Iterator[tuple[Any, Patches]]:
        for label, chosen in enumerate(options.positions):
            where = span(moved & chosen.to(moved.device))
            if where is None:
                continue
            at = chosen.to(embeds.device)
            patches = EdgePatches(replay, batch.map.writers, values, embeds, at, *where, options.replay_bytes)
            for ends, own in patches.of(wanted):
                yield (label, ends), own

    for (label, ends), some, metric in _replayed(batch, options, replay, items()):
        yield label, ends[some], metric.T
