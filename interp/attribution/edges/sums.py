"""What readers get from several backward passes, added up before it is taken back to the stream: one contraction serves all.

But for the norm's scale the way back is the same in every pass. With g_k the gradient at the outputs of the projections in pass k,
h_k = weight_k g_k / sigma_k, y'_k the normed stream and C the subtraction of the mean,

    sum_k weight_k pullback_k(g_k) = C(w (sum_k h_k) W) - sum_k along_k y'_k,   along_k = sum_column h_k (W (w y'_k)) / d_model.

W (w y'_k) is what the projection gave in that pass, less what it gives for y' = 0. Axis words: `reader batch pos column d_model`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor

from interp.attribution.edges.projections import Projections
from interp.attribution.edges.pullbacks import NO_NORM, Consume, Fill, Pullback, hand_on
from interp.attribution.edges.workspace import Workspace
from interp.parts.graph import Graph, Step
from interp.precision import wide


@dataclass
class Sums:
    """Sums over passes of the gradients at MLPs and logits, and at the projections' outputs, where each column is one reader's.

    `like`: [batch pos d_model] in the dtype to add in. `weight`: of the pass under way.
    """

    model: Any
    graph: Graph
    projections: Mapping[int, Projections]
    workspace: Workspace
    like: Tensor
    weight: float = 1.0
    streams: dict[int, Tensor] = field(default_factory=dict)
    columns: dict[str, Tensor] = field(default_factory=dict)
    ways: dict[str, Pullback] = field(default_factory=dict)

    def at_stream(self, readers: Sequence[int], fill: Fill) -> None:
        """Add what `fill` writes: the gradient of one reader at the stream."""
        place = self.workspace.take("readers", (1, *self.like.shape), self.like)
        fill(place)
        known = self.streams.get(readers[0])
        self.streams[readers[0]] = place * self.weight if known is None else known.add_(place, alpha=self.weight)

    def at_columns(self, layer: int, path: str, h: Tensor, way: Pullback) -> None:
        """Add h = g / sigma at the output of a projection [batch pos column], and the terms of its way back."""
        known, terms = self.columns.get(path), [(along * self.weight, normed) for along, normed in way.terms]
        self.columns[path] = h * self.weight if known is None else known.add_(h, alpha=self.weight)
        before = self.ways[path].terms if path in self.ways else ()
        self.ways[path] = replace(way, terms=[*before, *terms])

    def hand_on(self, consume: Consume) -> None:
        """Give every reader's sum to `consume`, in the order of the backward pass."""
        self._stream(len(self.graph.readers) - 1, consume)
        for step in reversed(self.graph.steps):
            if step.kind == "head":
                self._heads(step, consume)
            else:
                self._stream(step.readers[0], consume)

    def _heads(self, step: Step, consume: Consume) -> None:
        projections = self.projections[step.layer]
        for path, own in projections.of_map.items():
            if (h := self.columns.pop(path, None)) is not None:
                readers, W = [step.readers[i] for i in own], wide(projections.weight(self.model, path))
                hand_on(readers, list(own.values()), h, W, self.ways.pop(path), self.workspace, consume)

    def _stream(self, reader: int, consume: Consume) -> None:
        if (g := self.streams.pop(reader, None)) is not None:
            consume([reader], partial(NO_NORM.into, g=g))
