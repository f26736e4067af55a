"""Ratios, random circuits, faithfulness and the smallest circuit, in closed form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuits.circuit.circuit import CircuitError
from circuits.evaluation import smallest
from circuits.evaluation.areas import ranking_areas_on
from circuits.evaluation.faithfulness import evaluate_on
from circuits.evaluation.hypotheses import hypothesis_on
from circuits.evaluation.minimality import leave_one_out_on
from circuits.evaluation.ratio import Measured, measure
from circuits.evaluation.smallest import find_smallest_on
from circuits.evaluation.twins import Twins
from interp.parts.graph import Edge, Graph, Part
from interp.scores.resampling import resample_weights
from tests.circuits.evaluation.running.hand import EDGES, Hand, N, additive, circuit, falling, scored, weighted

# ---------------------------------------------------------------- random circuits and ratios


@given(st.sets(st.sampled_from(EDGES)), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_random_circuits_match_size_and_kinds_and_can_be_drawn_again(parts: set[Edge], seed: int) -> None:
    own = frozenset[Part](parts)
    kinds = Counter(part.kind for part in own)
    drawn = Twins(EDGES, seed).of(own, 3)
    for twin in drawn:
        assert Counter(part.kind for part in twin) == kinds and twin <= frozenset(EDGES)
    assert drawn == Twins(EDGES, seed).of(own, 3)


@pytest.mark.parametrize("kept", [1, 5])
def test_random_circuits_take_every_part_of_a_kind_equally_often(kept: int) -> None:
    """Both for few parts of a kind, which are drawn, and for many, whose rest is drawn. Bound: 5 standard errors."""
    kinds = Counter(edge.kind for edge in EDGES)
    kind = next(k for k, n in kinds.items() if n == 6)
    members = [edge for edge in EDGES if edge.kind == kind]
    drawn = Twins(EDGES, 0).of(frozenset(members[:kept]), 1200)
    share = kept / len(members)
    bound = 5 * (share * (1 - share) / 1200) ** 0.5
    for member in members:
        assert np.mean([member in twin for twin in drawn]) == pytest.approx(share, abs=bound)


def same_kinds(own: frozenset[Part]) -> set[frozenset[Part]]:
    """Every set of as many edges of each kind, written as a filter over all sets of that size."""
    kinds = Counter(part.kind for part in own)
    sets = map(frozenset[Part], combinations(EDGES[:9], len(own)))
    return {found for found in sets if Counter(part.kind for part in found) == kinds}


@pytest.mark.parametrize("size", [0, 1, 2, 4, 8, 9])
@pytest.mark.parametrize("n", [1, 3, 1000])
def test_others_are_other_circuits_each_once_and_all_where_fewer_exist(size: int, n: int) -> None:
    own = frozenset[Part](EDGES[:size])
    exist = same_kinds(own) - {own}
    found = Twins(EDGES[:9], 3).others(own, n)
    assert len(found) == len(set(found)) == min(n, len(exist)) and set(found) <= exist
    assert found == Twins(EDGES[:9], 3).others(own, n)


def test_others_are_equally_likely() -> None:
    """Each of the others is in a draw of n of them with chance n / all. Bound: 5 standard errors."""
    kind = Counter(edge.kind for edge in EDGES).most_common(1)[0][0]
    members = [edge for edge in EDGES if edge.kind == kind][:5]
    own, n, times = frozenset[Part](members[:2]), 3, 600
    exist = {frozenset[Part](found) for found in combinations(members, 2)} - {own}
    drawn = Counter(found for seed in range(times) for found in Twins(members, seed).others(own, n))
    assert set(drawn) == exist
    share = n / len(exist)
    for other in exist:
        assert drawn[other] / times == pytest.approx(share, abs=5 * (share * (1 - share) / times) ** 0.5)


def test_intervals_equal_a_slow_bootstrap() -> None:
    """Every resample written out: examples repeated as often as they were drawn, means of those, their ratio."""
    rng = np.random.default_rng(7)
    full, empty, part = frozenset(EDGES[:2]), frozenset[Part](), frozenset(EDGES[:1])
    table = {full: rng.normal(5, 1, 6), empty: rng.normal(0, 1, 6), part: rng.normal(3, 1, 6)}
    weights = resample_weights(6, 0)
    ratios = []
    for row in np.rint(weights * 6).astype(int):
        drawn = [i for i, times in enumerate(row) for _ in range(times)]
        assert len(drawn) == 6
        mean = {s: sum(values[i] for i in drawn) / 6 for s, values in table.items()}
        ratios.append((mean[part] - mean[empty]) / (mean[full] - mean[empty]))
    found = Measured(table, full, weights).estimate(part)
    low, high = np.percentile(ratios, [2.5, 97.5])
    means = {s: values.mean() for s, values in table.items()}
    assert found.value == pytest.approx((means[part] - means[empty]) / (means[full] - means[empty]))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_every_set_is_run_once() -> None:
    hand = Hand(additive(falling()))
    one, two = frozenset(EDGES[:1]), frozenset(EDGES[1:2])
    measure(hand, [one, two, one, frozenset(EDGES), frozenset()])
    assert sorted(map(len, hand.runs)) == [0, 1, 1, N]


# ---------------------------------------------------------------- evaluate


def test_faithfulness_of_an_additive_metric_is_the_share_of_the_weight() -> None:
    total, own = sum(falling().values()), EDGES[3:8]
    found = evaluate_on(Hand(additive(falling())), circuit(*own), sizes=[0, 2, 2, 5], n_random=4)
    share = sum(falling()[e] for e in own) / total
    assert found.faithfulness.value == pytest.approx(share)
    assert found.completeness.value == pytest.approx(1 - share)
    assert [p.size for p in found.curve] == [0, 2, 5]
    assert found.curve[1].faithfulness.value == pytest.approx((falling()[EDGES[3]] + falling()[EDGES[4]]) / total)
    # Base and scale differ per example, their ratio does not: the interval has no width.
    assert found.faithfulness.low == pytest.approx(share) == found.faithfulness.high
    assert (found.n_nodes, found.counts) == (N, "edges") and f"5 of {N} edges" in str(found)


def test_the_curve_goes_on_along_the_ranking() -> None:
    scores = scored([falling()[e] for e in EDGES])
    found = evaluate_on(Hand(additive(falling())), circuit(EDGES[9]), scores=scores, sizes=[2, N], n_random=1)
    by_size = {p.size: p.faithfulness.value for p in found.curve}
    assert by_size[2] == pytest.approx((falling()[EDGES[9]] + falling()[EDGES[0]]) / sum(falling().values()))
    assert by_size[N] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sizes": [1.5]}, "whole numbers"),
        ({"sizes": [N + 1]}, "expected 0 to"),
        ({"n_random": 0}, "at least 1"),
        ({"scores": scored([1.0] * N, split_positions=True)}, "kv, split_positions"),
        ({"scores": scored([1.0] * N, level="heads")}, "give scores of the same"),
    ],
)
def test_evaluation_refuses(options: dict[str, Any], words: str) -> None:
    with pytest.raises(CircuitError, match=words):
        evaluate_on(Hand(additive(falling())), circuit(EDGES[0]), **options)


def test_edges_of_another_graph_are_refused() -> None:
    other = Graph(3, 2, 2, (False,) * 3).edge("m1->m2")
    for judge in (evaluate_on, leave_one_out_on, lambda r, c: hypothesis_on(r, c, "sufficient")):
        with pytest.raises(CircuitError, match="m1->m2 is not an edge"):
            judge(Hand(additive(falling())), circuit(other))  # type: ignore[operator]


def test_everything_is_undefined_where_the_span_may_be_zero() -> None:
    """The metric grows with the set on half of the examples and falls on the other half."""
    hand = Hand(lambda s: len(s), scale=(1.0, -1.0, 1.0, -1.0))
    one, scores = circuit(EDGES[0]), scored([1.0] * N)
    search = find_smallest_on(hand, scores)
    results = [
        (evaluate_on(hand, one, n_random=1), "faithfulness"),
        (leave_one_out_on(hand, one), "faithfulness"),
        (ranking_areas_on(hand, scores, n_random=1), "cpr"),
        (hypothesis_on(hand, one, "necessary", n_random=3), "statistic"),
        (search, "faithfulness"),
    ]
    for result, name in results:
        value = getattr(result, name)
        assert (value is None or value.value is None) and "includes 0" in result.reason
        assert "includes 0" in str(result)
    assert search.size is None and search.best_size is None


# ---------------------------------------------------------------- the smallest circuit


def _first(f: Sequence[float], target: float, at_most: float, largest: int) -> int | None:
    """By trying every size."""
    return next((k for k, v in enumerate(f) if 1 <= k <= largest and target <= v <= at_most), None)


@given(
    st.lists(st.integers(1, 1000), min_size=N, max_size=N),
    st.sampled_from([0.3, 0.7, 0.9]),
    st.sampled_from([0.02, 0.2, 9.0]),
    st.integers(1, N),
)
@settings(max_examples=60, deadline=None)
def test_the_smallest_circuit_is_the_one_found_by_trying_all(
    values: list[int], target: float, room: float, largest: int
) -> None:
    """f grows with size here, so halving must find it, and finds what trying every size does."""
    weights = weighted([float(v) for v in sorted(values, reverse=True)])
    f = np.cumsum([0.0, *weights.values()]) / sum(weights.values())
    # Sums in another order differ in the last digits, which must not decide.
    if min(abs(np.subtract.outer(f, [target, target + room])).ravel()) < 1e-9:
        return
    limits: Any = {"target": target, "at_most": target + room, "largest": largest}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smallest, "FEW", 1)
        scores = scored(list(weights.values()))
        found = find_smallest_on(Hand(additive(weights)), scores, **limits)
    every = find_smallest_on(Hand(additive(weights)), scores, every=True, **limits)
    want = _first(f, target, target + room, largest)
    assert found.size == every.size == want
    assert [point.size for point in every.tried] == list(range(1, largest + 1))
    if want is not None:
        assert found.faithfulness.value == pytest.approx(f[want]) and found.best_size == want


def test_what_jumps_over_the_limits_is_found_behind_them_or_named() -> None:
    """f = 0.5, 1.5, 1.5, 1.0: too little, too much, and in between only after an edge that works against it."""
    weights = weighted([0.5, 1.0, 0.0, -0.5])
    hand, scores = Hand(additive(weights)), scored([9.0, 8.0, 7.0, 6.0, *[0.0] * (N - 4)])
    assert find_smallest_on(hand, scores, target=0.9).size == 2
    assert find_smallest_on(hand, scores, target=0.9, at_most=1.1).size == 4
    none = find_smallest_on(hand, scores, target=0.9, at_most=1.05, largest=3)
    assert none.size is None and none.faithfulness.value is None
    # 0.5 is 0.40 below 0.9, 1.5 is 0.45 above 1.05.
    assert none.best_size == 1 and none.best.value == pytest.approx(0.5)
    assert f"none up to 3 of {N} edges" in str(none) and "best f 0.500" in str(none)
    assert [p.size for p in none.tried] == [1, 2, 3]


def test_the_search_measures_against_the_whole_model_also_with_scores_of_some_parts() -> None:
    weights = weighted([1.0, 1.0, 1.0, 1.0])
    assert find_smallest_on(Hand(additive(weights)), scored([4.0, 3.0]), target=0.9).size is None


@pytest.mark.parametrize("wrong", [{"target": 0.0}, {"at_most": 0.5}, {"largest": 0}])
def test_the_search_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(CircuitError):
        find_smallest_on(Hand(len), scored([1.0] * N), **wrong)


def test_the_search_takes_about_a_dozen_runs_of_three_hundred_parts() -> None:
    """Steps on a log axis up to the first faithful size, then halving; larger sizes are never run."""
    edges = Graph(4, 4, 4, (False,) * 4).edges[:300]
    weights = {edge: float(i < 60) for i, edge in enumerate(edges)}
    scores = replace(scored([1.0]), parts=edges, per_example=np.array([np.arange(300.0, 0.0, -1.0)]))
    hand = Hand(additive(weights), parts=edges)
    found = find_smallest_on(hand, scores, target=0.9)
    assert found.size == 54 and len(found.tried) <= 14
    assert max(map(len, set(hand.runs) - {hand.full})) < 2 * 54
    assert "smaller ones not ruled out" in str(found)
    assert "every smaller size was tried" in str(find_smallest_on(hand, scores, target=0.9, every=True))
