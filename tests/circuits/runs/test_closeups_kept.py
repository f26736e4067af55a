"""A run directory keeps what is known of the arrows of a circuit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from circuits.anatomy.anatomy import Anatomy
from circuits.anatomy.closeups_edges import MOST_CHECKED
from circuits.runs.directory import open_run
from circuits.runs.record import Record
from circuits.runs.record_files import load_record, save_record
from interp.scores.scores import Scores
from tests.circuits.anatomy.test_closeups import _looked


def test_all_edges_of_a_small_circuit_are_patched_and_a_run_directory_keeps_what_is_known(tmp_path: Path) -> None:
    job, circuit, found, edges = _looked("gpt2", n=2)
    assert isinstance(edges, Scores) and edges.exact is not None and edges.exact.all()
    assert 1 < len(edges.parts) <= MOST_CHECKED and found.arrows is not None and found.arrows.sampled == "all of them"
    with open_run(tmp_path / "run", {"command": "discover"}) as folder:
        record = Record({}, (job.request.score()["relp"],), circuit=circuit, anatomy=found, node_edges=edges)
        save_record(folder, record)
        (folder / "manifest.json").write_text('{"format": 1, "status": "complete"}')
    again = load_record(tmp_path / "run")
    assert again.anatomy == found and again.node_edges is not None
    assert np.array_equal(again.node_edges.exact, edges.exact) and again.node_edges.provenance == edges.provenance
    older = replace(found, arrows=None)
    text = older.to_dict()
    del text["arrows"]
    (tmp_path / "older.json").write_text(json.dumps(text))
    assert Anatomy.load(tmp_path / "older.json") == older
