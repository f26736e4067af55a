"""What random circuits share, against every draw written out."""

from __future__ import annotations

from itertools import combinations, product
from math import comb

import numpy as np
import pytest

from circuits.circuit.algebra import compare
from circuits.circuit.chance import hypergeometric, shared_by_chance
from circuits.circuit.circuit import Circuit, CircuitError
from interp.parts.nodes import Node

HEADS = tuple(Node("head", 0, unit) for unit in range(5))
MLPS = tuple(Node("mlp", layer) for layer in range(3))


def a_circuit(*parts: Node) -> Circuit:
    return Circuit(parts, "heads", "m", "t", "hand", "")


def draws(parts: tuple[Node, ...]) -> list[frozenset[Node]]:
    """Every circuit with as many heads and MLPs."""
    n = [sum(part.kind == kind for part in parts) for kind in ("head", "mlp")]
    return [frozenset((*a, *b)) for a, b in product(combinations(HEADS, n[0]), combinations(MLPS, n[1]))]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((*HEADS[:2], MLPS[0]), (*HEADS[1:4], MLPS[0], MLPS[1])),
        (HEADS[:4], (*HEADS[2:], *MLPS)),
        (HEADS, (*HEADS[:1], MLPS[2])),
        ((), HEADS[:2]),
        ((), ()),
    ],
)
def test_chance_is_the_share_of_all_pairs_of_draws(a: tuple[Node, ...], b: tuple[Node, ...]) -> None:
    shared, jaccard = [], []
    for first, second in product(draws(a), draws(b)):
        shared.append(len(first & second))
        jaccard.append(len(first & second) / len(first | second) if first | second else 1.0)
    found = shared_by_chance(a, b, (*HEADS, *MLPS))
    assert found.shared == pytest.approx(np.mean(shared)) and found.jaccard == pytest.approx(np.mean(jaccard))
    own = len(frozenset(a) & frozenset(b))
    assert found.at_least == pytest.approx(np.mean([s >= own for s in shared]))
    # The smallest number that 2.5 % (97.5 %) of all draws do not exceed.
    for bound, at in ((found.low, 0.025), (found.high, 0.975)):
        assert np.mean([s <= bound for s in shared]) >= at - 1e-12
        assert bound == 0 or np.mean([s <= bound - 1 for s in shared]) < at + 1e-12
    assert found.jaccard_low == pytest.approx(sorted(jaccard)[shared_place(shared, found.low)])


def shared_place(shared: list[int], bound: int) -> int:
    """Where draws with so many shared parts begin, in the order of their number."""
    return sum(s < bound for s in shared)


def test_large_sets_have_the_mean_and_the_chances_of_whole_numbers() -> None:
    n, a, b = 32491, 325, 650
    p = hypergeometric(n, a, b)
    assert p @ np.arange(len(p)) == pytest.approx(a * b / n) and p.sum() == pytest.approx(1.0)
    for s in (0, 6, 20):
        assert p[s] == pytest.approx(comb(a, s) * comb(n - a, b - s) / comb(n, b), rel=1e-6)


def test_more_parts_than_there_are_is_refused() -> None:
    with pytest.raises(CircuitError, match="kind mlp, of which there are 1"):
        shared_by_chance(MLPS[:2], HEADS[:1], (*HEADS, MLPS[0]))


def test_a_comparison_has_it_where_all_parts_are_known() -> None:
    a, b = a_circuit(*HEADS[:2], MLPS[0]), a_circuit(*HEADS[1:3], MLPS[0])
    assert compare(a, b).chance is None and "chance" not in str(compare(a, b))
    found = compare(a, b, (*HEADS, *MLPS))
    assert found.chance == shared_by_chance(a.parts, b.parts, (*HEADS, *MLPS))
    # 2 * 2 / 5 heads and 1 / 3 of an MLP.
    assert found.chance is not None and found.chance.shared == pytest.approx(4 / 5 + 1 / 3)
    assert "by chance 0." in str(found) and "by chance" in found._repr_html_()
