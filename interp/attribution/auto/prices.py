"""What a call for exact scores costs at most, for any choice of parts, before it is made: a function of places that counts
forwards, from what `interp.attribution.exact.forecast` says of each batch.

The runs on clean and corrupt prompts, which every call makes again, are in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from interp.attribution.batching.batches import Batch
from interp.attribution.exact.edge_patches import WRITER_SHARE
from interp.attribution.exact.engine import Machine
from interp.attribution.exact.forecast import Forecast, starts_at
from interp.attribution.exact.sweep import patch_bytes
from interp.attribution.features.feature_space import FeatureSpace
from interp.attribution.methods.node_patching import readout
from interp.attribution.protocol.spaces import EdgeSpace, NodeSpace
from interp.attribution.scoring.driver import Attribution
from interp.model.multiply_adds import Prices

_CHANNELS = ("q", "k", "v")


def price_of(request: Attribution, label: int | None = None) -> NodePrice | EdgePrice:
    """The price of a request for exact scores: at all positions together, or at those of one of its labels, by its number."""
    batches = [request.batch(index) for index in request.indices]
    machine, runs = request.restart.machine, 1.0 + request.ablation.has_run
    forecasts: Sequence[Forecast | None] = [None] * len(batches)
    if machine is not None:
        runs += not batches[0].recorded
        masks = [None if label is None else request.positions.masks(index)[label] for index in request.indices]
        pairs = zip(batches, masks, strict=True)
        forecasts = [_forecast(batch, machine, request.model.prices, mask) for batch, mask in pairs]
    shares = np.array([len(index) for index in request.indices]) / len(request.pairs)
    if isinstance(request.space, EdgeSpace):
        return _edge_price(request, request.space, runs, shares, forecasts)
    return _node_price(request, request.space, runs, shares, forecasts)


def _forecast(batch: Batch, machine: Machine, prices: Prices, mask: Tensor | None) -> Forecast:
    """mask: bool [batch pos], where patches are made; None for everywhere."""
    source, length = batch.source_inputs if batch.ablation.has_run else None, batch.shape[1]
    start = starts_at(batch.base_inputs, source, machine)
    if mask is not None:
        at = mask.any(0).nonzero().flatten().tolist()
        start = max(start, at[0]) if at and at[-1] >= start else length
    return Forecast(
        prices,
        tuple(own.parallel for own in machine.modules),
        machine.whole,
        machine.causal,
        length=length,
        start=start,
        keep=batch.keep_end,
        tokens=readout(batch).computed,
    )


def _largest(alone: np.ndarray, n: int) -> float:
    """The sum of the `n` largest, or of all where there are fewer."""
    return float(np.sort(alone)[len(alone) - min(n, len(alone)) :].sum())


# ---------------------------------------------------------------- nodes


@dataclass(frozen=True)
class NodePrice:
    """Patches of nodes, each of them or the first of its group: each, shared [batch group]; a whole forward costs 1.

    group [part]; shares [batch]: of all pairs. `patches`: how many patches some parts are, [batch group].
    """

    runs: float
    group: np.ndarray
    shares: np.ndarray
    each: np.ndarray
    shared: np.ndarray
    patches: Callable[[np.ndarray], np.ndarray]

    def __call__(self, places: np.ndarray) -> float:
        n = self.patches(places)
        return self.runs + float((self.shares[:, None] * (n * self.each + (n > 0) * self.shared)).sum())

    def dearest(self, places: np.ndarray, n: int) -> float:
        """What any `n` of some parts cost at most: as if each were patched alone."""
        alone = (self.shares[:, None] * (self.each + self.shared)).sum(0)[self.group[places]]
        return min(self(places), self.runs + _largest(alone, n))


def _node_price(
    request: Attribution, space: NodeSpace, runs: float, shares: np.ndarray, forecasts: Sequence[Forecast | None]
) -> NodePrice:
    sites = [group.site for group in space.groups]
    # What is added at all heads goes through all of the output projection.
    units = [1 if isinstance(space, FeatureSpace) else group.n_units for group in space.groups]
    each = np.array([[1.0 if f is None else f.node(*at) for at in zip(sites, units, strict=True)] for f in forecasts])
    shared = np.array([[0.0 if f is None else f.shared(at) for at in sites] for f in forecasts])
    group = np.repeat(np.arange(len(sites)), [group.n_units for group in space.groups])
    active = space.changing(request.ablation) if isinstance(space, FeatureSpace) else None

    def together(places: np.ndarray) -> np.ndarray:
        """Every prompt has a patch for each part."""
        return np.bincount(group[places], minlength=len(sites))[None]

    def packed(places: np.ndarray) -> np.ndarray:
        """A patch is of one feature in each prompt that has it."""
        found = np.zeros((len(shares), len(sites)))
        for own in np.unique(group[places]):
            counts = active[:, places[group[places] == own]].sum(1)  # type: ignore[index]
            found[:, own] = [counts[index].max() for index in request.indices]
        return found

    if active is not None:
        return NodePrice(runs, group, shares, each, shared, packed)
    return NodePrice(runs, group, np.ones(1), shares[None] @ each, shares[None] @ shared, together)


# ---------------------------------------------------------------- edges


@dataclass(frozen=True)
class EdgePrice:
    """Patches of edges: each [reader], and what those into one layer's attention share, copies and attention [layer].

    reader, writer [edge]; layer, channel [reader], -1 for what is no attention; writes [writer]: what heads write, once for
    each copy that is made. `at_once`: writers whose copies go together.
    """

    runs: float
    each: np.ndarray
    copies: np.ndarray
    attention: np.ndarray
    reader: np.ndarray
    writer: np.ndarray
    layer: np.ndarray
    channel: np.ndarray
    writes: np.ndarray
    at_once: int

    def __call__(self, places: np.ndarray) -> float:
        reader, writer = self.reader[places], self.writer[places]
        inside = self.channel[reader] >= 0
        layer, channel = self.layer[reader[inside]], self.channel[reader[inside]]
        seen = np.zeros((len(self.copies), int(self.writer.max()) + 1), dtype=bool)
        seen[layer, writer[inside]] = True
        there = np.zeros((len(self.copies), len(_CHANNELS)), dtype=bool)
        there[layer, channel] = True
        writers = seen.sum(1)
        redone = there.sum(1) * (writers + np.ceil(writers / self.at_once))
        written = seen.sum(0) @ self.writes[: seen.shape[1]] + self.writes[writer[~inside]].sum()
        return float(self.runs + self.each[reader].sum() + writers @ self.copies + redone @ self.attention + written)

    def dearest(self, places: np.ndarray, n: int) -> float:
        """What any `n` of some edges cost at most: as if no two had a copy in common, and attention were redone for all channels,
        once with each copy and once more."""
        reader = self.reader[places]
        layer = self.layer[reader]
        inside = self.copies + 2 * len(_CHANNELS) * self.attention
        alone = (
            self.each[reader]
            + np.where(self.channel[reader] >= 0, inside[layer], 0.0)
            + self.writes[self.writer[places]]
        )
        return min(self(places), self.runs + _largest(alone, n))


def _edge_price(
    request: Attribution, space: EdgeSpace, runs: float, shares: np.ndarray, forecasts: Sequence[Forecast | None]
) -> EdgePrice:
    graph, layers = space.graph, range(space.graph.n_layers)
    units = Counter((node.layer, node.kind) for node in graph.readers)
    ends = [(layer, kind, units[layer, kind]) for layer, kind in ((node.layer, node.kind) for node in graph.readers)]
    each = np.array([[1.0 if f is None else f.edge(*end) for end in ends] for f in forecasts])
    copies, attention = (
        np.array([[0.0 if f is None else ask(f, layer) for layer in layers] for f in forecasts])
        for ask in (Forecast.copies, Forecast.attention)
    )
    written = np.array([[0.0 if f is None else f.written(layer, graph.n_heads) for layer in layers] for f in forecasts])
    reader, writer = graph.visible.nonzero()
    return EdgePrice(
        runs=runs,
        each=shares @ each,
        copies=shares @ copies,
        attention=shares @ attention,
        reader=reader,
        writer=writer,
        layer=np.array([-1 if layer is None else layer for layer, *_ in ends]),
        channel=np.array([_CHANNELS.index(kind) if kind in _CHANNELS else -1 for _, kind, _ in ends]),
        writes=np.array([0.0 if own.kind != "head" else shares @ written[:, own.layer] for own in graph.writers]),
        at_once=_at_once(request),
    )


def _at_once(request: Attribution) -> int:
    """The fewest writers whose copies go through a layer's attention together."""
    width = max(4, request.model.dtype.itemsize)
    shapes = {(len(index), request.pairs[index[0]].length) for index in request.indices}
    largest = max(patch_bytes(request.model.layout, batch, length, 0, width) for batch, length in shapes)
    return max(1, WRITER_SHARE * request.memory.replay // largest)
