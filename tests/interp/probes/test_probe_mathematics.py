"""The formulas of probes against published numbers, closed forms and second writings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interp.errors import ProbeError
from interp.probes.circles import plane
from interp.probes.erasers import ERASERS
from interp.probes.probe_fits import PROBES, lda, logistic, weighted_logistic
from interp.probes.probe_measures import measured
from interp.probes.selections import PROBE_SELECTIONS, elastic, exact, mutual_information, subset_loss


def published(assets: Path, name: str) -> dict[str, Any]:
    path = assets / "ref" / "language-models" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not among the test assets")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def clouds(n: int, gap: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return rng.normal(size=(n, len(gap))) + y[:, None] * np.array(gap), y


def test_sparse_probes_are_the_published_ones(assets: Path) -> None:
    ref = published(assets, "s13_sparse_probes")
    n = ref["train_first"]
    x, y = np.array(ref["X"]), (np.array(ref["y"]) > 0).astype(int)
    for name, key in (("mean_difference", "mean_dif"), ("f_statistic", "f_stat"), ("mutual_information", "mi")):
        found = PROBE_SELECTIONS[name].function(x, y, [16])[16]
        n_found = 7 if key == "mi" else 16  # the estimate of the other columns is 0, and equals have no order
        assert found.tolist()[:n_found] == ref["ranking_best_first"][key][:n_found], name
    assert (mutual_information(x, y) > 0).sum() == 7
    supports = PROBE_SELECTIONS["telescopic"].function(x[:n], y[:n], [16, 8, 4, 2, 1])
    for k, columns in supports.items():
        wanted = ref["telescopic"][str(k)]
        assert columns.tolist() == wanted["support"]
        w, bias = elastic(x[:n, columns], y[:n], k)
        np.testing.assert_allclose(w, wanted["coef"], atol=1e-4)
        assert bias == pytest.approx(wanted["bias"], abs=1e-4)
        good = measured(x[n:][:, columns] @ w + bias, y[n:], 0)
        for measure in ("f1", "mcc", "auc"):
            assert getattr(good, measure).value == pytest.approx(wanted[measure], abs=1e-6)
    for k, columns in exact(x[:n], y[:n], [1, 2]).items():
        wanted = ref["best_subset_logistic_balanced_C1"][str(k)]
        assert columns.tolist() == wanted["support"]
        assert subset_loss(x[:n], y[:n], columns.tolist()) == pytest.approx(wanted["objective"], abs=1e-6)


def test_erasers_are_the_published_ones(assets: Path) -> None:
    ref = published(assets, "s27_erasure")
    n, x, z = ref["train_first"], np.array(ref["X"]), np.array(ref["z"])
    for rank, wanted in ref["inlp"].items():
        basis, reader, _ = ERASERS["inlp"].function(x[:n], z[:n], int(rank))
        np.testing.assert_allclose(np.eye(8) - basis @ reader.T, wanted["P"], atol=1e-6)
        assert basis.shape[1] == wanted["rank_removed"]
    basis, reader, mean = ERASERS["leace"].function(x, z, 1)
    np.testing.assert_allclose(np.eye(8) - basis @ reader.T, ref["leace"]["P"], atol=1e-7)
    np.testing.assert_allclose(mean, ref["leace"]["bias"], atol=1e-7)


@pytest.mark.parametrize("method", list(ERASERS))
def test_erasers_project_and_leave_no_covariance(method: str) -> None:
    x, y = clouds(200, [1.0, 0.0, 0.5, 0.0, 0.0, 0.0])
    x = x @ np.random.default_rng(1).normal(size=(6, 6))
    basis, reader, mean = ERASERS[method].function(x, y, 1)
    P = np.eye(6) - basis @ reader.T
    np.testing.assert_allclose(P @ P, P, atol=1e-10)
    if method != "leace":
        np.testing.assert_allclose(P, P.T, atol=1e-12)
    if method != "inlp":
        assert np.abs(((x - mean) @ P.T).T @ (y - y.mean())).max() / len(x) < 1e-12


def test_nothing_to_erase_is_refused() -> None:
    x = np.tile(np.random.default_rng(0).normal(size=(10, 1, 4)), (1, 2, 1)).reshape(20, 4)
    for method in ("mean_projection", "sal"):
        with pytest.raises(ProbeError, match="nothing to erase"):
            ERASERS[method].function(np.ones_like(x), np.arange(20) % 2, 1)


def test_lda_is_the_direction_of_two_gaussians() -> None:
    rng = np.random.default_rng(0)
    A = rng.normal(size=(3, 3))
    x, y = clouds(40_000, [0.0, 0.0, 0.0])
    gap = np.array([0.6, -0.3, 0.2])
    x = x @ A.T + y[:, None] * gap
    wanted = np.linalg.solve(A @ A.T, gap)
    found = lda(x, y).weights
    assert found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted) > 0.999
    np.testing.assert_allclose(found, wanted, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("kind", list(PROBES))
def test_each_kind_finds_what_is_there_and_scale_of_labels_is_balanced(kind: str) -> None:
    x, y = clouds(400, [3.0, 0.0, 0.0])
    found = PROBES[kind].function(x, y)
    assert abs(np.argmax(np.abs(found.weights))) == 0 and found.weights[0] > 0
    assert measured(found.scores(x), y, 0).accuracy.value > 0.9
    few = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:40]])
    said = PROBES[kind].function(x[few], y[few]).scores(x) > 0
    assert 0.4 < said.mean() < 0.6


def test_a_label_that_means_nothing_has_auc_one_half_within_its_interval() -> None:
    inside = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(160, 3)), np.arange(160) % 2
        good = measured(logistic(x[:80], y[:80]).scores(x[80:]), y[80:], seed).auc
        inside += good.low <= 0.5 <= good.high
    assert inside >= 180  # 190 expected, and 180 is three standard deviations below


def test_measures_are_what_their_definitions_say() -> None:
    rng = np.random.default_rng(0)
    scores, y = rng.integers(-3, 4, size=60) + 0.5, np.arange(60) % 2
    found = measured(scores, y, 0)
    said = scores > 0
    tp, fp = (said & (y == 1)).sum(), (said & (y == 0)).sum()
    assert found.f1.value == pytest.approx(2 * tp / (said.sum() + (y == 1).sum()))
    assert found.mcc.value == pytest.approx(np.corrcoef(said, y)[0, 1])
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[y == 1] for b in scores[y == 0]]
    assert found.auc.value == pytest.approx(np.mean(pairs))
    area, before = 0.0, 0.0
    for threshold in sorted({*scores.tolist()}, reverse=True):
        over = scores >= threshold
        recall = (over & (y == 1)).sum() / (y == 1).sum()
        area, before = area + (recall - before) * y[over].mean(), recall
    assert found.average_precision.value == pytest.approx(area)
    assert tp and fp and found.auc.low <= found.auc.value <= found.auc.high


def test_the_elastic_net_is_a_minimum() -> None:
    x, y = clouds(80, [1.0, 0.2, 0.0, 0.0])
    weight = np.ones(80)
    w, bias, least = weighted_logistic(x, y, weight, 2.0, 0.5)
    s = 2 * y - 1

    def loss(v: np.ndarray, b: float) -> float:
        return float(np.logaddexp(0, -s * (x @ v + b)).sum() + 2 * np.abs(v).sum() + 0.25 * v @ v)

    assert loss(w, bias) == pytest.approx(least)
    rng = np.random.default_rng(0)
    assert all(loss(w + step, bias) >= least - 1e-9 for step in 1e-3 * rng.normal(size=(50, 4)))


def test_a_circle_is_found() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(140) % 7
    axes = np.linalg.qr(rng.normal(size=(10, 2)))[0]
    angle = 2 * np.pi * y / 7
    x = (
        3 * np.stack([np.cos(angle), np.sin(angle)], 1) @ axes.T
        + rng.normal(size=10)
        + 0.01 * rng.normal(size=(140, 10))
    )
    basis, _, centres = plane(x, y, 7)
    assert np.linalg.svd(basis.T @ axes, compute_uv=False).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 3, rtol=0.01)
    with pytest.raises(ProbeError, match="span no plane"):
        plane(np.outer(y, np.zeros(10)), y, 7)


def test_unknown_names_and_too_large_exact_sets_are_refused() -> None:
    x, y = clouds(40, [1.0, 0.0, 0.0])
    for table in (PROBES, PROBE_SELECTIONS, ERASERS):
        with pytest.raises(ProbeError, match="unknown"):
            table["nothing"]
    with pytest.raises(ProbeError, match="expected k of 1 or 2"):
        exact(x, y, [3])
    with pytest.raises(ProbeError, match="needs both"):
        logistic(x, np.ones(40))
