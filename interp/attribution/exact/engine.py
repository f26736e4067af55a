"""Redo a recorded run from a layer on, for many patches at once, and only as far as the logits that are read.

A front is what enters a layer: the stream of every patched run at the positions where it may differ from the base run. Through
a layer it goes as rows (patch, example, position), all segments together:

    q, k, v of the rows;  z of every later position, with the base run's keys and values elsewhere;  o;  MLP.

After the first layer everything behind the first changed position differs. The last layer has queries, and everything after
them, only at the positions whose logits are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from interp.attribution.exact.arguments import Axes, at_rows, repeated
from interp.attribution.exact.counts import Counts
from interp.attribution.exact.modules import LayerModules
from interp.attribution.exact.recording import Recording
from interp.attribution.exact.segments import Segment, rows_of, spliced, split
from interp.model.modules import attention
from interp.model.modules.tensors import activation_out, with_activation
from interp.parts.sites import Site


class _Seen(Exception):
    """Ends an attention module's forward where its q, k and v are known."""


@dataclass(frozen=True)
class Machine:
    """What a replay needs to know of a model. `axes`: those of the arguments of each layer's attention module.

    `whole`: attention cannot be redone for some positions only (it does not go through transformers' AttentionInterface);
    layers are then redone at all positions. `causal`: whether, when it was tried, no token looked at later ones.
    """

    model: Any
    modules: tuple[LayerModules, ...]
    axes: tuple[tuple[Axes | None, ...], ...]
    whole: bool
    causal: bool


