"""What the tests of edges share: tiny models with their twins, and the comparison of every edge's score."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.model.model import HookedModel
from interp.scores.scores import Scores
from tests.interp.attribution.edges.edge_weights import READERS, ModelWeights, read_weights
from tests.interp.model.tiny import hooked

TWINS = tuple(READERS)
POST_NORM = ("gemma2", "olmo2")
RULES = {
    "eap": "gradient", "atp": "gradient", "relp": "relp", "relp-ah": "relp-ah", "attnlrp": "attnlrp",
    "cp-lrp": "cp-lrp", "gim": "gim",
}  # fmt: skip
BOTH = pytest.mark.parametrize("kv", ["shared", "split"])
EACH = pytest.mark.parametrize("name", TWINS)


@cache
def _ready(name: str, changes: tuple[tuple[str, Any], ...]) -> tuple[HookedModel, ModelWeights]:
    model = hooked(name, dtype=torch.float64, **dict(changes))
    return model, read_weights(model.hf)


def ready(name: str, **changes: Any) -> tuple[HookedModel, ModelWeights]:
    """A tiny model in true float64 and its twin's weights; call it inside `true_float64`."""
    return _ready(name, tuple(changes.items()))


def ends(scores: Scores) -> list[tuple[str, str]]:
    """(writer, reader) by name."""
    return [(e.sender.name, e.receiver.name) for e in scores.edges]


def agree(scores: Scores, twin: Tensor, edges: list[tuple[str, str]], tolerance: float) -> None:
    """Every edge once, and each score [example edge] within `tolerance` of the largest."""
    assert sorted(ends(scores)) == sorted(edges) and len(set(edges)) == len(edges)
    order = [edges.index(e) for e in ends(scores)]
    expected = twin.numpy()[:, order]
    largest = np.abs(expected).max()
    worst = np.abs(scores.per_example - expected).max() / largest
    assert largest > 1e-6 and worst <= tolerance, f"{scores.provenance.method}: off by {worst:.1e} of the largest"


def sums_by_writer(scores: Scores, names: list[str]) -> np.ndarray:
    """Sums over the edges out of each writer [example writer]."""
    member = np.array([[sender == name for name in names] for sender, _ in ends(scores)])
    return np.asarray(scores.per_example @ member)
