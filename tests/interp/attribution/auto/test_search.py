"""What the search of method `auto` takes for the most important."""

from __future__ import annotations

import numpy as np

from interp.attribution.auto.budget import Budget, Cost, Plan
from interp.parts.nodes import Node


def test_signed_takes_the_most_important_and_absolute_the_largest() -> None:
    """Twelve parts whose two orders are the opposite of each other."""
    from interp.attribution.auto.search import run_search

    parts = tuple(Node("neuron", 0, i) for i in range(12))
    exact = np.linspace(-12.0, -1.0, 12)[None]
    for signed, sign, first in ((False, 1, 0), (True, 1, 11), (True, -1, 0)):
        plan = Plan(3, 0.01, Budget(6.0), 0, sign, signed)
        found = run_search(
            parts,
            {"e": exact},
            lambda names: (exact[:, [int(name.partition(".n")[2]) for name in names]], Cost(2 + 0.5 * len(names))),
            lambda places: 2 + 0.5 * len(places),
            lambda most: None,
            plan,
            "nodes",
        )
        assert found.exact[first] and not found.exact[11 - first]
