"""What single components add to the residual stream at the position that the output is read at, and what the final norm makes of it.

Every norm behind a component is frozen at the scale of the run itself, so that the parts of a sum stay a sum:

    frozen(a) = w (a - mean(a)) / sigma(run)            an RMSNorm subtracts no mean

Axis words: `batch part head d_head d_model d_mlp`; a part is a component, or one of many at one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interp.dictionaries.dictionary import Dictionary
from interp.errors import LayoutError
from interp.ledger import spend
from interp.model.modules.linear import linear, norm_at
from interp.model.modules.tensors import close
from interp.parts.sites import Site

FINAL = Site("resid_final")


def read_place(model: Any, what: str) -> int:
    """Where the output is read: at the last position (-1), or at the first (0) of a classifier that reads it.

    Raises: LayoutError where the output is no norm and linear map of one position, naming what needs it.
    """
    layout = model.layout
    if not layout.linear or layout.readout not in ("each", "first", "last"):
        layout.check_head(what)
    if layout.readout == "each":
        model.check_next(what)
    return 0 if layout.readout == "first" else -1


def in_front(layout: Any, part: str, layer: int) -> Site:
    """The stream that a part of a block, `attn` or `mlp`, reads: of parallel parts that in front of the block."""
    return Site("resid_pre" if part == "attn" or layout.blocks[layer].parallel else "mlp_in", layer)


def at_place(reads: Mapping[Site, Tensor], at: int) -> dict[Site, Tensor]:
    """What a run read, at one position, in float64."""
    return {site: x[:, at].detach().double() for site, x in reads.items()}


@dataclass(frozen=True, eq=False)
class Stream:
    """One run at the position that is read. values: site -> [batch ...] in float64, `resid_final` among them."""

    model: Any
    values: Mapping[Site, Tensor]

    def normed(self, parts: Tensor) -> Tensor:
        """Parts of the stream [batch ... d_model] behind the final norm, frozen."""
        final = self.model.layout.ln_final
        return parts if final is None else self._frozen(final, self.values[FINAL], parts)

    def heads(self, layer: int) -> Tensor:
        """What each head of a layer adds [batch head d_model]."""
        z = self.values[Site("z", layer)]
        W_O, _ = self._W_O(layer)
        written = torch.einsum("bhe,hed->bhd", z, W_O.view(*z.shape[1:], -1))
        return self._from_attention(layer, written)

    def at_heads(self, layer: int, z: Tensor) -> Tensor:
        """What directions at z, heads in a row [batch part d_in], add [batch part d_model]."""
        return self._from_attention(layer, z @ self._W_O(layer)[0])

    def attention_bias(self, layer: int) -> Tensor | None:
        """What the biases of output projection and post-norm add [batch d_model]; None without any."""
        block, (_, b_O) = self.model.layout.blocks[layer], self._W_O(layer)
        post = None if block.attn.plain else self.model.hf.get_submodule(block.attn.writer)
        own = getattr(post, "bias", None)
        if b_O is None and own is None:
            return None
        batch = len(self.values[FINAL])
        found = torch.zeros_like(self.values[FINAL])
        if b_O is not None:
            found = self._from_attention(layer, b_O.expand(batch, -1))
        if own is not None:
            found = found + own.detach().double() * block.attn.scale
        return found

    def neurons(self, layer: int, units: Tensor) -> Tensor:
        """What neurons add [batch part d_model]. units: [part]. Needs `mlp_post` and `mlp_out` of the layer.

        Raises: LayoutError where the MLP's output is not its neurons times the output projection.
        """
        block = self.model.layout.blocks[layer]
        if block.mlp.down is None:
            raise LayoutError(f"{block.mlp.module} has no single output projection, so its neurons have no direction.")
        W, b = linear(self.model, block.mlp.down)
        W, values = W.double(), self.values[Site("mlp_post", layer)]
        whole = values @ W + (0 if b is None else b.double())
        plain = block.mlp.plain

        def added(parts: Tensor) -> Tensor:
            found: Tensor = (parts if plain else self._frozen(block.mlp.writer, whole, parts)) * block.mlp.scale
            return found

        bias = None if plain else getattr(self.model.hf.get_submodule(block.mlp.writer), "bias", None)
        total = added(whole) + (0 if bias is None else bias.detach().double() * block.mlp.scale)
        if not close(total.to(self.model.dtype), self.values[Site("mlp_out", layer)]):
            raise LayoutError(
                f"what {block.mlp.module} adds is not its neurons times {block.mlp.down}; expected an output projection "
                "with at most one norm behind it."
            )
        return added(values[:, units, None] * W[units])

    def features(self, dictionary: Dictionary, units: Tensor) -> Tensor:
        """What features of a dictionary add [batch part d_model]: activation times decoder row. units: [part]."""
        entering = self.values[dictionary.site].flatten(1).to(dictionary.dtype)
        found = dictionary.encode(entering)[:, units, None] * dictionary.W_dec[units]
        spend(found.numel())
        scale = dictionary.scale(entering)
        parts = (found * (scale if isinstance(scale, float) else scale[:, None])).double()
        target = dictionary.target
        return self.at_heads(target.layer or 0, parts) if target.kind == "z" else parts

    def _W_O(self, layer: int) -> tuple[Tensor, Tensor | None]:
        W_O, b_O = linear(self.model, self.model.layout.blocks[layer].attn.o)
        return W_O.double(), None if b_O is None else b_O.double()

    def _from_attention(self, layer: int, written: Tensor) -> Tensor:
        """Parts of what the output projection puts out [batch ... d_model] as they reach the stream."""
        block = self.model.layout.blocks[layer]
        if not block.attn.plain:
            W_O, b_O = self._W_O(layer)
            whole = self.values[Site("z", layer)].flatten(1) @ W_O + (0 if b_O is None else b_O)
            written = self._frozen(block.attn.writer, whole, written)
        found: Tensor = written * block.attn.scale
        return found

    def _frozen(self, path: str, whole: Tensor, parts: Tensor) -> Tensor:
        """The norm at `path` with the scale it has at `whole` [batch d_model], applied to parts [batch ... d_model]."""
        norm, module = norm_at(self.model, path), self.model.hf.get_submodule(path)
        inverse_sigma = norm.inverse_sigma(whole).view(-1, *[1] * (parts.ndim - 1))
        centred = parts - parts.mean(-1, keepdim=True) if norm.centred else parts
        found: Tensor = centred * norm.weight(module) * inverse_sigma
        return found
