"""What every writer adds to the residual stream, as something small that is linear in it.

The embedding and an MLP are their own value [batch pos d_model]. A head is its z, divided by the scale of its own run where
a post-norm stands between its layer's output and the stream, so that head h of layer l adds  z[h] @ W_O[l][h]  in every case;
`W_O` holds the norm's weight, its centring and the residual multiplier. Biases belong to no head.

Axis words: `batch pos head d_head d_model writer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from interp.errors import LayoutError
from interp.ledger import spend
from interp.model.modules.linear import input_embedding, linear, norm_at
from interp.model.modules.tensors import close
from interp.parts.graph import Graph
from interp.parts.sites import Site
from interp.precision import wide

EMBED = Site("embed")
Values = dict[Site, Tensor]


@dataclass(frozen=True)
class Writers:
    """The writers of a model's graph. `Values` hold per site what `seen` makes of a run: the form described above."""

    model: Any
    graph: Graph

    @cached_property
    def sites(self) -> list[Site]:
        """Where writers are read."""
        layers = range(self.graph.n_layers)
        return [EMBED, *(Site(kind, i) for i in layers for kind in ("z", "mlp_out"))]

    def seen(self, reads: Mapping[Site, Tensor]) -> Values:
        """The values of a run from what it read, detached, in float32 or better."""
        values = {site: wide(reads[site].detach()) for site in self.sites}
        for layer in range(self.graph.n_layers):
            site = Site("z", layer)
            values[site] = self.scaled(layer, values[site])
        return values

    def scaled(self, layer: int, z: Tensor) -> Tensor:
        """z [batch pos head d_head], divided by the scale of a post-norm at this run's own attention output."""
        block = self.model.layout.blocks[layer]
        if block.attn.plain:
            return z
        W, bias = linear(self.model, block.attn.o)
        written = z.flatten(2).to(W.dtype) @ W + (0 if bias is None else bias)
        spend(W.shape[1] * z.numel())
        inverse_sigma = norm_at(self.model, block.attn.writer).inverse_sigma(written)
        return z * inverse_sigma[..., None].to(z.dtype)

    def rest(self, layer: int, z: Tensor) -> Tensor | None:
        """What attention adds besides its heads, from the biases of projection and post-norm: [d_model], or under a
        post-norm [batch pos d_model] for this run's z [batch pos head d_head]. None without biases."""
        block = self.model.layout.blocks[layer]
        W, bias = linear(self.model, block.attn.o)
        if block.attn.plain:
            return None if bias is None else block.attn.scale * wide(bias)
        norm, module = norm_at(self.model, block.attn.writer), self.model.hf.get_submodule(block.attn.writer)
        own = getattr(module, "bias", None)
        rest = None if own is None else wide(own.detach()) * block.attn.scale
        if bias is None:
            return rest
        inverse_sigma = norm.inverse_sigma(z.flatten(2).to(W.dtype) @ W + bias)
        spend(W.shape[1] * z.numel())
        centred = wide(bias) - wide(bias).mean() if norm.centred else wide(bias)
        shift: Tensor = centred * norm.weight(module) * inverse_sigma * block.attn.scale
        return shift if rest is None else shift + rest

    def W_O(self, layer: int) -> Tensor:
        """[head d_head d_model], from z as `seen` gives it to what the head adds."""
        block = self.model.layout.blocks[layer]
        W = wide(linear(self.model, block.attn.o)[0])
        if not block.attn.plain:
            norm = norm_at(self.model, block.attn.writer)
            W = W - W.mean(-1, keepdim=True) if norm.centred else W
            W = W * norm.weight(self.model.hf.get_submodule(block.attn.writer))
        W = W if block.attn.scale == 1.0 else W * block.attn.scale
        found: Tensor = W.reshape(self.graph.n_heads, -1, W.shape[-1])
        return found

    def heads(self, layer: int, values: Values, out: Tensor | None = None) -> Tensor:
        """What the heads of a layer add [head batch pos d_model], for values or differences; `out`: memory to write it to."""
        z = values[Site("z", layer)]
        batch, pos, n_heads, _ = z.shape
        W_O = self.W_O(layer).to(z.dtype)
        added = z.new_empty(n_heads, batch, pos, W_O.shape[-1]) if out is None else out
        torch.bmm(z.permute(2, 0, 1, 3).reshape(n_heads, batch * pos, -1), W_O, out=added.flatten(1, 2))
        return added

    def mlp(self, layer: int, values: Values) -> Tensor:
        """What the MLP of a layer adds [batch pos d_model], for values or differences."""
        return values[Site("mlp_out", layer)]

    def position_part(self, ids: Tensor, embed: Tensor) -> Tensor:
        """The position embedding [1 pos d_model] inside `embed` [batch pos d_model].

        Raises: LayoutError where the embedding is not token plus position.
        """
        token = input_embedding(self.model.hf)(ids.to(self.model.device)).detach()
        position = embed - token.to(embed)
        if not close(position[:1].expand_as(position) + token.to(embed), embed):
            raise LayoutError("split_positions: the embedding of this model is not a token plus a position embedding.")
        found: Tensor = position[:1]
        return found

    @property
    def first(self) -> int:
        """How many writers there are before the first head."""
        return 1 + self.graph.split_positions

    def layers(self) -> Iterator[tuple[int, int, int]]:
        """(layer, first writer, one past its last writer) of every layer: its heads, then its MLP."""
        for layer in range(self.graph.n_layers):
            start = self.first + layer * (self.graph.n_heads + 1)
            yield layer, start, start + self.graph.n_heads + 1


def difference(source: Values, base: Values, sites: Sequence[Site]) -> Values:
    """source - base at every site."""
    return {site: source[site] - base[site] for site in sites}
