"""What readers get from several backward passes, added up before it is taken back to the stream: one contraction serves all.

But for the norm's scale the way back is the same in every pass. With g_k the gradient at the outputs of the projections in pass k,
h_k = weight_k g_k / sigma_k, y'_k the normed stream and C the subtraction of the mean,

    sum_k weight_k pullback_k(g_k) = C(w (sum_k h_k) W) - sum_k along_k y'_k,   along_k = sum_column h_k (W (w y'_k)) / d_model.

W (w y'_k) is what the projection gave in that pass, less what it gives for y' = 0. Axis words: `reader batch pos column d_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from interp.attribution.edges.projections import Projections
from interp.attribution.edges.readers import NO_NORM, Consume, Fill, Pullback, hand_on
from interp.attribution.edges.workspace import Workspace
from interp.model.modules.linear import linear
from interp.parts.graph import Graph
from interp.precision import wide

Term = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class _Summed(Pullback):
    """The way back of a sum. `terms`: of each pass along [reader batch pos] and y' [batch pos d_model]."""

    terms: Sequence[Term] = ()

    def for_readers(self, chosen: Sequence[int]) -> Pullback:
        return replace(self, terms=[(along[list(chosen)], normed) for along, normed in self.terms])

    def _less_scale(self, place: Tensor) -> None:
        for along, normed in self.terms:
            place.addcmul_(along[..., None], normed, value=-1)


@dataclass
class Sums:
    """Sums over passes of the gradients at MLPs and logits, and at the projections' outputs, where each column is one reader's.

    `like`: [batch pos d_model] in the dtype to add in. `weight`: of the pass under way.
    """

    model: Any
    graph: Graph
    projections: Sequence[Projections]
    workspace: Workspace
    like: Tensor
    weight: float = 1.0
    streams: dict[int, Tensor] = field(default_factory=dict)
    columns: dict[str, Tensor] = field(default_factory=dict)
    terms: dict[str, list[Term]] = field(default_factory=dict)
    pullbacks: dict[int, Pullback] = field(default_factory=dict)
    offsets: dict[str, Tensor | float] = field(default_factory=dict)

    def begin(self, weight: float) -> None:
        """A further pass, of this weight."""
        self.weight = weight
        self.pullbacks.clear()

    def at_stream(self, readers: Sequence[int], fill: Fill) -> None:
        """Add what `fill` writes: the gradient of one reader at the stream."""
        place = self.workspace.take("readers", (1, *self.like.shape), self.like)
        fill(place)
        known = self.streams.get(readers[0])
        self.streams[readers[0]] = place * self.weight if known is None else known.add_(place, alpha=self.weight)

    def at_columns(self, layer: int, path: str, y: Tensor, g: Tensor, pullback: Callable[[], Pullback]) -> None:
        """Add the gradient g at the output y [batch pos column] of a projection; one `pullback` serves a layer."""
        way = self.pullbacks[layer] = self.pullbacks.get(layer) or pullback()
        shape = *self.like.shape[:2], -1
        h = wide(g).reshape(shape) * (self.weight * way.inverse_sigma)
        if way.normed is not None:
            change = h * (wide(y).reshape(shape) - self._offset(layer, path))
            along = [change[..., own.to(h.device)].sum(-1) for own in self._readers(layer, path)[1]]
            self.terms.setdefault(path, []).append((torch.stack(along) / self.like.shape[-1], way.normed))
        known = self.columns.get(path)
        self.columns[path] = h if known is None else known.add_(h)

    def hand_on(self, consume: Consume) -> None:
        """Give every reader's sum to `consume`, in the order of the backward pass."""
        self._stream(len(self.graph.readers) - 1, consume)
        for layer, projections in reversed(list(enumerate(self.projections))):
            self._stream(self.graph.mlp_reader(layer), consume)
            for path in projections.paths:
                if (g := self.columns.pop(path, None)) is not None:
                    norm = self.pullbacks[layer]
                    way = _Summed(norm.norm, norm.weight, 1.0, None, self.terms.pop(path, ()))
                    W = wide(projections.weight(self.model, path))
                    hand_on(*self._readers(layer, path), g, W, way, self.workspace, consume)

    def _stream(self, reader: int, consume: Consume) -> None:
        if (g := self.streams.pop(reader, None)) is not None:
            consume([reader], partial(NO_NORM.into, g=g))

    def _readers(self, layer: int, path: str) -> tuple[list[int], list[Tensor]]:
        """The readers that see the columns of one projection, by their number in the graph, and these columns."""
        projections, first = self.projections[layer], self.graph.first_reader(layer)
        start, end = next((start, end) for name, start, end in projections.starts() if name == path)
        inside = projections.inside(start, end)
        return [first + i for i in inside], [projections.columns[i] - start for i in inside]

    def _offset(self, layer: int, path: str) -> Tensor | float:
        """What the projection gives [column] where the norm gives its bias alone."""
        if path not in self.offsets:
            W, bias = linear(self.model, path)
            norm = self.model.layout.blocks[layer].attn_norm
            shift = getattr(self.model.hf.get_submodule(norm), "bias", None)
            found = 0.0 if shift is None else wide(shift.detach()) @ wide(W)
            self.offsets[path] = found if bias is None else found + wide(bias)
        return self.offsets[path]
