"""`circuits export` of pictures: the format is that of the extension."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.circuits.cli.called import calling
from tests.circuits.report.test_picture import drawn, titles
from tests.circuits.runs.edge_records import edge_record


def test_export_tells_the_format_by_the_extension(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = calling(monkeypatch, capsys)
    record = edge_record(n=12)
    assert record.circuit is not None
    record.circuit.save(tmp_path / "circuit.json")
    code, out, _ = run("export", str(tmp_path / "circuit.json"), str(tmp_path / "c.svg"))
    assert code == 0 and "c.svg" in out
    assert {e.name for e in record.circuit.edges} <= {
        title.partition(": ")[0] for title in titles(drawn(tmp_path / "c.svg"))
    }
    assert run("export", str(tmp_path / "circuit.json"), str(tmp_path / "c.svg"))[0] == 2
    code, _, err = run("export", str(tmp_path / "circuit.json"))
    assert code == 2 and "give the file to write" in err
