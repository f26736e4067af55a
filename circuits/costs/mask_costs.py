"""What methods on masks cost at most, in multiply-adds: a masked run forward and back, and circuits that are run on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from circuits.costs.circuit_batches import Asked, Shape
from circuits.costs.circuit_runs import CircuitRuns, EdgeRuns, FeatureRuns, runs_of
from interp.attribution.features.feature_space import FeatureSpace
from interp.attribution.protocol.spaces import EdgeSpace
from interp.attribution.scoring.driver import Attribution
from interp.ledger import BACKWARD


@dataclass(frozen=True)
class MaskRuns:
    """Masked runs of the pairs of a request, in its batches."""

    request: Attribution

    @cached_property
    def runs(self) -> CircuitRuns:
        """Those of circuits of the same parts."""
        r = self.request
        given = {own.target: own.dictionary for own in r.space.listed} if isinstance(r.space, FeatureSpace) else None
        asked = Asked(
            r.model, r.pairs, r.level, r.ablation.kind, r.metric.name, r.memory.batch_size, dictionaries=given
        )
        if isinstance(r.space, EdgeSpace):
            return EdgeRuns(asked, r.space.graph)
        return runs_of(asked)

    def once(self) -> int:
        """What all runs share: one run of what parts become, and the base run for a metric or a position embedding that needs it."""
        return sum(2 * (self.runs.asked.plain(shape) + shape.rows * self._coded) for shape in self._shapes)

    def forward(self) -> int:
        """A masked run without slopes."""
        return sum(self._forward(shape) for shape in self._shapes)

    def both(self) -> int:
        """A masked run forward and back. At edges each reader's gradient meets every writer before it twice, for the slopes and for what
        goes back; what is still waiting meets each writer again; and copies that a norm's gradient needs are made again."""
        found = 0
        for shape in self._shapes:
            found += self._forward(shape) + BACKWARD * self.runs.asked.plain(shape) + shape.rows * self._coded
            if isinstance(self.runs, EdgeRuns):
                graph, d_model = self.runs.graph, self.request.model.layout.d_model
                found += shape.rows * d_model * (3 * sum(graph.n_upstream) + len(graph.readers) * len(graph.writers))
        return found

    def circuits(self, sizes: Sequence[int]) -> int:
        """Circuits of these sizes, each a masked run of 0 and 1."""
        if isinstance(self.runs, EdgeRuns):
            return sum(self.runs.call([size], ends=False) for size in sizes)
        return len(sizes) * self.forward()

    @property
    def _shapes(self) -> Sequence[Shape]:
        return self.runs.asked.shapes

    @property
    def _coded(self) -> int:
        """Encoding and making up again what is at every dictionary, for a row."""
        return 3 * self.runs.coded if isinstance(self.runs, FeatureRuns) else 0

    def _forward(self, shape: Shape) -> int:
        row = self.runs.row if isinstance(self.runs, EdgeRuns) else self._coded
        return int(self.runs.asked.plain(shape) + shape.rows * row)
