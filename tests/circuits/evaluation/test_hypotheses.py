"""Tests of sufficient and necessary: p-values, directions, verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.evaluation.hypotheses import hypothesis_on, two_sided
from interp.parts.graph import Graph, Part
from tests.circuits.evaluation.running.hand import EDGES, Hand, additive, circuit


@given(st.integers(1, 60))
def test_p_values_are_valid_and_reach_the_least_possible(n: int) -> None:
    """If circuit and random ones are alike, every rank is as likely: P(p <= x) <= x, and 2 ranks in n + 1 are the ends."""
    ps = np.array([two_sided(rank, [r for r in range(n + 1) if r != rank]) for rank in range(n + 1)])
    for x in ps:
        assert np.mean(ps <= x) <= x + 1e-12
    assert ps.min() == pytest.approx(min(1.0, 2 / (n + 1)))


def test_p_values_count_ties_on_both_sides() -> None:
    assert two_sided(1.0, [1.0] * 9) == 1.0
    assert two_sided(0.0, [0.0, *[1.0] * 8]) == pytest.approx(2 * 2 / 10)


def _planted(sign: float = 1.0) -> tuple[Hand, Circuit, Circuit]:
    """All the weight on three edges from heads to q; a circuit of them, and one of three idle edges of that kind."""
    graph = Graph(3, 4, 4, (False,) * 3)
    members = [edge for edge in graph.edges if edge.kind == "head->q"]
    weights: dict[Part, float] = dict.fromkeys(members[:3], sign)
    return Hand(additive(weights), parts=graph.edges), circuit(*members[:3]), circuit(*members[-3:])


@pytest.mark.parametrize("claim", ["sufficient", "necessary"])
def test_the_planted_circuit_is_better_than_random_and_an_idle_one_is_not(claim: Any) -> None:
    hand, planted, idle = _planted()
    found = hypothesis_on(hand, planted, claim, n_random=99)
    assert found.verdict == "better than random" and found.p == pytest.approx(2 / 100) == found.smallest_p
    assert found.statistic == pytest.approx(0.0 if claim == "sufficient" else 1.0)
    other = hypothesis_on(hand, idle, claim, n_random=99)
    assert other.verdict != "better than random"
    assert other.statistic == pytest.approx(1.0 if claim == "sufficient" else 0.0)


@pytest.mark.parametrize("claim", ["sufficient", "necessary"])
def test_edges_alike_are_not_told_apart(claim: Any) -> None:
    found = hypothesis_on(Hand(len), circuit(*EDGES[:5]), claim, n_random=50)
    assert (found.p, found.verdict) == (1.0, "not told apart")


@pytest.mark.parametrize("claim", ["sufficient", "necessary"])
def test_a_circuit_of_the_worst_edges_is_worse_than_random(claim: Any) -> None:
    graph = Graph(3, 4, 4, (False,) * 3)
    members = [edge for edge in graph.edges if edge.kind == "head->q"]
    weights: dict[Part, float] = {edge: float(i + 1) for i, edge in enumerate(members)}
    found = hypothesis_on(Hand(additive(weights), parts=graph.edges), circuit(*members[:4]), claim, n_random=199)
    assert found.verdict == "worse than random"


def test_a_complement_below_the_empty_circuit_has_lost_more_not_less() -> None:
    """Without the planted edges the rest pushes against the answer: f(complement) = -1, as far from 1 as can be."""
    hand, planted, _ = _planted()
    inside = frozenset(planted.parts)
    hand.value = lambda s: len(inside & s) / 3 * 2 - (len(s) > len(inside) and True)
    found = hypothesis_on(hand, planted, "necessary", n_random=99)
    assert found.statistic == pytest.approx(2.0) and found.verdict == "better than random"


def test_too_few_random_circuits_are_said_to_be_too_few() -> None:
    hand, planted, _ = _planted()
    found = hypothesis_on(hand, planted, "sufficient", n_random=20)
    assert found.verdict == "not told apart" and found.smallest_p == pytest.approx(2 / 21)
    assert "too few random circuits" in str(found)


@pytest.mark.parametrize("wrong", [{"n_random": 0}, {"alpha": 1.0}, {"claim": "neccessary"}])
def test_tests_refuse(wrong: dict[str, Any]) -> None:
    with pytest.raises(CircuitError):
        hypothesis_on(Hand(len), circuit(EDGES[0]), **{"claim": "sufficient", **wrong})
