"""What the readers of an attention read in a masked run: each its own columns of the projections.

Where readers share columns, the attention runs up to its q, k and v once for each set of readers that do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from interp.attribution.edges.edge_maps import EdgeMap
from interp.attribution.edges.grabbing import Grabbed
from interp.attribution.edges.pullbacks import NO_NORM, Pullback, gathered, hand_on
from interp.attribution.masks.copies import some
from interp.attribution.masks.stream_reads import Reading, Seen
from interp.ledger import spend
from interp.model.edits import Edit
from interp.model.modules.linear import linear, norm_at
from interp.model.modules.tensors import activation_in, activation_out, with_output
from interp.parts.sites import Site
from interp.precision import wide

_NOTHING = Seen(None, lambda: NO_NORM)


@dataclass
class AttentionReads:
    """The attention readers of one run; `layer`, `seen` and `chosen` are those of the attention that runs now."""

    map: EdgeMap
    reading: Reading
    layer: int = 0
    seen: Seen = _NOTHING
    chosen: Sequence[int] = ()

    def __post_init__(self) -> None:
        self.model, self.graph = self.reading.model, self.map.graph
        self.grabbed = Grabbed(self.model, self.graph, self.map.projections)

    def attach(self, stack: ExitStack) -> None:
        """Hooks on attentions and their projections, which go with `stack`."""
        for layer in self.graph.attentions:
            module = self.model.hf.get_submodule(self.model.layout.blocks[layer].attn.entry)
            stack.callback(module.register_forward_pre_hook(self._attention(layer), with_kwargs=True).remove)
            for path in self.map.projections[layer].paths:
                module = self.model.hf.get_submodule(path)
                stack.callback(module.register_forward_hook(self._put_columns(path)).remove)
        stack.callback(self._let_go)

    def _let_go(self) -> None:
        """Hold nothing of the run's graph."""
        self.seen, self.chosen = _NOTHING, ()
        self.grabbed.held.clear()

    @property
    def shared(self) -> list[int]:
        """The layers whose readers share columns."""
        return [layer for layer, own in self.map.projections.items() if not own.one_pass]

    def edits(self) -> list[Edit]:
        """Edits that put q, k and v in where readers share columns."""
        sites = [Site(channel, layer) for layer in self.shared for channel in "qkv"]
        return [Edit(site, partial(self.grabbed.put, site)) for site in sites]

    def _attention(self, layer: int) -> Callable[..., Any]:
        """Before an attention runs: what its projections give to its readers."""
        norm, projections = self.model.layout.blocks[layer].attn.norm, self.map.projections[layer]
        readers = self.graph.attentions[layer].readers

        def hook(module: Any, args: Any, kwargs: Any) -> None:
            self.layer, self.seen = layer, self.reading.seen(norm, readers, activation_in(args, kwargs))
            if projections.one_pass:
                self.chosen = range(len(readers))
                return
            for members in projections.passes:
                self.chosen = members
                self.grabbed.grab(layer, members, module, args, kwargs)
            self.chosen = ()

        return hook

    def _put_columns(self, path: str) -> Callable[..., Any]:
        """What a projection gives: each reader's columns from its own copy."""

        def hook(module: Any, args: Any, output: Any) -> Any:
            if not self.chosen:
                return output
            projections = self.map.projections[self.layer]
            own = {i: columns for i, columns in projections.of_map[path].items() if i in self.chosen}
            y = activation_out(output)
            value = y.detach() if self.seen.values is None else self._columns(path, y, own, self.seen.values)
            take = partial(self._columns_back, self.layer, path, list(own), list(own.values()), self.seen.back)
            return with_output(output, self.reading.mixture.read(value, take))

        return hook

    def _columns(self, path: str, y: Tensor, own: dict[int, Tensor], values: Tensor) -> Tensor:
        """The projection's output with the columns of each reader from its own copy."""
        norm = self.model.layout.blocks[self.layer].attn.norm
        if len(values) == 1:
            with torch.no_grad():
                found: Tensor = self.model.hf.get_submodule(path).forward(values[0].reshape(*y.shape[:-1], -1))
            return found
        W, bias = self._map(path, norm)
        whole = sum(map(len, own.values())) == y.shape[-1]
        value = torch.empty_like(y) if whole else y.detach().clone()
        rows = value.view(-1, value.shape[-1])
        for size in dict.fromkeys(map(len, own.values())):
            same = {i: columns.to(y.device) for i, columns in own.items() if len(columns) == size}
            chosen = torch.stack(list(same.values()))
            x = some(values, list(same)).flatten(1, 2)
            spend(x.numel() * size)
            found = torch.bmm(x, gathered(W, 1, chosen).transpose(0, 1))
            rows[:, chosen.flatten()] = found.transpose(0, 1).flatten(1)
        return value if bias is None else value.add_(bias)

    def _map(self, path: str, norm: str | None) -> tuple[Tensor, Tensor | None]:
        """W [in out] and bias [out] of a projection, with the weight and bias of the norm before it where what is seen lacks them."""
        W, bias = linear(self.model, path)
        if not self.seen.folded or norm is None:
            return W, bias
        module = self.model.hf.get_submodule(norm)
        weight, shift = norm_at(self.model, norm).weight(module), getattr(module, "bias", None)
        if shift is not None:
            moved = shift.detach() @ W
            bias = moved if bias is None else moved + bias
        return (W * weight[:, None] if isinstance(weight, Tensor) else W), bias

    def _columns_back(
        self,
        layer: int,
        path: str,
        inside: list[int],
        columns: list[Tensor],
        back: Callable[[], Pullback],
        g: Tensor,
    ) -> None:
        readers, W = self.graph.attentions[layer].readers, self.map.projections[layer].weight(self.model, path)
        g = wide(g).reshape(*self.reading.mixture.like.shape[:2], -1)
        way = back().for_readers(inside)
        hand_on([readers[i] for i in inside], columns, g, wide(W), way, self.map.workspace, self.reading.mixture.take)
