"""Scores of a run over heads: one truth for all methods, and an error of each method's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from interp.parts.nodes import Node
from interp.scores.provenance import Provenance
from interp.scores.scores import Scores

LAYERS, HEADS, POSITIONS, PAIRS = 5, 8, 17, 50


def provenance(method: str, **changes: Any) -> Provenance:
    exact = method == "exact"
    made = Provenance(
        method=method, level="heads", positions="all", direction="denoise", ablation="counterfactual", metric="logit_diff",
        unit="logits", importance_sign=1, rules="norm=frozen", steps=None, quadrature=None, seed=3, model="stories260K",
        task="they_plural", n_pairs=PAIRS, dtype="float32", attention="eager", base_metric=-1.25, source_metric=3.5,
        forwards=25.0 if exact else 2.0, backwards=0.0 if exact else 1.0, seconds=0.75, exact=exact,
    )  # fmt: skip
    return replace(made, **changes)


def head_nodes() -> tuple[Node, ...]:
    found = [Node("embed")]
    for layer in range(LAYERS):
        found += [Node("head", layer, unit) for unit in range(HEADS)] + [Node("mlp", layer)]
    return tuple(found)


def some_scores(nodes: tuple[Node, ...], seed: int, **of: Any) -> Scores:
    """The first seed of a method decides the truth; the method's own seed adds an error to it."""
    truth = np.random.default_rng(0).normal(size=len(nodes)) ** 3 / 3
    rng = np.random.default_rng(seed)
    mean = truth + 0.25 * seed * rng.normal(size=len(nodes))
    return Scores(nodes, mean + 0.4 * rng.normal(size=(PAIRS, len(nodes))), provenance(**of))
