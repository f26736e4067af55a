"""Values of what layers are used for, made with any text for their names."""

from __future__ import annotations

import numpy as np

from interp.depth.chain_search import Chains
from interp.depth.drop_layers import DroppedLayers
from interp.depth.layer_match import LayerMatch
from interp.depth.layer_use import LayerUse


def layer_use_of(name: str) -> LayerUse:
    """Two layers, the second without attention."""
    values = np.array([[1.0, 0.5], [2.0, np.nan], [0.25, 0.125], [1.5, 0.0], [0.75, 1e-9]])
    square = ((0.0, 0.5), (0.0, 0.0))
    parts = ("attention", "mlp", "block", "mlp", "block")
    return LayerUse((0, 0, 0, 1, 1), parts, ("influence", "skip_kl"), values, 24, square, square, 2.5, name, name)


def dropped_of(name: str) -> DroppedLayers:
    """Two layers in a row, of which the first has the score of both."""
    curve = np.array([[1.0, 0.0, 0.5, 0.9, 1.1], [1.5, 0.25, 0.4, 1.25, 1.75], [3.0, 2.0, 0.1, 2.5, 3.5]])
    where = {"unit": "block", "score": "influence", "search": "consecutive", "judged": "other", "n": 4, "n_layers": 4}
    removed = ("block.1", "block.2")
    return DroppedLayers(removed, (1, 2), ("block", "block"), (0.125, None), curve, **where, model=name, task=name)  # type: ignore[arg-type]


def chains_of(name: str) -> Chains:
    """The full model and two chains, the second of them chosen."""
    values = np.array(
        [[1.0, 0.0, 0.5, 1.25, 0.0, 0.25], [2.0, 1.0, 0.25, 2.0, 1.0, 0.25], [0.5, 0.1, 0.75, 1.5, 0.1, 0.5]]
    )
    chains = ((0, 1), (1,), (0, 1, 1))
    return Chains(chains, values, 2, (-0.25, 0.5), 0.75, 0.5, 0.2, True, (3, 2), name, name)


def match_of(name: str) -> LayerMatch:
    return LayerMatch(np.array([[1.0, 0.5, -0.25], [0.5, 0.75, 0.125]]), name, f"{name} too", (8, 6))
