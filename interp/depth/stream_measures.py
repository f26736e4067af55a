"""What each layer and its parts do to the stream that they read, from one run: sizes, directions, and how much it is turned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from interp.depth.removal import Part, has, readable
from interp.errors import InterpError, MethodError
from interp.parts.sites import Site
from interp.precision import wide

#: Measures of one forward, each a mean over tokens: x what a part reads of the stream, a what it adds, y the stream behind it.
STREAM_MEASURES: Final = {
    "norm_in": "|x|",
    "norm": "|a|, of a layer |y - x|",
    "relative": "|a| / |x|",
    "cosine": "cosine of a and x",
    "influence": "1 - cosine of x and y",
}


@dataclass(frozen=True)
class Seams:
    """Where the stream is read to see the parts of the layers that are called, in a run without what was removed."""

    model: Any
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, model: Any, kinds: tuple[str, ...] = ("attention", "mlp", "block")) -> Seams:
        """All parts of these kinds that a model has."""
        layers = range(model.layout.n_layers)
        return cls(model, tuple(Part(layer, k) for layer in layers for k in kinds if has(model, k, layer)))

    @property
    def sites(self) -> list[Site]:
        """All that must be read."""
        return list(dict.fromkeys(site for part in self.parts for site in self._sites(part)))

    def _sites(self, part: Part) -> list[Site]:
        pre, post = Site("resid_pre", part.layer), Site("resid_post", part.layer)
        middle = [mid] if readable(self.model, mid := Site("resid_mid", part.layer)) else []
        if part.kind == "block":
            return [pre, post]
        if part.kind == "attention":
            return [pre, *middle, Site("attn_out", part.layer)]
        return [*(middle or [pre]), *([post] if middle else []), Site("mlp_out", part.layer)]

    def each(self, reads: Mapping[Site, Tensor]) -> Iterator[tuple[Part, Tensor, Tensor, Tensor]]:
        """Each part with what it reads of the stream, what it adds, and the stream behind it [batch pos d_model]. Where attention and MLP
        run in parallel both read the stream in front of the block."""
        for part in self.parts:
            *stream, last = self._sites(part)
            x = wide(reads[stream[0]])
            if part.kind == "block":
                y = wide(reads[last])
                yield part, x, y - x, y
            else:
                added = wide(reads[last])
                yield part, x, added, wide(reads[stream[1]]) if len(stream) > 1 else x + added


@dataclass(eq=False)
class StreamSums:
    """Sums of the measures over tokens, by part."""

    sums: dict[Part, np.ndarray] = field(default_factory=dict)
    n: int = 0

    def add(self, seams: Seams, reads: Mapping[Site, Tensor], first: int) -> None:
        """The tokens of a batch from position `first` on. Raises: InterpError for a stream that is not finite, naming where."""
        rows = 0
        for part, x, added, y in seams.each(reads):
            found = torch.stack(_measured(*(v[:, first:] for v in (x, added, y))))
            if not bool(torch.isfinite(found).all()):
                raise InterpError(f"{part.name}: the stream there is not finite; expected a model whose runs are.")
            rows = found[0].numel()
            total = found.double().flatten(1).sum(1).cpu().numpy()
            self.sums[part] = self.sums.get(part, 0.0) + total
        self.n += rows

    def mean(self, part: Part, measure: str) -> float:
        """The mean of one measure over all tokens."""
        return float(self.sums[part][list(STREAM_MEASURES).index(measure)] / self.n)


def _measured(x: Tensor, added: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """The measures of `STREAM_MEASURES` [batch pos]; of a stream of length 0 ratios and cosines are 0."""
    size, of_added, behind = (v.norm(dim=-1) for v in (x, added, y))
    along = (x * added).sum(-1) / (size * of_added).clamp_min(_TINY)
    turned = 1 - (x * y).sum(-1) / (size * behind).clamp_min(_TINY)
    still = (size == 0) & (behind == 0)
    return size, of_added, of_added / size.clamp_min(_TINY), along, turned.masked_fill(still, 0.0)


_TINY: Final = 1e-30


def void_shares(norms: Tensor, alpha: float, running: bool) -> Tensor:
    """The share of tokens for which each layer is a void [layer], for the lengths of the stream norms [layer + 1, token].

    delta_l is how much layer l makes the stream longer; it is a void where delta_l < alpha (max - min), over the layers up to l (`running`), or
    over all. Source: Shemiranifar 2025, "Void in language models", in the words of a secondary page.
    """
    if not alpha >= 0:
        raise MethodError(f"alpha={alpha}: expected 0 or more, for example 0.5.")
    delta = norms[1:] - norms[:-1]
    most, least = (delta.cummax(0).values, delta.cummin(0).values) if running else (delta.amax(0), delta.amin(0))
    return (delta < alpha * (most - least)).double().mean(1)
