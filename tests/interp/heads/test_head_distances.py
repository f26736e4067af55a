"""How far heads are apart, and groups of them, against scipy and figures with known answers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

import interp
from interp.errors import InterpError
from interp.heads.clusters import HeadClusters, in_the_plane
from interp.heads.distances import HeadDistances, apart
from tests.interp.model.tiny import hooked

ROWS = [[3, 4, 5, 3, 4, 9], [7, 7, 8], [3, 9, 3, 9, 3, 9]]


def test_hand_made_heads() -> None:
    """The same rows are 0 apart, rows without a common key log 2 each, and 1 in total variation."""
    weights = torch.stack([torch.eye(4), torch.eye(4), torch.eye(4).roll(1, 1)]).double()
    for metric, most in (("js", math.log(2)), ("tv", 1.0)):
        found = apart(weights, metric).numpy()
        np.testing.assert_allclose(found, 4 * most * np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]]), atol=1e-12)


def test_distances_are_means_over_every_query() -> None:
    model = hooked("llama")
    found, total, n = interp.head_distances(model, ROWS), 0.0, 0
    for ids in ROWS:
        with torch.no_grad():
            rows = torch.cat(model.hf(torch.tensor([ids]), output_attentions=True).attentions, 1)[0].double().numpy()
        total = total + np.array([[(jensenshannon(a, b, axis=-1) ** 2).sum() for a in rows] for b in rows])
        n += len(ids)
    np.testing.assert_allclose(found.distances, total / n, atol=1e-6)
    assert found.n_queries == n == 15
    np.testing.assert_array_equal(found.distances, found.distances.T)
    assert found.distances.min() >= 0 and found.distances.max() <= math.log(2)
    nearest, distance = found.nearest("a1.h2")[0]
    assert distance == np.delete(found.distances[6], 6).min()
    assert found.to_pandas()["nearest"][6] == nearest


def test_planted_groups_are_found(tmp_path: Path) -> None:
    """Two groups of heads far from each other, in an order that says nothing."""
    near, far = [0, 2, 3, 6], [1, 4, 5]
    distances = np.full((7, 7), 0.6)
    for group in (near, far):
        distances[np.ix_(group, group)] = 0.1
    np.fill_diagonal(distances, 0)
    heads = tuple(f"a0.h{i}" for i in range(7))
    given = HeadDistances(heads, distances, "js", 10, 2)
    found = interp.head_clusters(given, 2)
    assert found.members == (tuple(heads[i] for i in near), tuple(heads[i] for i in far))
    assert [len(interp.head_clusters(given, n).members) for n in (1, 3, 7)] == [1, 3, 7]
    for value in (given, found):
        value.save(tmp_path / "x.parquet")
        assert type(value).load(tmp_path / "x.parquet").to_dict() == value.to_dict()
    assert HeadClusters.load(tmp_path / "x.parquet").labels.tolist() == [0, 1, 0, 0, 1, 1, 0]


def test_points_of_a_plane_keep_their_distances() -> None:
    points = np.random.default_rng(0).normal(size=(9, 2))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    found, share = in_the_plane(distances)
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found[None], axis=-1), distances, atol=1e-9)
    assert share == pytest.approx(1)


def test_what_cannot_be_compared_is_refused() -> None:
    model = hooked("gpt2")
    distances = interp.head_distances(model, ROWS)
    with pytest.raises(InterpError, match="metric of heads 'l2'"):
        interp.head_distances(model, ROWS, metric="l2")  # type: ignore[arg-type]
    with pytest.raises(InterpError, match="expected 1 to 8"):
        interp.head_clusters(distances, 9)
    with pytest.raises(InterpError, match="head_distances makes"):
        interp.head_clusters(model, 2)
    with pytest.raises(InterpError, match=r"unknown head 'a9.h9'"):
        distances.nearest("a9.h9")