@dataclass
class Replay:
    """Replays of one recorded run. `keep`: how many positions' logits are read, 0 for all. Torch's grad mode must be off."""

    machine: Machine
    recording: Recording
    keep: int
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self.batch, self.length = self.recording.batch, self.recording.length
        self.n_layers = len(self.machine.modules)
        self.first_read = self.length - self.keep if self.keep else 0
        self.causal = not self.machine.whole and self.recording.causal

    def value(self, site: Site) -> Tensor:
        """The base run's value at a site, in the shape of that site."""
        if site.layer is None:
            return self.recording.stream(0 if site.kind == "embed" else self.n_layers)
        own, record = self.machine.modules[site.layer], self.recording.layers[site.layer]
        if site.kind in ("resid_pre", "resid_post"):
            return self.recording.stream(site.layer + (site.kind == "resid_post"))
        if site.kind in ("q", "k", "v"):
            channel: Tensor = getattr(record, site.kind).transpose(1, 2)
            return channel
        if site.kind == "z":
            return record.z.view(self.batch, self.length, self.machine.model.layout.blocks[site.layer].attn.n_heads, -1)
        if site.kind == "mlp_post":
            return record.neurons.view(self.batch, self.length, -1)
        if site.kind == "mlp_out":
            return own.mlp_added(record.mlp_raw)
        added = own.attn_added(record.attn_raw)
        return added if site.kind == "attn_out" else own.between(record.x, added)

    def reach(self, entry: int, start: int, stop: int) -> tuple[int, int]:
        """The part of start..stop where a change of the stream that enters `entry` can matter; empty if nowhere."""
        return (max(start, self.first_read), stop) if entry == self.n_layers else (start, stop)

    def final(self, entry: int, fronts: Sequence[tuple[Segment, Tensor]]) -> list[Tensor]:
        """What enters the final norm at the positions read, [patch * batch pos d_model] for every segment.

        fronts: segments that enter layer `entry` with their rows [patch batch pos d_model].
        """
        segments, order = _merged([segment for segment, _ in fronts])
        x = torch.cat([fronts[i][1].reshape(-1, fronts[i][1].shape[-1]) for i in order])
        for layer in range(entry, self.n_layers):
            x, segments = self.through(layer, x.to(self.recording.layers[layer].x.device), segments)
        base = self.recording.final
        parts = zip(segments, split(x, segments, self.batch), strict=True)
        found = torch.cat([self._spliced(base, rows, own, self.first_read) for own, rows in parts])
        pieces = torch.split(found, [fronts[i][0].n * self.batch for i in order])
        return [piece for _, piece in sorted(zip(order, pieces, strict=True), key=lambda pair: pair[0])]

    def _spliced(self, base: Tensor, rows: Tensor, own: Segment, start: int) -> Tensor:
        new = rows.to(base.device).view(own.n * self.batch, -1, rows.shape[-1])
        return spliced(base, new, own, start, self.length)

    # ------------------------------------------------------------ one layer

    def through(self, layer: int, x: Tensor, segments: list[Segment]) -> tuple[Tensor, list[Segment]]:
        """Rows [row d_model] that enter a layer, to the rows that leave it and where they are."""
        own, record = self.machine.modules[layer], self.recording.layers[layer]
        start = self.first_read if layer == self.n_layers - 1 else 0
        first = [s.start if self.causal or not own.attends else 0 for s in segments]
        after = [s.between(max(at, start), self.length) for s, at in zip(segments, first, strict=True)]
        parts = split(x, segments, self.batch)
        streams = [
            self._spliced(record.x, p, s, a.start).flatten(0, 1) for p, s, a in zip(parts, segments, after, strict=True)
        ]
        whole = middle = torch.cat(streams)
        if own.attends:
            middle = own.between(whole, own.attn_added(self._attention(layer, x, segments, after)))
        if not own.computes:
            return middle, after
        mlp = own.mlp_added(self.mlp_raw(layer, whole if own.parallel else middle))
        return own.leaving(middle, mlp), after

    def _attention(self, layer: int, x: Tensor, segments: list[Segment], after: list[Segment]) -> Tensor:
        """The output of a layer's output projection at the positions `after`, for rows that enter it."""
        if self.machine.whole:
            return self._whole_attention(layer, split(x, segments, self.batch), segments, after)
        return self.projected(layer, self.attended(layer, x, segments, after))

    def mlp_raw(self, layer: int, x: Tensor) -> Tensor:
        """The MLP's output for streams x [... d_model]."""
        self.counts.add("mlp", layer, x[..., 0].numel())
        return self.machine.modules[layer].mlp_raw(x)

    def projected(self, layer: int, z: Tensor) -> Tensor:
        """The output of the attention's output projection for z [row head * d_head]."""
        self.counts.add("o", layer, len(z))
        return activation_out(self.machine.modules[layer].o(z[None]))[0]

    # ------------------------------------------------------------ attention

    def channels(self, layer: int, x: Tensor, segments: Sequence[Segment]) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v [head row d_head] of streams x [row d_model], by the model's own code."""
        own, record = self.machine.modules[layer], self.recording.layers[layer]
        self.counts.add("qkv", layer, len(x))
        call = at_rows(record.call, self.machine.axes[layer], rows_of(segments, self.batch))
        args, kwargs = with_activation(call[0], call[1], own.normed(x[None]))
        found: list[Tensor] = []

        def around(_: nn.Module, native: attention.Native, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            found.extend((q[0], k[0], v[0]))
            raise _Seen

        with suppress(_Seen), attention.diverted(around):
            own.attn(*args, **kwargs)
        q, k, v = found
        return q, k, v

    def attended(self, layer: int, x: Tensor, segments: list[Segment], after: list[Segment]) -> Tensor:
        """z [row head * d_head] at the positions `after`, for rows x that enter the layer at `segments`."""
        record = self.recording.layers[layer]
        q, k, v = (split(y, segments, self.batch, dim=1) for y in self.channels(layer, x, segments))
        z = [
            self.attend(
                layer,
                then,
                self.at_all(record.q, q[i], own, then.start),
                self.at_all(record.k, k[i], own, 0),
                self.at_all(record.v, v[i], own, 0),
            )
            for i, (own, then) in enumerate(zip(segments, after, strict=True))
        ]
        return torch.cat([one.flatten(2).flatten(0, 1) for one in z])

    def at_all(self, base: Tensor, rows: Tensor, own: Segment, start: int) -> Tensor:
        """q, k or v [patch * batch head pos d_head] from start.. on, from rows [head row d_head] of one segment."""
        heads, _, size = rows.shape
        new = rows.reshape(heads, own.n * self.batch, -1, size).transpose(0, 1)
        return spliced(base, new, own, start, self.length, dim=2)

    def attend(self, layer: int, own: Segment, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """z [patch * batch pos head d_head] of queries at the segment's positions over the keys and values of all.

        It is the architecture's own eager attention with the rows of the mask that belong to these queries.
        """
        native = self.recording.layers[layer].native
        if native is None:
            raise RuntimeError("attention was not recorded")
        mask = native.mask
        if mask is not None:
            mask = _shared(mask)[..., own.start : own.stop, :]
            mask = mask if mask.shape[0] == 1 else mask.repeat(own.n, 1, 1, 1)
        self.counts.add("attention", layer, q.shape[0] * q.shape[2], keys=k.shape[2])
        z, _ = replace(native, mask=mask)(q, k, v)
        return z

    def _whole_attention(
        self, layer: int, parts: list[Tensor], segments: list[Segment], after: list[Segment]
    ) -> Tensor:
        """The output of the output projection, by the attention module itself at all positions of every run."""
        own, record = self.machine.modules[layer], self.recording.layers[layer]
        found = []
        for rows, segment, then in zip(parts, segments, after, strict=True):
            x = self._spliced(record.x, rows, segment, 0)
            args, kwargs = repeated(record.call, self.machine.axes[layer], self.batch, segment.n)
            for part in ("qkv", "o"):
                self.counts.add(part, layer, x.shape[0] * x.shape[1])
            self.counts.add("attention", layer, x.shape[0] * x.shape[1], keys=self.length)
            found.append(_projected_by(own, args, kwargs, x)[:, then.start :].flatten(0, 1))
        return torch.cat(found)


def _merged(segments: Sequence[Segment]) -> tuple[list[Segment], list[int]]:
    """Segments at the same positions made one, and the order that their rows then have."""
    order = sorted(range(len(segments)), key=lambda i: (segments[i].start, segments[i].stop))
    merged: list[Segment] = []
    for own in (segments[i] for i in order):
        if merged and (merged[-1].start, merged[-1].stop) == (own.start, own.stop):
            merged[-1] = replace(own, n=merged[-1].n + own.n)
        else:
            merged.append(own)
    return merged, order


def _projected_by(own: LayerModules, args: Any, kwargs: Any, x: Tensor) -> Tensor:
    """The output of the output projection inside the attention module, for the stream x [batch pos d_model]."""
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        found.append(activation_out(output))
        raise _Seen

    args, kwargs = with_activation(args, kwargs, own.normed(x))
    handle = own.o.register_forward_hook(keep)
    try:
        with suppress(_Seen):
            own.attn(*args, **kwargs)
    finally:
        handle.remove()
    return found[0].reshape(x.shape)


def _shared(mask: Tensor) -> Tensor:
    """One row of the mask where all prompts have the same."""
    return mask[:1] if mask.shape[0] > 1 and torch.equal(mask, mask[:1].expand_as(mask)) else mask
