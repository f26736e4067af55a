"""A file is written whole, or not at all, and takes the place of a file only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from interp.errors import InterpError
from interp.files import write_text


def test_the_old_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    for text in ("old", "new"):
        write_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_and_a_pipe_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("folder", "is a folder"), ("pipe", "is a device or a pipe")):
        with pytest.raises(InterpError, match=f"{name}.* {said}; expected a file"):
            write_text(tmp_path / name, "text")
    assert (tmp_path / "folder").is_dir()
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]
