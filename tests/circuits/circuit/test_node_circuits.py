"""Circuits of nodes: selection, and damaged files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.circuit.selection import discover
from interp.parts.nodes import Node
from interp.scores.provenance import Provenance
from interp.scores.scores import Scores


def _provenance(**changes: Any) -> Provenance:
    values = dict.fromkeys((f.name for f in dataclasses.fields(Provenance)), None)
    known = {
        "level": "heads",
        "positions": "all",
        "importance_sign": 1,
        "method": "hand",
        "model": "m",
        "task": "t",
        "exact": False,
        "both_ways": False,
    }
    return Provenance(**{**values, **known, **changes})


def _scores(values: list[float], **changes: Any) -> Scores:
    nodes = (Node("embed"), *(Node("head", 0, i) for i in range(len(values) - 1)))
    return Scores(nodes, np.array([values, values]), _provenance(**changes))


def test_selection_by_count_fraction_threshold_and_sign() -> None:
    scores = _scores([100.0, 1.0, -3.0, 2.0, 0.5])
    names = lambda circuit: [n.name for n in circuit]  # noqa: E731
    assert names(discover(scores, n=2)) == ["a0.h1", "a0.h2"]
    assert names(discover(scores, n=2, ranking="signed")) == ["a0.h2", "a0.h0"]
    assert names(discover(scores, fraction=0.3)) == ["a0.h1", "a0.h2"]
    assert names(discover(scores, threshold=1.0)) == ["a0.h1", "a0.h2", "a0.h0"]
    assert names(discover(scores, threshold=1.0, ranking="signed")) == ["a0.h2", "a0.h0"]
    flipped = _scores([100.0, 1.0, -3.0, 2.0, 0.5], importance_sign=-1)
    assert names(discover(flipped, n=1, ranking="signed")) == ["a0.h1"]


@pytest.mark.parametrize(
    "wrong", [{}, {"n": 1, "fraction": 0.5}, {"n": 0}, {"n": 9}, {"fraction": 0.0}, {"fraction": 1.5}]
)
def test_selection_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(CircuitError):
        discover(_scores([1.0, 2.0, 3.0]), **wrong)


@pytest.mark.parametrize("level", ["resid", "qkv"])
def test_maps_are_no_circuits(level: str) -> None:
    with pytest.raises(CircuitError, match="map"):
        discover(_scores([1.0, 2.0], level=level), n=1)
    with pytest.raises(CircuitError, match="map"):
        discover(_scores([1.0, 2.0], positions="each"), n=1)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 9}', '{"format": 1, "nodes": [{"kind": "head", "odd": 1}], "level": "heads"}']
)
def test_damaged_circuit_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(CircuitError):
        Circuit.load(tmp_path / "c.json")
