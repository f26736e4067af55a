"""The edges of a graph as patches of a replay: the reader alone sees the sender's other value.

For a writer u and a layer, q, k and v of the copy x + (a_u(source) - a_u(base)) are computed once, and attention once per
channel with all its heads reading that copy. Heads do not meet in attention, so each head's z is that of its own edge, and
all edges from u into the layer start from there.

Axis words: `writer batch pos head d_head d_model`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor

from interp.attribution.edges.writers import Values, Writers
from interp.attribution.exact.counts import Counts
from interp.attribution.exact.engine import Replay
from interp.attribution.exact.node_patches import z_change
from interp.attribution.exact.patches import Inside, Patches
from interp.attribution.exact.segments import Segment
from interp.attribution.exact.sweep import REPLAY_BYTES, bytes_of_patch
from interp.parts.graph import Graph, Step
from interp.parts.nodes import Node
from interp.parts.sites import Site
from interp.precision import wide

#: How much more memory than the rows of a replay the copies that readers see may take: few large products are fast.
WRITER_SHARE: Final = 2

Ends = tuple[int, int]


@dataclass(frozen=True)
class EdgePatches:
    """The edges wanted, (reader, writer) by their numbers in the graph, as patches.

    `values`, `embeds`: source - base of every writer as `EdgeBatch.differences` gives them; `mask` [batch pos]: where it is
    patched; `start..stop`: the positions of it where any of them differs; `limit`: bytes for the rows of one replay.
    """

    replay: Replay
    writers: Writers
    values: Values
    embeds: Tensor
    mask: Tensor
    start: int
    stop: int
    limit: int = REPLAY_BYTES

    @property
    def graph(self) -> Graph:
        return self.writers.graph

    def written(self, some: Sequence[int]) -> Tensor:
        """What some writers add otherwise [writer batch pos d_model], zero where it is not patched."""
        W_O: dict[int, Tensor] = {}
        found = []
        for node, number in ((self.graph.writers[w], w) for w in some):
            if node.layer is None:
                found.append(self.embeds[:, number])
            elif node.kind == "mlp":
                found.append(self.values[Site("mlp_out", node.layer)])
            else:
                z = self.values[Site("z", node.layer)][:, :, node.unit or 0]
                if node.layer not in W_O:
                    W_O[node.layer] = self.writers.W_O(node.layer).to(z.dtype)
                found.append(z @ W_O[node.layer][node.unit or 0])
                self.replay.counts.written += found[-1].numel() * z.shape[-1]
        device = self.embeds.device  # layers may be on several
        return torch.stack([one.to(device) for one in found]) * self.mask.to(self.embeds)[..., None]

    def of(self, wanted: Sequence[Ends]) -> Iterator[tuple[list[Ends], Patches]]:
        """Yields edges with their patches, by the layer that these enter."""
        writers: dict[int, list[int]] = defaultdict(list)
        for reader, writer in wanted:
            writers[reader].append(writer)
        for step in self.graph.steps:
            yield from (self._attention if step.kind == "head" else self._mlp)(step, writers)
        yield from self._logits(writers)

    def _few(self, writers: Sequence[int]) -> Iterator[Sequence[int]]:
        """The writers, as many at once as the memory of their copies holds."""
        size = max(1, WRITER_SHARE * self.limit // bytes_of_patch(self.replay, 0))
        for start in range(0, len(writers), size):
            yield writers[start : start + size]

    # ------------------------------------------------------------ readers

    def _attention(self, step: Step, writers: Mapping[int, list[int]]) -> Iterator[tuple[list[Ends], Patches]]:
        layer, readers = step.layer, step.readers
        for some in self._few(sorted({writer for reader in readers for writer in writers.get(reader, ())})):
            place = {writer: i for i, writer in enumerate(some)}
            channels = self._channels(layer, some)
            for channel, new in channels.items():
                own = [r for r in readers if self.graph.readers[r].kind == channel]
                chosen = [(r, w) for r in own for w in writers.get(r, ()) if w in place]
                inside = self._inside(layer, channel) if chosen else None
                if inside is None:
                    continue
                change = z_change(self.replay, inside, {channel: new})
                change = change.view(len(some), -1, *change.shape[1:])
                picked = [(place[w], self._heads(self.graph.readers[r])) for r, w in chosen]
                yield (
                    chosen,
                    inside.heads(len(chosen), partial(_projected, self.replay.counts, change, inside.W_O(), picked)),
                )

    def _inside(self, layer: int, channel: str) -> Inside | None:
        """The positions of z that other queries, keys or values change."""
        stop = self.stop if channel == "q" else self.replay.length
        start = self.start if channel == "q" or self.replay.causal else 0
        return Inside.of(self.replay, layer, start, stop)

    def _channels(self, layer: int, some: Sequence[int]) -> dict[str, Tensor]:
        """q, k and v [writer * batch head pos d_head] of the copies that see each of some writers otherwise."""
        replay, record = self.replay, self.replay.recording.layers[layer]
        own = Segment(len(some), self.start, self.stop)
        change = self.written(some)[:, :, self.start : self.stop]
        copies = (wide(record.x[:, self.start : self.stop]) + change.to(record.x.device)).to(record.x.dtype)
        found = zip("qkv", replay.channels(layer, copies.flatten(0, 2), [own]), strict=True)
        bases = {"q": record.q, "k": record.k, "v": record.v}
        return {channel: replay.at_all(bases[channel], rows, own, 0) for channel, rows in found}

    def _heads(self, reader: Node) -> list[int]:
        """The query heads that a reader belongs to."""
        unit = reader.unit or 0
        return list(range(unit * self.graph.group, (unit + 1) * self.graph.group)) if reader.grouped else [unit]

    def _mlp(self, step: Step, writers: Mapping[int, list[int]]) -> Iterator[tuple[list[Ends], Patches]]:
        layer, reader = step.layer, step.readers[0]
        inside = Inside.of(self.replay, layer, self.start, self.stop) if reader in writers else None
        if inside is None:
            return
        base = wide(inside.x if self.graph.parallel[layer] else inside.middle)
        for some in self._few(writers[reader]):
            yield [(reader, w) for w in some], inside.mlp_reads(len(some), partial(self._copies, inside, base, some))

    def _copies(self, inside: Inside, base: Tensor, writers: Sequence[int], some: slice) -> Tensor:
        change = inside.cut(self.written(writers[some]), 2)
        return (base + change.to(base.device)).to(inside.x.dtype)

    def _logits(self, writers: Mapping[int, list[int]]) -> Iterator[tuple[list[Ends], Patches]]:
        reader, final = len(self.graph.readers) - 1, self.replay.recording.final
        start, stop = self.replay.reach(self.graph.n_layers, self.start, self.stop)
        if reader not in writers or start >= stop:
            return
        base = wide(final[:, start:stop])

        def rows(own: Sequence[int], some: slice) -> Tensor:
            return (base + self.written(own[some])[:, :, start:stop].to(base.device)).to(final.dtype)

        for own in self._few(writers[reader]):
            yield [(reader, w) for w in own], Patches(self.graph.n_layers, len(own), start, stop, partial(rows, own))


def _projected(
    counts: Counts, change: Tensor, W_O: Tensor, picked: Sequence[tuple[int, list[int]]], some: slice
) -> Tensor:
    """What some edges change in the output projection's output [patch batch pos d_model].

    change [writer batch pos head d_head]; picked: for each edge its writer's place and the heads that read it.
    """
    places, heads = zip(*picked[some], strict=True)
    place, head = torch.tensor(places), torch.tensor(heads)
    z = change[place.to(change.device)[:, None], :, :, head.to(change.device)]  # patch member batch pos d_head
    W = W_O[head.to(W_O.device)].to(z.dtype)
    patch, member, batch, pos, size = z.shape
    flat = z.permute(0, 2, 3, 1, 4).reshape(patch, batch * pos, member * size)
    found: Tensor = torch.bmm(flat, W.flatten(1, 2)).view(patch, batch, pos, -1)
    counts.written += flat.numel() * W.shape[-1]
    return found
