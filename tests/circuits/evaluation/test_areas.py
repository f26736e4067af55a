"""CPR, CMD and minimality in closed form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuits.circuit.circuit import CircuitError, component
from circuits.evaluation.area_values import Areas
from circuits.evaluation.areas import area_sizes, ranking_areas_on
from circuits.evaluation.minimality import leave_one_out_on
from circuits.evaluation.running.runner import PartSet
from interp.parts.graph import Edge
from interp.parts.nodes import Node
from interp.scores.scores import Scores
from tests.circuits.evaluation.running.hand import EDGES, Hand, N, additive, circuit, scored, weighted

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
            capped = np.trapezoid([min(v, 1.0) for v in f], x)
            agreed = np.trapezoid([0.0 if v <= 0 or v >= 2 else min(v, 2 - v) for v in f], x) / area.width
            assert area.capped is not None and area.compactness is not None
            assert (area.capped.value, area.compactness.value) == (pytest.approx(capped), pytest.approx(agreed))
            assert 0 <= agreed <= 1 and area.capped.value <= area.cpr.value
            # f + |1 - f| is 1 up to f = 1, and 2 f - 1 above.
            over = [2 * max(v - 1, 0.0) for v in f]
            assert cpr + cmd - area.width == pytest.approx(float(np.trapezoid(over, x)))
    assert max(p.faithfulness.value or 0.0 for p in found.signed.points) > 1.2
    assert found.signed.points != found.absolute.points


EMBED = Node("embed")


def paths(edges: Sequence[Edge], node: Node = EMBED) -> Iterator[tuple[Edge, ...]]:
    """Every way from a node to the logits, one edge after the other."""
    for edge in edges:
        if edge.sender == node:
            own = component(edge.receiver)
            yield from [(edge,)] if own == Node("logits") else ((edge, *rest) for rest in paths(edges, own))


def test_own_sizes_are_those_of_the_edges_on_some_path() -> None:
    """Every path written out; the axis is their number over that of the largest circuit."""
    values = np.random.default_rng(5).normal(0.3, 1.0, N)
    found = ranking_areas_on(Hand(additive(weighted(values))), scored(list(values)), n_random=1)
    order = [EDGES[i] for i in np.argsort(-values, kind="stable")]
    sizes = [len({edge for way in paths(order[:k]) for edge in way}) for k in area_sizes(N)]
    assert [p.own_size for p in found.signed.points] == sizes and sizes[0] == 0 and sizes[-1] == N
    assert any(0 < own < k for own, k in zip(sizes, area_sizes(N), strict=True))
    f = [p.faithfulness.value or 0.0 for p in found.signed.points]
    own = found.signed.own
    assert own is not None and own.width == pytest.approx(1.0)
    assert own.cpr.value == pytest.approx(np.trapezoid(f, np.array(sizes) / N))
    assert own.cmd.value == pytest.approx(np.trapezoid(np.abs(1 - np.array(f)), np.array(sizes) / N))


def test_own_sizes_of_circuits_up_to_a_tenth_fill_the_axis() -> None:
    """f = k / n at 1, 3 and 5 of 10: 0.3 in the mean, over a width of .4 of all parts, or of .8 of the largest circuit's."""
    nodes = tuple(Node("head", 0, unit) for unit in range(10))
    hand = Hand(len, parts=nodes)
    table = Scores(nodes, np.ones((1, 10)), replace(scored([1.0]).provenance, level="heads"))
    found = ranking_areas_on(hand, table, fractions=[0.1, 0.3, 0.5], n_random=1)
    own = found.signed.own
    assert own is not None and own.width == pytest.approx(0.8) and found.signed.linear.width == pytest.approx(0.4)
    assert own.cpr.value == pytest.approx(0.8 * 0.3) and found.signed.linear.cpr.value == pytest.approx(0.4 * 0.3)
    assert [p.own_size for p in found.signed.points] == [1, 3, 5] and "own sizes, nodes as a share" in str(found)


def test_more_than_the_model_is_no_merit() -> None:
    """One part alone gives 2, the whole 1: CPR is above the width, as if better than a ranking that is right at once."""
    twice = ranking_areas_on(
        Hand(lambda s: 2.0 if EDGES[0] in s and len(s) < N else float(len(s) == N)),
        scored([1.0, *[0.0] * (N - 1)]),
        n_random=1,
    )
    right = ranking_areas_on(Hand(lambda s: float(EDGES[0] in s)), scored([1.0, *[0.0] * (N - 1)]), n_random=1)
    assert (twice.cpr.value or 0) > 1.5 > (right.cpr.value or 0) and right.compactness.value == pytest.approx(1.0)
    assert (twice.compactness.value or 0) < 0.2
    capped = [found.signed.linear.capped for found in (twice, right)]
    assert capped[0] is not None and capped[1] is not None and capped[0].value == pytest.approx(capped[1].value)


def test_areas_of_before_load_and_say_what_they_have(tmp_path: Path) -> None:
    found = ranking_areas_on(Hand(len), scored([1.0] * N), n_random=1)
    data = found.to_dict()
    for curve in (data["signed"], data["absolute"]):
        del curve["own"]
        curve["points"] = [{k: v for k, v in p.items() if k != "own_size"} for p in curve["points"]]
        for axis in ("linear", "log"):
            curve[axis] = {k: v for k, v in curve[axis].items() if "capped" not in k and "compact" not in k}
    (tmp_path / "old.json").write_text(json.dumps(data))
    old = Areas.load(tmp_path / "old.json")
    assert (old.cpr, old.cmd) == (found.cpr, found.cmd) and old.compactness.value is None
    assert "Compactness" not in str(old) and "axis own" not in str(old) and "fixed shares of all edges" in str(old)


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
        def metrics(self, sets: Sequence[PartSet], show_progress: bool | None) -> dict[PartSet, np.ndarray]:
            small = np.array([1.0, -1.0, 1.0, -1.0, 0.4])
            return {s: 10.0 * (EDGES[0] in s) + small * (EDGES[1] in s) for s in sets}

    found = leave_one_out_on(Uneven(len, scale=(1.0,) * 5), circuit(*EDGES[:2]))
    assert found.unclear == (EDGES[1].name,) and not found.harmless


def test_an_empty_circuit_has_no_minimality() -> None:
    with pytest.raises(CircuitError, match="empty"):
        leave_one_out_on(Hand(len), circuit())
