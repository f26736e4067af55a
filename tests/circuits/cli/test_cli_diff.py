"""`circuits diff`: two runs as tables, JSON and one page; bad input is one line, exit code 2, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuits.runs.record import Record
from circuits.runs.record_files import save_record
from tests.circuits.cli.called import Run, calling
from tests.circuits.runs.edge_records import edge_record
from tests.circuits.runs.records import a_record


def saved(folder: Path, record: Record, status: str = "complete") -> None:
    """A run directory that holds this record."""
    folder.mkdir()
    save_record(folder, record)
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "status": status, "command": ["circuits", "x"]}))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call `circuits diff ARGS` beside three runs: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "heads", a_record())
    saved(tmp_path / "edges", edge_record())
    saved(tmp_path / "broken", a_record(), status="failed")
    return calling(monkeypatch, capsys, "diff")


def test_a_run_beside_its_own_circuit(run: Run, tmp_path: Path) -> None:
    code, out, err = run("heads", "heads/circuit.json", "--out", "both.html")
    assert code == 0 and "not comparable" not in err
    circuit = a_record().circuit
    assert circuit is not None and f"{len(circuit)}" in out and "1.000" in out
    page = (tmp_path / "both.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and "heads/circuit.json" in page


def test_json_is_the_only_thing_on_standard_output(run: Run) -> None:
    code, out, _ = run("heads", "edges", "--json")
    found = json.loads(out)
    assert code == 0 and found["parts"]["unmatched"].startswith("different level") and found["page"] is None
    assert found["ranking"] == [] and found["scores"]["pearson"] is None


def test_warnings_stand_on_standard_error(run: Run) -> None:
    code, out, err = run("heads", "edges")
    assert code == 0 and "WARNING: different level" in err and "WARNING" not in out


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["heads", "nowhere"], "nowhere"),
        (["heads", "broken"], "not complete"),
        (["heads", "heads/scores.parquet"], "scores.parquet"),
        (["heads", "edges", "--out", "missing/x.html"], "missing"),
        (["heads", "edges", "--out", "heads"], "heads"),
        (["heads"], "Missing argument"),
    ],
)
def test_bad_input_is_one_line(run: Run, tmp_path: Path, args: list[str], word: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*args)
    assert (code, out) == (2, "") and word in err and len(err.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_an_existing_file_stays_unless_force_is_given(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("mine")
    assert run("heads", "edges", "--out", "mine.html")[0] == 2
    assert (tmp_path / "mine.html").read_text() == "mine"
    assert run("heads", "edges", "--out", "mine.html", "--force")[0] == 0
    assert (tmp_path / "mine.html").read_text().startswith("<!DOCTYPE")
