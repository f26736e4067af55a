"""One run of prompts of one length for the sources of some features: their positions, what they read, and what it came from.

Axis words: `example feature pos head source d_head d_model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interp.dictionaries.dictionary import EPS, Dictionary
from interp.errors import InterpError, LayoutError
from interp.ledger import spend
from interp.lenses.second_order import FROZEN
from interp.model.modules.tensors import close
from interp.parts.sites import Site
from interp.rules.rules import GRADIENT


@dataclass(frozen=True)
class At:
    """Of one prompt: where each feature was looked at, its pre-activation there, and what no part adds to it [feature each]."""

    position: np.ndarray
    value: np.ndarray
    constant: np.ndarray


@dataclass(frozen=True, eq=False)
class Reader:
    """What is asked of a model. dictionary: only the features asked for; others: dictionaries of the stream that attention reads."""

    model: Any
    dictionary: Dictionary
    others: tuple[Dictionary, ...]

    @property
    def layer(self) -> int:
        return int(self.dictionary.site.layer or 0)

    def site(self, kind: str, layer: int | None = None) -> Site:
        """A site of the dictionary's layer and stack."""
        return replace(self.dictionary.site, kind=kind, layer=self.layer if layer is None else layer)

    def run(
        self, ids: Sequence[Sequence[int]], sites: Sequence[Site], gradients: bool, where: Sequence[int] | None
    ) -> SourceRun:
        """Run prompts of one length. sites: what is read besides z. gradients: whether the way back to the stream is needed. where: the position of each;
        None for where each feature is largest."""
        reads = [self.site("z"), *sites]
        run = self.model.run(torch.tensor(ids), reads=reads, rules=FROZEN if gradients else GRADIENT, logits_to_keep=1)
        z = run[self.site("z")].flatten(2)
        u = self.dictionary.encoder_output(z, FROZEN if gradients else GRADIENT)
        if not bool(torch.isfinite(u).all()):
            raise InterpError(
                "sources of features: the model gives numbers that are not finite; run it in a wider dtype."
            )
        fixed = None if where is None else torch.tensor(where, device=u.device)[:, None].expand(-1, u.shape[2])
        at = u.detach().argmax(1) if fixed is None else fixed
        return SourceRun(self, run, z, u, at)


@dataclass(frozen=True, eq=False)
class SourceRun:
    """z: [example pos d_in], heads in a row; u: [example pos feature]; at: the positions looked at [example feature]."""

    reader: Reader
    run: Any
    z: Tensor
    u: Tensor
    at: Tensor

    @property
    def value(self) -> Tensor:
        """The pre-activations looked at [example feature], in float64."""
        return self.u.gather(1, self.at[:, None])[:, 0].double()

    def places(self, on_stream: bool) -> list[At]:
        """Of each prompt what was looked at. on_stream: whether the parts are of the stream that attention reads, or of z."""
        if on_stream:
            stream = self.run[self.reader.site("resid_pre")].detach().double()
            constant = self.value.detach() - torch.einsum("fbpd,bpd->bf", self.on_stream, stream)
        else:
            own = self.reader.dictionary
            read = 0 if own.b_in is None else own.b_in.double() @ own.W_enc.double()
            constant = (own.b_enc.double() - read).expand_as(self.at)
        rows = (x.detach().cpu().numpy() for x in (self.at, self.value, constant))
        return [At(*row) for row in zip(*rows, strict=True)]

    def by_head(self) -> Tensor:
        """What each head brings from each source [example feature head source], in float64.

        Raises: LayoutError where z is not pattern times values.
        """
        reader, (batch, features) = self.reader, self.at.shape
        heads = self.run[reader.site("z")].shape[2]
        v, pattern = self.run[reader.site("v")].detach(), self.run[reader.site("pattern")].detach()
        if pattern.shape[-1] != v.shape[1] or heads % v.shape[2]:
            raise LayoutError(
                f"sources of features: the pattern of layer {reader.layer} has other sources than its values."
            )
        v = v.repeat_interleave(heads // v.shape[2], dim=2)
        rows = torch.arange(batch, device=self.at.device)[:, None]
        weights = pattern[rows, :, self.at]  # [example feature head source]
        first = torch.einsum("bhk,bkhd->bhd", weights[:, 0], v.to(weights.dtype)).flatten(1)
        seen = self.z[rows[:, 0], self.at[:, 0]]
        if not close(first.to(seen.dtype), seen):
            raise LayoutError(
                f"sources of features: z of layer {reader.layer} is not its pattern times its values; no sum over sources is there."
            )
        reads = self._encoder().view(heads, -1, features).to(v.dtype)
        spend(v.numel() * features)
        values = torch.einsum("bkhd,hdf->bfhk", v, reads)
        found: Tensor = values.double() * weights.double() * self._scale()[:, :, None, None]
        return found

    def _encoder(self) -> Tensor:
        """What a feature reads of z [d_in feature]."""
        own = self.reader.dictionary
        return own.W_enc - own.W_enc.mean(0) if own.normalize == "layer_norm" else own.W_enc

    def _scale(self) -> Tensor:
        """By what the dictionary multiplies what it reads [example feature], in float64."""
        own = self.reader.dictionary
        if own.normalize == "none":
            return torch.ones_like(self.at, dtype=torch.float64)
        spread = own.scale(self.z.detach())[..., 0].double()  # type: ignore[index]
        return 1 / (spread.gather(1, self.at) + (EPS if own.normalize == "layer_norm" else 0))

    @cached_property
    def on_stream(self) -> Tensor:
        """What a change of the stream that attention reads does to each feature [feature example pos d_model], pattern and norms frozen."""
        chosen = self.u.gather(1, self.at[:, None])[:, 0].sum(0)
        stream = self.run[self.reader.site("resid_pre")]
        found = [torch.autograd.grad(one, stream, retain_graph=True)[0] for one in chosen]
        return torch.stack(found).double()
