"""What every writer adds to the residual stream, as something small that is linear in it.

The embedding (what enters the first block: of an image its patches, positions and class token), an MLP, and what mixes positions without
heads, are their own value [batch pos d_model]. A head is its z, divided by the scale of its own run where a post-norm stands between its layer's output and the
stream, so that head h of layer l adds  z[h] @ W_O[l][h]  in every case; `W_O` holds the norm's weight, its centring and the residual
multiplier, or a learned scale of what is added (LayerScale). Biases belong to no head.

Axis words: `batch pos head d_head d_model writer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

from interp.attribution.edges.behind_heads import normed, projected
from interp.errors import LayoutError, MethodError
from interp.ledger import spend
from interp.model.modules.linear import input_embedding, linear, norm_at
from interp.model.modules.tensors import close
from interp.parts.graph import Graph, Step
from interp.parts.layout import Layout
from interp.parts.named_inputs import Inputs
from interp.parts.sites import Site
from interp.precision import wide

EMBED = Site("embed")
Values = dict[Site, Tensor]
#: What to say where the embedding is to be split into tokens and positions, and there are no tokens alone.
NOT_APART: Final = "split_positions: what is no single text has no token embedding apart; leave it out."


@dataclass(frozen=True)
class Writers:
    """The writers of a model's graph. `Values` hold per site what `seen` makes of a run: the form described above."""

    model: Any
    graph: Graph

    @cached_property
    def sites(self) -> list[Site]:
        """Where writers are read."""
        return [EMBED, *(step.site for step in self.graph.steps)]

    def seen(self, reads: Mapping[Site, Tensor]) -> Values:
        """The values of a run from what it read, detached, in float32 or better."""
        values = {site: wide(reads[site].detach()) for site in self.sites}
        for layer, step in self.graph.attentions.items():
            values[step.site] = self.scaled(layer, values[step.site])
        return values

    def scaled(self, layer: int, z: Tensor) -> Tensor:
        """z [batch pos head d_head], divided by the scale of a post-norm at this run's own attention output."""
        block = self.model.layout.blocks[layer]
        if not normed(self.model, block.attn):
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
        W, bias = projected(self.model, block.attn)
        if not normed(self.model, block.attn):
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
        W = wide(projected(self.model, block.attn)[0])
        if normed(self.model, block.attn):
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

    def written(self, step: Step, values: Values, out: Tensor | None = None) -> Tensor:
        """What the writers of a part of a layer add [writer batch pos d_model], for values or differences; `out`: memory to write it to."""
        if step.kind == "head":
            return self.heads(step.layer, values, out)
        return values[step.site][None] if out is None else out.copy_(values[step.site][None])

    def total(self, step: Step, values: Values) -> Tensor:
        """The sum of these [batch pos d_model]."""
        return self.heads(step.layer, values).sum(0) if step.kind == "head" else values[step.site]

    def position_part(self, given: Tensor | Inputs, embed: Tensor) -> Tensor:
        """The position embedding [1 pos d_model] inside `embed` [batch pos d_model] of token ids [batch pos].

        Raises: MethodError for inputs that are no token ids alone; LayoutError where the embedding is not token plus position.
        """
        if isinstance(given, Inputs):
            raise MethodError(NOT_APART)
        token = input_embedding(self.model.hf)(given.to(self.model.device)).detach()
        position = embed - token.to(embed)
        if not close(position[:1].expand_as(position) + token.to(embed), embed):
            raise LayoutError("split_positions: the embedding of this model is not a token plus a position embedding.")
        found: Tensor = position[:1]
        return found

    @property
    def first(self) -> int:
        """How many writers there are before the first layer."""
        return self.graph.first


def final_site(layout: Layout) -> Site:
    """Where the stream behind the last block is, at all positions: what stands behind may read one of them."""
    return Site("resid_final") if layout.readout == "each" else Site("resid_post", layout.n_layers - 1)


def difference(source: Values, base: Values, sites: Sequence[Site]) -> Values:
    """source - base at every site."""
    return {site: source[site] - base[site] for site in sites}
