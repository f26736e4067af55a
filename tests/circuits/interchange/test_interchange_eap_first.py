"""Graph files of EAP-IG's first version, and what others leave out: the same circuit and scores as in a whole file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuits import interchange
from circuits.interchange import eap_ig
from circuits.interchange.strict import InterchangeError
from tests.circuits.interchange.exchanged import saved, theirs

Data = dict[str, Any]


def _first(data: Data) -> None:
    del data["cfg"]["d_model"]
    data["nodes"] = {name: entry["in_graph"] for name, entry in data["nodes"].items()}


def _no_width(data: Data) -> None:
    del data["cfg"]["d_model"]


def _null_width(data: Data) -> None:
    data["cfg"]["d_model"] = None


def _nulls(data: Data) -> None:
    for entry in data["nodes"].values():
        entry |= {"score": None, "neurons": None, "neurons_scores": None}


@pytest.mark.parametrize("change", [_first, _no_width, _null_width, _nulls])
@pytest.mark.parametrize("parallel", [False, True])
def test_what_the_first_version_leaves_out_changes_nothing(
    change: Callable[[Data], None], parallel: bool, tmp_path: Path
) -> None:
    whole, data = theirs(2, 3, parallel), theirs(2, 3, parallel)
    change(data)
    wanted = interchange.read(saved(tmp_path / "whole.json", whole))
    found = interchange.read(saved(tmp_path / "first.json", data))
    chosen = {name.replace("input", "embed") for name, entry in data["edges"].items() if entry["in_graph"]}
    assert found.circuit is not None and wanted.circuit is not None
    assert {part.name for part in found.circuit.parts} == chosen and found.circuit.parts == wanted.circuit.parts
    assert found.scores is not None and wanted.scores is not None
    assert np.array_equal(found.scores.per_example, wanted.scores.per_example)


def test_nodes_of_the_first_version_are_read_as_they_are(tmp_path: Path) -> None:
    data = theirs(1, 2, False)
    _first(data)
    data["nodes"]["a0.h1"] = True
    graph = eap_ig.load(saved(tmp_path / "g.json", data))
    names = eap_ig.node_names(graph.shape)
    assert {n: node.in_graph for n, node in zip(names, graph.nodes, strict=True)} == data["nodes"]
    assert graph.shape.d_model is None and "d_model" not in eap_ig.to_json(graph)
    again = eap_ig.load(_written(tmp_path / "again.json", eap_ig.to_json(graph)))
    assert np.array_equal(again.in_graph, graph.in_graph) and again.shape == graph.shape


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_scores_that_are_all_null_are_none(tmp_path: Path) -> None:
    data = theirs(1, 2, False)
    for entry in data["edges"].values():
        entry["score"] = None
    found = interchange.read(saved(tmp_path / "g.json", data))
    assert found.scores is None and found.circuit is not None


def test_neurons_say_how_wide_the_model_is_where_the_file_does_not(tmp_path: Path) -> None:
    data = theirs(1, 2, False)
    del data["cfg"]["d_model"]
    data["nodes"]["m0"] |= {"neurons": [True, False, True]}
    assert eap_ig.load(saved(tmp_path / "g.json", data)).shape.d_model == 3
    data["nodes"]["a0.h0"] |= {"neurons_scores": [1.0, 2.0]}
    with pytest.raises(InterchangeError, match="no list of the right size"):
        eap_ig.load(saved(tmp_path / "bad.json", data))
