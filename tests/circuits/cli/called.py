"""The command line called in this process, in an empty folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from circuits.cli import app

Run = Callable[..., tuple[int, str, str]]


def calling(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *before: str) -> Run:
    """Calls `circuits BEFORE ARGS`: (exit code, standard output, standard error)."""

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["circuits", *before, *args])
        with pytest.raises(SystemExit) as stopped:
            app.main()
        seen = capsys.readouterr()
        return int(stopped.value.code or 0), seen.out, seen.err

    return call


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call `circuits ARGS` in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    return calling(monkeypatch, capsys)
