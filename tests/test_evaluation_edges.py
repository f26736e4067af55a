"""Evaluation of circuits of edges: closed forms on a runner whose metric is a known function of the set, then models."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import circuits.faithfulness as faithfulness
from circuits.areas import Areas, area_sizes, ranking_areas_on
from circuits.assessment import Assessment, assess
from circuits.circuit import Circuit, CircuitError
from circuits.evaluation import Evaluation, Search
from circuits.faithfulness import evaluate, evaluate_on, find_smallest_on
from circuits.hypotheses import HypothesisTest, hypothesis_on, necessity, sufficiency, two_sided
from circuits.minimality import Minimality, leave_one_out_on
from circuits.ratio import Measured, measure, resample_weights
from circuits.runner import PartSet, make_runner
from circuits.stability import Consensus, Stability, consensus, selection_frequency
from circuits.twins import Twins
from interp.ablations import Ablation
from interp.errors import InterpError
from interp.graph import Edge, Graph, Part
from interp.metrics import METRICS, Metric
from interp.scores import Provenance, Scores
from interp.tasks.task import TokenPair
from tests.tiny import hooked, toy_task

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

    @property
    def pairs(self) -> list[TokenPair]:
        return [TokenPair((3, i), (4, i), (5,), (6,)) for i in range(len(self.scale))]

    def metrics(self, sets: Sequence[PartSet], show_progress: bool | None = None) -> dict[PartSet, np.ndarray]:
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


@pytest.fixture
def ramp() -> dict[Part, float]:
    """Every edge a different positive weight, the first ones the largest."""
    return weighted([float(N - i) for i in range(N)])


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


def test_every_set_is_run_once(ramp: dict[Part, float]) -> None:
    hand = Hand(additive(ramp))
    one, two = frozenset(EDGES[:1]), frozenset(EDGES[1:2])
    measure(hand, [one, two, one, frozenset(EDGES), frozenset()])
    assert sorted(map(len, hand.runs)) == [0, 1, 1, N]


# ---------------------------------------------------------------- evaluate


def test_faithfulness_of_an_additive_metric_is_the_share_of_the_weight(ramp: dict[Part, float]) -> None:
    total, own = sum(ramp.values()), EDGES[3:8]
    found = evaluate_on(Hand(additive(ramp)), circuit(*own), sizes=[0, 2, 2, 5], n_random=4)
    share = sum(ramp[e] for e in own) / total
    assert found.faithfulness.value == pytest.approx(share)
    assert found.completeness.value == pytest.approx(1 - share)
    assert [p.size for p in found.curve] == [0, 2, 5]
    assert found.curve[1].faithfulness.value == pytest.approx((ramp[EDGES[3]] + ramp[EDGES[4]]) / total)
    # Base and scale differ per example, their ratio does not: the interval has no width.
    assert found.faithfulness.low == pytest.approx(share) == found.faithfulness.high
    assert (found.n_nodes, found.counts) == (N, "edges") and f"5 of {N} edges" in str(found)


def test_the_curve_goes_on_along_the_ranking(ramp: dict[Part, float]) -> None:
    scores = scored([ramp[e] for e in EDGES])
    found = evaluate_on(Hand(additive(ramp)), circuit(EDGES[9]), scores=scores, sizes=[2, N], n_random=1)
    by_size = {p.size: p.faithfulness.value for p in found.curve}
    assert by_size[2] == pytest.approx((ramp[EDGES[9]] + ramp[EDGES[0]]) / sum(ramp.values()))
    assert by_size[N] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sizes": [1.5]}, "whole numbers"),
        ({"sizes": [N + 1]}, "expected 0 to"),
        ({"n_random": 0}, "at least 1"),
        ({"scores": scored([1.0] * N, kv="split")}, "kv, split_positions"),
        ({"scores": scored([1.0] * N, level="heads")}, "give scores of the same"),
    ],
)
def test_evaluation_refuses(ramp: dict[Part, float], options: dict[str, Any], words: str) -> None:
    with pytest.raises(CircuitError, match=words):
        evaluate_on(Hand(additive(ramp)), circuit(EDGES[0]), **options)


def test_edges_of_another_graph_are_refused(ramp: dict[Part, float]) -> None:
    other = Graph(3, 2, 2, (False,) * 3).edge("m1->m2")
    for judge in (evaluate_on, leave_one_out_on, lambda r, c: hypothesis_on(r, c, "sufficient")):
        with pytest.raises(CircuitError, match="m1->m2 is not an edge"):
            judge(Hand(additive(ramp)), circuit(other))  # type: ignore[operator]


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
    """f grows with size here, so halving must find it; two sizes are tried one by one instead of 64."""
    weights = weighted([float(v) for v in sorted(values, reverse=True)])
    f = np.cumsum([0.0, *weights.values()]) / sum(weights.values())
    # Sums in another order differ in the last digits, which must not decide.
    if min(abs(np.subtract.outer(f, [target, target + room])).ravel()) < 1e-9:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faithfulness, "EVERY_SIZE", 2)
        scores = scored(list(weights.values()))
        found = find_smallest_on(
            Hand(additive(weights)), scores, target=target, at_most=target + room, largest=largest
        )  # fmt: skip
    want = _first(f, target, target + room, largest)
    assert found.size == want
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


# ---------------------------------------------------------------- areas


def test_area_sizes_are_whole_and_different() -> None:
    assert area_sizes(1000) == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    assert area_sizes(45) == [1, 3, 5, 9, 23, 45]
    assert area_sizes(100, [0.07, 1.0]) == [7, 100]
    for n, fractions in ((1, [0.5, 1.0]), (10, [0.0, 1.0]), (10, [1.5])):
        with pytest.raises(CircuitError):
            area_sizes(n, fractions)


def test_areas_of_equal_edges_in_closed_form() -> None:
    """f = k / n is a straight line: CPR = (1 - s^2) / 2 and CMD = (1 - s)^2 / 2 from the smallest share s."""
    found = ranking_areas_on(Hand(len), scored([1.0] * N), n_random=2)
    s = 1 / N
    for curve in (found.signed, found.absolute):
        assert curve.points[0].size == 1 and curve.points[-1].size == N
        assert curve.linear.width == pytest.approx(1 - s)
        assert curve.linear.cpr.value == pytest.approx((1 - s * s) / 2) == curve.linear.random_cpr
        assert curve.linear.cmd.value == pytest.approx((1 - s) ** 2 / 2) == curve.linear.random_cmd
        assert curve.log.width == pytest.approx(np.log10(N))
    assert found.cpr == found.signed.linear.cpr and found.cmd == found.absolute.linear.cmd
    assert f"share of {N} edges" in str(found)


def test_areas_equal_a_slow_trapezoid_on_both_axes_and_rankings() -> None:
    """Some edges work against the answer, so f leaves [0, 1], and the two rankings differ."""
    rng = np.random.default_rng(3)
    values = rng.normal(0.3, 1.0, N)
    weights = weighted(values)
    found = ranking_areas_on(Hand(additive(weights)), scored(list(values)), n_random=1)
    for curve, key in ((found.signed, -values), (found.absolute, -abs(values))):
        order = np.argsort(key, kind="stable")
        sizes = area_sizes(N)
        f = [values[order[:k]].sum() / values.sum() for k in sizes]
        assert [p.faithfulness.value for p in curve.points] == pytest.approx(f)
        assert [p.completeness.value for p in curve.points] == pytest.approx([1 - v for v in f])
        for area, x in ((curve.linear, [k / N for k in sizes]), (curve.log, [np.log10(k / N) for k in sizes])):
            cpr = sum((x[i + 1] - x[i]) * (f[i] + f[i + 1]) / 2 for i in range(len(x) - 1))
            cmd = sum((x[i + 1] - x[i]) * (abs(1 - f[i]) + abs(1 - f[i + 1])) / 2 for i in range(len(x) - 1))
            assert (area.cpr.value, area.cmd.value) == (pytest.approx(cpr), pytest.approx(cmd))
            # f + |1 - f| is 1 up to f = 1, and 2 f - 1 above.
            over = [2 * max(v - 1, 0.0) for v in f]
            assert cpr + cmd - area.width == pytest.approx(float(np.trapezoid(over, x)))
    assert max(p.faithfulness.value or 0.0 for p in found.signed.points) > 1.2
    assert found.signed.points != found.absolute.points


def test_areas_that_cannot_be_are_refused(tmp_path: Path) -> None:
    found = ranking_areas_on(Hand(len), scored([1.0] * N), n_random=1)
    found.save(tmp_path / "a.json")
    assert Areas.load(tmp_path / "a.json") == found
    data = json.loads((tmp_path / "a.json").read_text())
    data["signed"]["linear"]["cpr"]["value"] = 0.1
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(CircuitError, match="less than the width"):
        Areas.load(tmp_path / "a.json")


def test_areas_need_all_scores() -> None:
    with pytest.raises(CircuitError, match="lack"):
        ranking_areas_on(Hand(len), scored([1.0, 2.0]))


# ---------------------------------------------------------------- minimality


def test_minimality_of_added_redundant_and_joint_edges() -> None:
    """One edge adds 2; two do the same work, worth 3; two work only together, worth 4; one does nothing; one harms by 1."""
    a, b, c, d, e, idle, bad = EDGES[:7]

    def value(s: PartSet) -> float:
        return 2.0 * (a in s) + 3.0 * (b in s or c in s) + 4.0 * (d in s and e in s) - 1.0 * (bad in s)

    found = leave_one_out_on(Hand(value), circuit(a, b, c, d, e, idle, bad))
    drops = {r.part: r.drop.value for r in found.removals}
    want = {a: 2, b: 0, c: 0, d: 4, e: 4, idle: 0, bad: -1}
    assert drops == pytest.approx({part.name: drop / 8 for part, drop in want.items()})
    assert set(found.harmless) == {b.name, c.name, idle.name, bad.name} and not found.unclear
    assert [r.part for r in found.removals][-1] == bad.name
    assert "removal does not hurt" in str(found) and len(found.to_pandas()) == 7


def test_a_removal_that_the_pairs_cannot_tell_from_none_is_unclear() -> None:
    """An edge worth 1, -1, 1, -1, 0.4 beside one worth 10: its mean drop is above 0, its interval is not."""

    class Uneven(Hand):
        def metrics(self, sets: Sequence[PartSet], show_progress: bool | None = None) -> dict[PartSet, np.ndarray]:
            small = np.array([1.0, -1.0, 1.0, -1.0, 0.4])
            return {s: 10.0 * (EDGES[0] in s) + small * (EDGES[1] in s) for s in sets}

    found = leave_one_out_on(Uneven(len, scale=(1.0,) * 5), circuit(*EDGES[:2]))
    assert found.unclear == (EDGES[1].name,) and not found.harmless


def test_an_empty_circuit_has_no_minimality() -> None:
    with pytest.raises(CircuitError, match="empty"):
        leave_one_out_on(Hand(len), circuit())


# ---------------------------------------------------------------- hypotheses


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


# ---------------------------------------------------------------- stability


def test_selection_frequency_of_two_edges_in_closed_form() -> None:
    """Each is best on one of two examples; a tie goes to the first: 3/4 and 1/4. Bound: 5 standard errors of 4000."""
    table = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = selection_frequency(scored([], table), 1, resamples=4000)
    bound = 5 * (0.75 * 0.25 / 4000) ** 0.5
    assert [p.frequency for p in found.parts] == [pytest.approx(0.75, abs=bound), pytest.approx(0.25, abs=bound)]
    assert sum(p.frequency for p in found.parts) == pytest.approx(1.0)
    assert [p.selected for p in found.parts] == [True, False]
    # Top 1 of a resample is the first edge or shares nothing with it.
    assert found.overlap == pytest.approx(found.parts[0].frequency)


@pytest.mark.parametrize("ranking", ["signed", "absolute"])
def test_selection_frequency_equals_a_slow_second_writing(ranking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(2).normal(0.0, 1.0, (5, 12))
    monkeypatch.setattr("circuits.stability.CHUNK", 40)
    found = selection_frequency(scored([], table, importance_sign=-1), 4, ranking=ranking, resamples=200, seed=3)
    counts, shared = Counter[str](), []
    means = [sum(w * row for w, row in zip(weights, table, strict=True)) for weights in resample_weights(5, 3, 200)]

    def top(mean: np.ndarray) -> set[str]:
        key = -mean if ranking == "signed" else abs(mean)
        return {EDGES[i].name for i in sorted(range(12), key=lambda i: -key[i])[:4]}

    own = top(table.mean(0))
    for mean in means:
        counts.update(top(mean))
        shared.append(len(own & top(mean)) / len(own | top(mean)))
    assert {p.part: p.frequency for p in found.parts} == pytest.approx(
        {e.name: counts[e.name] / 200 for e in EDGES[:12]}
    )
    assert {p.part for p in found.parts if p.selected} == own and found.overlap == pytest.approx(np.mean(shared))
    for part in found.parts:
        i = [e.name for e in EDGES].index(part.part)
        low, high = np.percentile([m[i] for m in means], [2.5, 97.5])
        assert part.score.value == pytest.approx(table[:, i].mean())
        assert (part.score.low, part.score.high) == (pytest.approx(low), pytest.approx(high))


def test_consensus_by_hand() -> None:
    """Top 2: {0, 1}, {0, 2}, {0, 1}: Jaccard 1/3, 1, 1/3."""
    several = [scored([3.0, 2.0, 1.0]), scored([3.0, 1.0, 2.0]), scored([-9.0, 2.0, 0.0])]
    found = consensus(several, 2)
    assert found.pairwise == pytest.approx((1 / 3, 1.0, 1 / 3)) and found.jaccard == pytest.approx(5 / 9)
    assert {p.part: p.frequency for p in found.parts} == pytest.approx(
        {EDGES[0].name: 1.0, EDGES[1].name: 2 / 3, EDGES[2].name: 1 / 3}
    )
    assert found.parts[0].part == EDGES[1].name  # the mean of 3, 3 and -9 is 1 in size, the mean of 2, 1 and 2 more
    assert (found.parts[0].score.low, found.parts[0].score.high) == (1.0, 2.0)


def test_stability_refuses() -> None:
    one = scored([1.0, 2.0])
    bad: list[Callable[[], Any]] = [
        lambda: selection_frequency(one, 0),
        lambda: selection_frequency(one, 3),
        lambda: selection_frequency(one, 1.5),  # type: ignore[arg-type]
        lambda: selection_frequency(one, 1, resamples=0),
        lambda: consensus([one], 1),
        lambda: consensus([one, scored([1.0, 2.0, 3.0])], 1),
        lambda: consensus([one, scored([1.0, 2.0], importance_sign=-1)], 1),
        lambda: consensus([one, scored([1.0, 2.0], unit="nats")], 1),
    ]
    for call in bad:
        with pytest.raises(CircuitError):
            call()


# ---------------------------------------------------------------- files


def test_results_read_back_equal_and_damaged_files_are_refused(ramp: dict[Part, float], tmp_path: Path) -> None:
    hand, one, scores = Hand(additive(ramp)), circuit(*EDGES[:4]), scored([ramp[e] for e in EDGES])
    results: list[Any] = [
        evaluate_on(hand, one, n_random=2),
        find_smallest_on(hand, scores),
        leave_one_out_on(hand, one),
        hypothesis_on(hand, one, "sufficient", n_random=5),
        selection_frequency(scores, 3, resamples=10),
        consensus([scores, scores], 3),
    ]
    kinds = [Evaluation, Search, Minimality, HypothesisTest, Stability, Consensus]
    for kind, result in zip(kinds, results, strict=True):
        path = tmp_path / f"{kind.__name__}.json"
        result.save(path)
        assert kind.load(path) == result  # type: ignore[attr-defined]
        data = json.loads(path.read_text())
        wrong = [{**data, "format": 99}, {**data, "odd": 1}, [], {k: v for k, v in data.items() if k != "n_pairs"}]
        wrong += [{**data, name: {"value": "much"}} for name in data if isinstance(data[name], dict)]
        for damaged in wrong:
            if damaged == data:
                continue
            path.write_text(json.dumps(damaged))
            with pytest.raises(CircuitError):
                kind.load(path)  # type: ignore[attr-defined]


# ---------------------------------------------------------------- models

MODELS = ["gpt2", "llama", "gemma2", "gpt_neox", "qwen3", "phi"]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ablation", ["counterfactual", "zero"])
def test_cutting_all_that_a_node_writes_is_ablating_the_node(name: str, ablation: str) -> None:
    """Edges and nodes are run by different code. Under a post-norm (gemma2) the heads of a layer share a scale, so that
    ablating one changes what the others add; MLPs are alone there."""
    model, task = hooked(name), toy_task()
    nodes = make_runner(model, task, "heads", ablation=ablation)
    edges = make_runner(model, task, "edges", ablation=ablation)
    alone = [n for n in nodes.parts if name != "gemma2" or n.kind == "mlp"]
    sets = {frozenset(alone[:1]), frozenset(alone[-1:]), frozenset(alone[::2])}
    for ablated in sets:
        kept = frozenset(nodes.parts) - ablated
        uncut = frozenset(e for e in edges.parts if isinstance(e, Edge) and e.sender not in ablated)
        want, got = nodes.metrics([kept])[kept], edges.metrics([uncut])[uncut]
        assert got == pytest.approx(want, abs=2e-4)


@pytest.mark.parametrize("name", MODELS)
def test_assessment_of_a_circuit_of_edges(name: str, tmp_path: Path) -> None:
    model, task = hooked(name), toy_task(n=6)
    graph = Graph.of(model.layout)
    values = np.random.default_rng(0).normal(size=(6, len(graph.edges)))
    scores = dataclasses.replace(scored([1.0]), parts=graph.edges, per_example=values)
    full = Circuit(graph.edges, "edges", name, "toy", "hand", "all")
    whole = evaluate(model, task, full, sizes=[0], n_random=1)
    pairs = task.tokenize(model.tokenizer, model.layout.d_vocab)
    clean = [_logit_diff(model, p.clean, p) for p in pairs]
    corrupt = [_logit_diff(model, p.corrupt, p) for p in pairs]
    assert whole.full == pytest.approx(np.mean(clean), abs=1e-4)
    assert whole.empty == pytest.approx(np.mean(corrupt), abs=1e-4)
    order = [graph.edges[i] for i in scores.rank()]
    found = assess(
        model, task, Circuit(tuple(order[:5]), "edges", name, "toy", "hand", ""), scores, sizes=[5], n_random=2, n_tests=3
    )  # fmt: skip
    assert found.areas is not None and found.minimality is not None and len(found.minimality.removals) == 5
    assert not found.left_out and "edges" in str(found)
    found.save(tmp_path / "a.json")
    assert Assessment.load(tmp_path / "a.json") == found


def _logit_diff(model: Any, ids: Sequence[int], pair: TokenPair) -> float:
    logits = model.run([list(ids)]).logits[0, -1]
    return float(logits[list(pair.answers)].mean() - logits[list(pair.wrong)].mean())


def test_assessment_of_a_circuit_of_nodes_says_what_it_leaves_out() -> None:
    model, task = hooked("gpt2"), toy_task(n=6)
    nodes = make_runner(model, task, "heads").parts
    own = Circuit(nodes[:3], "heads", "gpt2", "toy", "hand", "")
    found = assess(model, task, own, sizes=[3], n_random=2, n_tests=3, minimality_limit=2)
    assert found.minimality is None and found.areas is None and len(found.left_out) == 2
    assert "minimality, as the circuit has 3 parts" in str(found) and "no scores were given" in str(found)
    assert found.sufficient == sufficiency(model, task, own, n_random=3)
    assert found.necessary == necessity(model, task, own, n_random=3)
    assert found.evaluation == evaluate(model, task, own, sizes=[3], n_random=2)


def test_a_level_without_circuits_has_no_runner() -> None:
    with pytest.raises(InterpError, match="level of circuits"):
        make_runner(hooked("gpt2"), toy_task(), "resid")
