"""The formulas of probes against published numbers, closed forms and second writings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interp.errors import ProbeError
from interp.probes.fits import PROBES, lda, logistic, weighted_logistic
from interp.probes.measures import measured
from interp.probes.selections import elastic, exact, get_probe_selection, subset_loss


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
    for name, key in (("mean_difference", "mean_dif"), ("f", "f_stat"), ("mutual_information", "mi")):
        found = get_probe_selection(name).function(x[:n], y[:n], [16])[16]
        assert found.tolist() == ref["ranking_best_first"][key], name
    supports = get_probe_selection("telescopic").function(x[:n], y[:n], [16, 8, 4, 2, 1])
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
        assert subset_loss(x[:n], y[:n], columns) == pytest.approx(wanted["objective"], abs=1e-6)
