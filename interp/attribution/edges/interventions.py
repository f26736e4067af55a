"""Runs with edges patched: the reader at the end of a patched edge sees the source's value of its sender.

The copy of the residual stream that reader v sees is  x + sum over patched u of (a_u(source) - a_u(this run)), where
a_u(this run) is what u writes in this very run. Where most of what v sees is patched, the same copy is built from the other
end, as  x(source) - sum over the other u of (a_u(source) - a_u(this run)):  x minus nearly all that is in it would leave
rounding, which the next norm makes large. Only readers with a patched edge get a copy; with none, nothing is attached and
the run is the model's own. Several sets of edges go through as one batch, and each may have other edges at other positions:
an edge at a position is what the sender writes and the reader sees there.

Axis words: `set label reader writer batch pos d_model`; `row` is (set, batch) flattened, `token` (batch, pos).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from interp.attribution.edges.cuts import Cuts
from interp.attribution.edges.grabbing import Grabbed
from interp.attribution.edges.projections import Projections
from interp.attribution.edges.writers import EMBED, Values, Writers, final_site
from interp.ledger import spend
from interp.model.edits import Edit
from interp.model.modules.linear import linear
from interp.model.modules.tensors import activation_in, activation_out, with_activation, with_output
from interp.parts.graph import Step
from interp.parts.named_inputs import Inputs, repeated
from interp.parts.sites import Site
from interp.precision import wide


@dataclass
class PatchedRun:
    """The state of one run. cuts: bool [set reader writer], or [set label reader writer] with masks [label batch pos], the positions
    of each label: see `Cuts`.

    `source`: values to patch in, as `Writers.seen` gives them; `embeds`: those of the embedding writers
    [batch writer pos d_model]. `position`: the position embedding [1 pos d_model] where it is a writer of its own.
    """

    writers: Writers
    projections: Mapping[int, Projections]
    source: Values
    embeds: Tensor
    cuts: Tensor
    masks: Tensor | None = None
    position: Tensor | None = None
    streams: dict[str, Tensor] = field(default_factory=dict)
    pending: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    sources: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model, self.graph = self.writers.model, self.writers.graph
        self.grabbed = Grabbed(self.model, self.graph, self.projections)
        self.patched = Cuts.of(self.graph, self.cuts, self.masks, self.embeds)
        self.readers_cut = frozenset[int]().union(*self.patched.readers)
        self.writers_cut = self.patched.writers
        self.place = {writer: i for i, writer in enumerate(self.writers_cut)}
        sets, (batch, _, *rest) = len(self.cuts), self.embeds.shape
        self.deltas = self.embeds.new_zeros(sets, len(self.writers_cut), batch, *rest) if self.place else self.embeds

    def logits(self, given: Tensor | Inputs, keep: int, vocabulary: Tensor | None = None) -> Tensor:
        """Logits [set batch pos d_vocab] of token ids [batch pos] or inputs, the last `keep` positions (0: all); `vocabulary`: of
        these tokens only."""
        sets = len(self.cuts)
        with torch.no_grad(), ExitStack() as stack:
            self._attach(stack)
            run = self.model.run(
                repeated(given, sets),
                edits=self._edits(),
                logits_to_keep=keep,
                split_kv=self._split(),
                vocabulary=vocabulary,
            )
        found: Tensor = run.logits
        return found.view(sets, -1, *found.shape[1:])

    # ------------------------------------------------------------ what is written

    def _edits(self) -> list[Edit]:
        """Edits that only look (at what is written), put q, k, v in, and shift the logits' copy of the stream."""
        edits = [Edit(EMBED, self._looking(self._embeds_written))] if self._any_cut(range(self.writers.first)) else []
        for step in self.graph.steps:
            if self._any_cut(step.writers):
                see = self._heads_written if step.kind == "head" else self._whole_written
                edits.append(Edit(step.site, self._looking(partial(see, step))))
            if step.kind == "head" and self._mixed([step.layer]):
                sites = [Site(channel, step.layer) for channel in "qkv"]
                edits += [Edit(site, partial(self.grabbed.put, site)) for site in sites]
        last = len(self.graph.readers) - 1
        if last in self.readers_cut:
            edits.append(Edit(final_site(self.model.layout), lambda x: self._shifted(x, [last])[:, 0].reshape(x.shape)))
        return edits

    def _any_cut(self, writers: Iterable[int]) -> bool:
        """Whether one of these writers is the sender of a patched edge."""
        return any(writer in self.place for writer in writers)

    @staticmethod
    def _looking(see: Callable[[Tensor], None]) -> Callable[[Tensor], Tensor]:
        """An edit that shows the tensor to `see` and leaves it as it is."""

        def apply(x: Tensor) -> Tensor:
            see(wide(x))
            return x

        return apply

    def _wrote(self, writer: int, source: Tensor, now: Tensor) -> None:
        """Keep source - now of one writer: source [batch pos d_model], now [row pos d_model]."""
        if writer in self.place:
            self.deltas[:, self.place[writer]] = source - now.view(len(self.cuts), -1, *now.shape[1:])

    def _embeds_written(self, x: Tensor) -> None:
        parts = [x] if self.position is None else [x - self.position, self.position.expand_as(x)]
        for writer, part in enumerate(parts):
            self._wrote(writer, self.embeds[:, writer], part)
        self.sources[self.writers.first] = self.embeds.sum(1)[None]

    def _heads_written(self, step: Step, z: Tensor) -> None:
        layer, start, end = step.layer, step.writers.start, step.writers.stop
        now, source = self.writers.scaled(layer, z), self.source[step.site]
        W_O = self.writers.W_O(layer).to(z.dtype)
        for head in range(self.graph.n_heads):
            if start + head in self.place:
                self._wrote(start + head, source[:, :, head] @ W_O[head], now[:, :, head] @ W_O[head])
                spend((source[:, :, head].numel() + now[:, :, head].numel()) * W_O.shape[-1])
        if end <= self.patched.turned:
            total = self.sources[start] + source.flatten(2) @ W_O.flatten(0, 1)
            spend(source.numel() * W_O.shape[-1])
            rest = self.writers.rest(layer, z)
            if rest is not None:
                total = total + (rest.view(-1, *source.shape[:2], rest.shape[-1]) if rest.ndim == 3 else rest)
            self.sources[end] = total

    def _whole_written(self, step: Step, x: Tensor) -> None:
        source, writer = self.source[step.site], step.writers.start
        self._wrote(writer, source, x)
        if writer < self.patched.turned:
            self.sources[writer + 1] = self.sources[writer] + source

    # ------------------------------------------------------------ what is read

    def _shifted(self, x: Tensor, readers: Sequence[int]) -> Tensor:
        """Each reader's copy [set reader batch pos d_model] of the stream x [row pos d_model], in the dtype of `x`; all of them
        see the same writers."""
        before = bisect_left(self.writers_cut, self.graph.n_upstream[readers[0]])
        stream = wide(x).reshape(len(self.cuts), 1, -1, x.shape[-1])
        deltas = self.deltas[:, :before].flatten(2, 3)
        if self.masks is None:
            copies = self._copies(0, readers, stream, deltas)
        else:
            copies = stream.expand(-1, len(readers), -1, -1).clone()
            for label in self.patched.labels_of(readers):
                at = self.patched.at[label]
                copies[:, :, at] = self._copies(label, readers, stream[:, :, at], deltas[:, :, at])
        return copies.to(x.dtype).view(*copies.shape[:2], *self.deltas.shape[2:])

    def _copies(self, label: int, readers: Sequence[int], stream: Tensor, deltas: Tensor) -> Tensor:
        """The copies [set reader token d_model] at the tokens of one label. stream [set 1 token d_model], deltas [set writer token d_model]."""
        cuts, n = self.patched, self.graph.n_upstream[readers[0]]
        weights = cuts.weights[:, label, readers][:, :, self.writers_cut[: deltas.shape[1]]]
        shift = torch.bmm(weights, deltas.flatten(2)).view(*weights.shape[:2], *deltas.shape[2:])
        spend(weights.numel() * deltas[0, :1].numel())
        turned = cuts.mostly[:, label, readers]
        if bool(turned.any()):
            source = self.sources[n].flatten(1, 2)[:, cuts.at[label]][:, None]
            stream = torch.where(turned[:, :, None, None], source, stream)
        return stream + shift

    def _normed(self, path: str | None, x: Tensor, readers: Sequence[int]) -> Tensor:
        """What the norm at `path` makes of the copies [set reader batch pos d_model]; without one the copies themselves.

        The norm's forward is called past its hooks, which belong to the run's own pass.
        """
        copies = self._shifted(x, readers)
        return (
            copies if path is None else self.model.hf.get_submodule(path).forward(copies.flatten(0, 2)).view_as(copies)
        )

    def _inside(self, layer: int) -> list[int]:
        """The attention readers of a layer that have a patched edge, counted within the layer."""
        return [i for i, reader in enumerate(self.graph.attentions[layer].readers) if reader in self.readers_cut]

    def _mixed(self, layers: Iterable[int]) -> bool:
        """Whether a layer has a reader with a patched edge whose columns others also see."""
        return any(not self.projections[layer].one_pass and bool(self._inside(layer)) for layer in layers)

    def _split(self) -> bool:
        """Whether this run needs keys and values per query head."""
        return self.graph.kv == "split" and self._mixed(self.projections)

    def _attach(self, stack: ExitStack) -> None:
        """Hooks on the norms, the attentions, the MLPs and what has no heads, that have a reader with a patched edge."""
        hf = self.model.hf
        for step in (step for step in self.graph.steps if not self.readers_cut.isdisjoint(step.readers)):
            own = self.model.layout.blocks[step.layer].part(step.kind)
            self._keep_input(stack, own.norm)
            heads = step.kind == "head"
            hook = self._attention(step.layer) if heads else self._whole(own.norm, step.readers[0])
            module = hf.get_submodule(own.entry)
            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
            for path in self.projections[step.layer].paths if heads else ():
                stack.callback(hf.get_submodule(path).register_forward_hook(self._put_columns(path)).remove)

    def _keep_input(self, stack: ExitStack, path: str | None) -> None:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            self.streams[path or ""] = activation_in(args, kwargs)

        if path is not None:
            module = self.model.hf.get_submodule(path)
            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)

    def _whole(self, norm: str | None, reader: int) -> Callable[..., Any]:
        def hook(module: Any, args: Any, kwargs: Any) -> Any:
            x = activation_in(args, kwargs)
            stream = x if norm is None else self.streams[norm]
            return with_activation(args, kwargs, self._normed(norm, stream, [reader]).reshape(x.shape))

        return hook

    def _attention(self, layer: int) -> Callable[..., Any]:
        """Before an attention runs: what its projections give to each reader with a patched edge."""
        norm, projections = self.model.layout.blocks[layer].attn.norm, self.projections[layer]

        def hook(module: Any, args: Any, kwargs: Any) -> None:
            stream = activation_in(args, kwargs) if norm is None else self.streams[norm]
            inside = self._inside(layer)
            normed = self._normed(norm, stream, [self.graph.attentions[layer].readers[i] for i in inside])
            columns = {i: self._columns(projections, i, normed[:, k]) for k, i in enumerate(inside)}
            if projections.one_pass:
                self._hold(columns.values())
                return
            for members in projections.passes:
                if chosen := [i for i in members if i in columns]:
                    self._hold(columns[i] for i in chosen)
                    self.grabbed.grab(layer, chosen, module, args, kwargs)

        return hook

    def _columns(self, projections: Projections, i: int, x: Tensor) -> list[tuple[str, Tensor, Tensor]]:
        """(map, its columns, their values [row pos column]) of one reader with the copy x [set batch pos d_model]."""
        found = []
        for path, start, end in projections.starts():
            own = projections.columns[i]
            own = own[(own >= start) & (own < end)].to(x.device) - start
            if len(own):
                W, bias = linear(self.model, path)
                rows = x.flatten(0, 2)
                y = rows @ W[:, own] if bias is None else torch.addmm(bias[own], rows, W[:, own])
                spend(rows.numel() * len(own))
                found.append((path, own, y.view(-1, x.shape[2], len(own))))
        return found

    def _hold(self, columns: Iterable[list[tuple[str, Tensor, Tensor]]]) -> None:
        """Let the projections give these values when they are next called."""
        self.pending = {}
        for path, own, y in (part for parts in columns for part in parts):
            self.pending.setdefault(path, []).append((own, y))

    def _put_columns(self, path: str) -> Callable[..., Any]:
        def hook(module: Any, args: Any, output: Any) -> Any:
            held = self.pending.pop(path, [])
            if not held:
                return output
            y = activation_out(output).clone()
            for columns, values in held:
                y[..., columns] = values.reshape(*y.shape[:-1], -1)
            return with_output(output, y)

        return hook
