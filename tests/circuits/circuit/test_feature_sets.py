"""Circuits of features: selection, and sets within their dictionaries."""

from __future__ import annotations

from dataclasses import replace

import pytest

import interp
from circuits.circuit.algebra import intersection
from circuits.circuit.circuit import Circuit, CircuitError
from circuits.circuit.selection import discover
from interp.parts.nodes import Node
from tests.interp.attribution.features.given_dictionaries import given, stub


def test_selections_take_features_only() -> None:
    model, task = stub()
    scores = interp.attribute(model, task, method="relp", level="features", dictionaries=given(model))
    assert sum(p.kind.endswith(".error") for p in scores.parts) == 4
    chosen = discover(scores, n=len(scores.parts) - 4)
    assert not any(p.kind.endswith(".error") for p in chosen.parts)
    with pytest.raises(CircuitError, match="expected 1 to"):
        discover(scores, n=len(scores.parts) - 3)
    sizes = {p.name: abs(m) for p, m in zip(scores.parts, scores.mean, strict=True) if not p.kind.endswith(".error")}
    threshold = sorted(sizes.values())[-3]
    reached = discover(scores, threshold=threshold)
    assert len(reached) == 3 and {p.name for p in reached.parts} == {n for n, m in sizes.items() if m >= threshold}


def test_circuits_of_features_are_combined_within_their_dictionaries() -> None:
    line = ("resid_post.0: 24 features, sha256 0",)
    parts = [Node("resid_post.feature", 0, u) for u in range(4)]
    a, b = (Circuit(tuple(p), "features", "m", "t", "x", "", dictionaries=line) for p in (parts[:3], parts[1:]))
    assert intersection(a, b).parts == tuple(parts[1:3]) and intersection(a, b).dictionaries == line
    with pytest.raises(CircuitError, match="circuits of the same dictionaries"):
        intersection(a, replace(b, dictionaries=("resid_post.0: 24 features, sha256 1",)))
