"""Places in a drawing of layers."""

from __future__ import annotations

import numpy as np
import pytest

from circuits.report.drawing.layered import apart, layered
from interp.parts.graph import Edge, Graph
from tests.circuits.runs.edge_records import GPT2, GROUPED, SMALL


def ends(edges: tuple[Edge, ...]) -> set[str]:
    """The names of the boxes of some edges, written out by kind."""
    found = set()
    for edge in edges:
        found.add(edge.sender.name)
        reader = edge.receiver
        letter = "kv" if reader.grouped else "h"
        found.add(f"a{reader.layer}.{letter}{reader.unit}" if reader.kind in ("q", "k", "v") else reader.name)
    return found


@pytest.mark.parametrize("of", [SMALL, GPT2, GROUPED])
def test_rows_are_layers(of: Graph) -> None:
    rng = np.random.default_rng(2)
    edges = tuple(of.edges[i] for i in rng.choice(len(of.edges), 60, replace=False))
    found = layered(edges).boxes
    for edge in edges:
        (reader,) = ends((edge,)) - {edge.sender.name}
        assert found[edge.sender.name].y < found[reader].y
    heads: dict[float, list[float]] = {}
    for box in found.values():
        if box.kind in ("head", "kv"):
            heads.setdefault(box.y, []).append(box.x)
    for row in heads.values():
        assert min(np.diff(sorted(row)), default=1.0) >= 1 - 1e-9


def test_places_are_the_nearest_that_keep_apart() -> None:
    from scipy.optimize import minimize

    rng = np.random.default_rng(4)
    for _ in range(20):
        wanted = np.sort(rng.uniform(0, 6, size=5))
        found = np.array(apart(list(wanted), 6.0))
        limits = {"type": "ineq", "fun": lambda x: np.diff(x) - 1}
        slow = minimize(
            lambda x, w=wanted: ((x - w) ** 2).sum(), np.arange(5.0), constraints=limits, bounds=[(0, 6)] * 5
        )
        assert found == pytest.approx(slow.x, abs=1e-3)
