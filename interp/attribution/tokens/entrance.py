"""Where the tokens of a prompt enter a model: at the embedding, and in some models also as what layers are given beside the stream.

All of it stands side by side as one tensor [batch pos d], so that what a token is worth is the sum over its row. Axis words: `batch pos d`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

import torch
from torch import Tensor

from interp.model.edits import Edit
from interp.parts.sites import Site


@dataclass(frozen=True)
class Entrance:
    """The sites, the embedding first, and how many numbers each has for a position; no widths where the embedding is all."""

    sites: tuple[Site, ...]
    widths: tuple[int, ...] = ()

    @classmethod
    def of(cls, model: Any, stack: str) -> Self:
        """That of a stack, by its prefix."""
        own = model.layout.stack(stack)
        embed, given = Site("embed", stack=stack), own.layer_inputs
        widths = [own.blocks[site.layer].given.width for site in given]
        return cls((embed, *given), (own.d_model, *widths) if given else ())

    def values(self, reads: Mapping[Any, Tensor]) -> Tensor:
        """What enters a run, side by side [batch pos d]."""
        if not self.widths:
            return reads[self.sites[0]]
        first, *rest = (reads[site] for site in self.sites)
        return torch.cat([first, *(x.to(first) for x in rest)], dim=-1)

    def edits(self, x: Tensor) -> list[Edit]:
        """Put `x` [batch pos d] there."""
        if not self.widths:
            return [Edit(self.sites[0], lambda _: x)]
        ends = list(accumulate(self.widths))
        spans = zip(self.sites, [0, *ends[:-1]], ends, strict=True)
        return [Edit(site, lambda old, a=a, b=b: x[..., a:b].to(old)) for site, a, b in spans]  # type: ignore[misc]

    def gradients(self, y: Tensor, reads: Mapping[Any, Tensor], along: Tensor | None = None) -> Tensor:
        """d y / d what enters, side by side [batch pos d]; of several numbers those of their product with `along`."""
        found = torch.autograd.grad(y, [reads[site] for site in self.sites], along)
        return self.values(dict(zip(self.sites, found, strict=True)))

    def shown(self, d: int) -> str:
        """The size of a row of `d` numbers, for messages."""
        return " + ".join(map(str, self.widths)) if self.widths else f"d_model {d}"
