"""Commands whose output goes to a file of an encoding that lacks characters: none of them fails for it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from circuits.cli import app
from circuits.jobs.starting import prompts_text

ENCODINGS = ("cp1252", "ascii", "latin-1")
DISCOVER = ("discover", "--level", "blocks", "--method", "relp", "--random", "2", "--out", "r", "--force")


def _called(monkeypatch: pytest.MonkeyPatch, encoding: str, *args: str) -> tuple[int, str, str]:
    """Exit code and what reached both streams."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=e) for e in ("strict", "backslashreplace")]
    monkeypatch.setattr(sys, "argv", ["circuits", *args])
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    with pytest.raises(SystemExit) as stopped:
        app.main()
    for stream in streams:
        stream.flush()
    out, err = (s.buffer.getvalue().decode(encoding) for s in streams)  # type: ignore[attr-defined]
    return int(stopped.value.code or 0), out, err


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_run_and_all_that_reads_it(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{**json.loads(line), "clean": "→ 中 " + json.loads(line)["clean"]} for line in prompts_text().splitlines()]
    rows = [{**row, "corrupt": "→ 中 " + row["corrupt"]} for row in rows]
    Path("中文−.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    code, out, err = _called(monkeypatch, encoding, *DISCOVER, "--task", "中文−.jsonl")
    assert code == 0, err
    assert "\\u4e2d\\u6587-" in out and f"the encoding {encoding}" in err.replace("iso8859-1", "latin-1")
    for args in (
        ("evaluate", "r", "--random", "2", "--tests", "2"), ("stability", "r"), ("diff", "r", "r"), ("report", "r"),
        ("export", "r", "--out", "→.svg"),
    ):  # fmt: skip
        code, _, err = _called(monkeypatch, encoding, *args)
        assert code == 0, (args, err)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_lists_and_helps(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.main import get_command

    names = list(get_command(app.app).commands)  # type: ignore[attr-defined]
    for args in (["tasks"], ["methods"], ["models"], ["sites"], *([name, "--help"] for name in names)):
        code, out, err = _called(monkeypatch, encoding, *args)
        assert code == 0 and out, (args, err)


def test_an_error_is_told_in_an_encoding_that_lacks_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = _called(monkeypatch, "cp1252", "report", "нет−такого")
    assert code == 2 and "\\u043d" in err
