"""Commands to copy are written as the program was called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from circuits.console.printing import called


def test_commands_to_copy_are_written_as_the_program_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by its name: the name. Elsewhere, or another one is found: the path. As a module: the interpreter."""
    here, there = tmp_path / "here" / "circuits", tmp_path / "there is" / "circuits"
    for path in (here, there):
        path.parent.mkdir()
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(here.parent))
    said = {}
    for argv in (here, there, tmp_path / "__main__.py"):
        monkeypatch.setattr(sys, "argv", [str(argv)])
        said[argv.parent.name] = called("open", "my run")
    assert said["here"] == said[tmp_path.name] == "circuits open 'my run'"
    assert said["there is"] == f"'{there}' open 'my run'"
    monkeypatch.setenv("PATH", "")
    assert called("open", "r") == f"{sys.executable} -m circuits open r"
    monkeypatch.setattr(sys, "argv", [str(here)])
    assert called("open", "r") == f"{here} open r"
