"""A run that failed is marked and not loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuits.runs.directory import RunError, open_run
from circuits.runs.record_files import load_record


def test_a_failed_run_is_marked_and_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="odd"), open_run(tmp_path / "r", {}):
        raise ValueError("odd")
    with pytest.raises(RunError, match="failed"):
        load_record(tmp_path / "r")
