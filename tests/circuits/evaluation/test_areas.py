"""CPR, CMD and minimality in closed form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from circuits.circuit.circuit import CircuitError
from circuits.evaluation.areas import Areas, area_sizes, ranking_areas_on
from circuits.evaluation.minimality import leave_one_out_on
from circuits.evaluation.running.runner import PartSet
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
        def metrics(self, sets: Sequence[PartSet], show_progress: bool | None) -> dict[PartSet, np.ndarray]:
            small = np.array([1.0, -1.0, 1.0, -1.0, 0.4])
            return {s: 10.0 * (EDGES[0] in s) + small * (EDGES[1] in s) for s in sets}

    found = leave_one_out_on(Uneven(len, scale=(1.0,) * 5), circuit(*EDGES[:2]))
    assert found.unclear == (EDGES[1].name,) and not found.harmless


def test_an_empty_circuit_has_no_minimality() -> None:
    with pytest.raises(CircuitError, match="empty"):
        leave_one_out_on(Hand(len), circuit())
