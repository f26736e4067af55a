"""Measures on held-out text against loops."""

from __future__ import annotations

import pytest
import torch

from interp.dictionaries.training.loop.measures import held_out_measures
from tests.interp.dictionaries.random_dictionaries import ACTIVATIONS, made


def test_held_out_measures_against_loops() -> None:
    x = torch.randn(300, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for kind in ACTIVATIONS:
        d = made("resid_post.0", 7, n=30, kind=kind, dtype=torch.float64)
        found = held_out_measures(d, x, x)
        features = [[float(f) for f in d.encode(row)] for row in x]
        error = sum(float((row - d.reconstruct(row)).square().sum()) for row in x)
        spread = sum(float((x[:, j] - x[:, j].sum() / 300).square().sum()) for j in range(7))
        assert found["held_out_explained_variance"] == pytest.approx(1 - error / spread, abs=1e-10)
        assert found["held_out_l0"] == pytest.approx(sum(f != 0 for row in features for f in row) / 300)
        silent = sum(all(row[i] == 0 for row in features) for i in range(30)) / 30
        assert found["held_out_silent"] == pytest.approx(silent)
