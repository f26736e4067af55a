"""A runner without a model, whose metric is a known function of the set, and tasks on which no ratio is undefined."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from circuits.circuit.circuit import Circuit
from circuits.evaluation.running.runner import PartSet
from interp.parts.graph import Edge, Graph, Part
from interp.scores.provenance import Provenance
from interp.scores.scores import Scores
from interp.tasks.metric import Metric
from interp.tasks.metrics import METRICS
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.replacements import Ablation

GRAPH = Graph(2, 2, 2, (False, False))
EDGES = GRAPH.edges
N = len(EDGES)
Value = Callable[[PartSet], float]


@dataclass
class Hand:
    """A runner whose metric on example e is base[e] + scale[e] * value(set): f(C) follows from `value` alone."""

    value: Value
    parts: tuple[Part, ...] = EDGES
    scale: Sequence[float] = (1.0, 2.0, 0.5, 1.5)
    base: Sequence[float] = (0.0, 3.0, -1.0, 5.0)
    metric: Metric = METRICS["logit_diff"]
    ablation: Ablation = field(default_factory=lambda: Ablation("zero"))
    runs: list[PartSet] = field(default_factory=list)
    held: PartSet = frozenset()

    @property
    def full(self) -> PartSet:
        return frozenset(self.parts) | self.held

    @property
    def pairs(self) -> list[TokenPair]:
        return [TokenPair((3, i), (4, i), (5,), (6,)) for i in range(len(self.scale))]

    def metrics(self, sets: Sequence[PartSet], show_progress: bool | None) -> dict[PartSet, np.ndarray]:
        self.runs += sets
        return {s: np.array(self.base) + np.array(self.scale) * self.value(s) for s in sets}


def additive(weights: dict[Part, float]) -> Value:
    return lambda parts: sum(weights.get(part, 0.0) for part in parts)


def weighted(values: Sequence[float]) -> dict[Part, float]:
    """Weights of the first edges; the others have none."""
    return dict(zip(EDGES, values, strict=False))


def circuit(*edges: Edge, **changes: Any) -> Circuit:
    return Circuit(tuple(edges), "edges", "m", "t", "hand", "", **changes)


def scored(values: Sequence[float], per_example: np.ndarray | None = None, **changes: Any) -> Scores:
    """Scores of the first edges."""
    known = {f.name: None for f in dataclasses.fields(Provenance) if f.default is dataclasses.MISSING}
    known |= {"level": "edges", "positions": "all", "importance_sign": 1, "method": "hand", "unit": "logits"} | changes
    table = np.array([values]) if per_example is None else per_example
    return Scores(EDGES[: table.shape[1]], table, Provenance(**known))


def falling() -> dict[Part, float]:
    """Every edge a different positive weight, the first ones the largest."""
    return weighted([float(N - i) for i in range(N)])
