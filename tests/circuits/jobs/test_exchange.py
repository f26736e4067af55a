"""Export and import of files and run directories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from circuits.circuit.circuit import Circuit
from circuits.interchange import (
    InterchangeError,
    Shape,
    eap_contents,
    read,
)
from circuits.jobs.exchange import export, import_file
from circuits.runs import directory
from circuits.runs.record import Record
from circuits.runs.record_files import save_record
from interp.errors import InterpError
from interp.scores.scores import Scores
from tests.circuits.interchange.exchanged import SMALL, edge_circuit, edge_scores, provenance, same, saved, theirs
from tests.interp.model.tiny import hooked


def test_export_and_import_of_files(tmp_path: Path) -> None:
    model = hooked("gpt2")
    model.hf.save_pretrained(tmp_path / "model")
    shape = Shape.of(model.layout)
    scores = edge_scores(shape, model=str(tmp_path / "model"))
    circuit = edge_circuit(scores.parts[4:1:-1], model=str(tmp_path / "model"))
    scores.save(tmp_path / "scores.parquet")
    circuit.save(tmp_path / "circuit.json")
    assert export(tmp_path / "circuit.json", "graphml", tmp_path / "c.graphml") == [tmp_path / "c.graphml"]
    export(tmp_path / "scores.parquet", "eap-ig", tmp_path / "s.json")
    export(tmp_path / "scores.parquet", "mib-circuits", tmp_path / "sub")
    assert import_file(tmp_path / "c.graphml", tmp_path / "a") == ([tmp_path / "a" / "circuit.json"], [])
    assert Circuit.load(tmp_path / "a" / "circuit.json") == circuit
    import_file(tmp_path / "s.json", tmp_path / "b")
    assert same(Scores.load(tmp_path / "b" / "scores.parquet"), scores)
    with pytest.raises(InterchangeError, match="exists"):
        import_file(tmp_path / "s.json", tmp_path / "b")
    import_file(tmp_path / "sub", tmp_path / "d")
    assert len(list((tmp_path / "d").rglob("circuit.json"))) == 9


def test_a_run_directory_is_exported(tmp_path: Path) -> None:
    model = hooked("gpt2")
    model.hf.save_pretrained(tmp_path / "model")
    shape = Shape.of(model.layout)
    scores = Scores(shape.graph.edges, np.random.default_rng(2).normal(size=(3, shape.n_edges)), provenance())
    circuit = edge_circuit(scores.parts[3:6])
    manifest = {"options": {"model": str(tmp_path / "model")}}
    with directory.open_run(tmp_path / "run", manifest) as folder:
        save_record(folder, Record(manifest, (scores,), circuit=circuit))
        with pytest.raises(InterpError, match="not complete"):
            export(folder, "parquet", tmp_path / "x.parquet")
        directory.complete(folder, directory.finished(manifest))
    for name, out in (("eap-ig", "x.json"), ("parquet", "x.parquet"), ("mib", "sub")):
        export(tmp_path / "run", name, tmp_path / out)
        found = read(tmp_path / out)
        assert same(found.scores, scores)
        assert found.circuit == (None if name == "mib" else circuit)
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["t_tiny"]


def test_export_names_what_it_cannot_use(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(InterchangeError, match="expected a run directory"):
        export(tmp_path / "x.txt", "dot", tmp_path / "o.dot")
    edge_scores(SMALL, model="no-such").save(tmp_path / "s.parquet")
    with pytest.raises(InterchangeError, match="needs the shape of model 'no-such'"):
        export(tmp_path / "s.parquet", "eap-ig", tmp_path / "o.json")
    with pytest.raises(InterpError, match="manifest"):
        export(tmp_path, "dot", tmp_path / "o.dot")
    assert not (tmp_path / "o.json").exists() and not (tmp_path / "o.dot").exists()


def test_what_import_does_not_know_is_said(tmp_path: Path) -> None:
    path = saved(tmp_path / "g.json", theirs(1, 2, False))
    paths, notes = import_file(path, tmp_path / "out")
    assert [p.name for p in paths] == ["scores.parquet", "circuit.json"] and "unknown" in notes[0]
    assert Scores.load(paths[0]).provenance.method == eap_contents.UNKNOWN
