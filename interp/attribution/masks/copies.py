"""Copies of the residual stream, one for each reader, behind their norm; and the way back from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from interp.attribution.edges.pullbacks import Pullback
from interp.rules.rules import Norm


@dataclass(frozen=True)
class Apart(Pullback):
    """The way back where every reader has a stream of its own: 1 / sigma and the normed point are [reader batch pos ...]."""

    def for_readers(self, chosen: Sequence[int]) -> Pullback:
        normed = None if self.normed is None else some(self.normed, chosen)
        return replace(self, inverse_sigma=some(self.inverse_sigma, chosen), normed=normed)  # type: ignore[arg-type]

    def _less_scale(self, place: Tensor) -> None:
        if self.normed is not None:
            along = torch.einsum("rbpd,rbpd->rbp", place, self.normed) / place.shape[-1]
            place.addcmul_(along[..., None], self.normed, value=-1)


def some(x: Tensor, chosen: Sequence[int]) -> Tensor:
    """Rows of `x`: a view where they follow each other."""
    first, n = chosen[0], len(chosen)
    return x[first : first + n] if list(chosen) == list(range(first, first + n)) else x[list(chosen)]


def normalise(norm: Norm, copies: Tensor) -> tuple[Tensor, Tensor]:
    """(x - mean(x)) / sigma, written over `copies` [... d_model], and 1 / sigma; an RMSNorm subtracts no mean."""
    if norm.centred:
        copies.sub_(copies.mean(-1, keepdim=True))
    variance = torch.linalg.vector_norm(copies, dim=-1, keepdim=True).square_() / copies.shape[-1]
    inverse_sigma = torch.rsqrt(variance + norm.eps)
    return copies.mul_(inverse_sigma), inverse_sigma
