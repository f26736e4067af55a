"""A folder that is replaced, with the process killed before each of its file operations: one whole folder is always left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from interp.folders import State, recover, replacing_folder, set_aside

#: Replaces `r` and is killed before the operation of this number; says "done" where there were fewer.
KILLED = """
import os, sys
from pathlib import Path
from interp.folders import recover, replacing_folder
path, kill, fails = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "fails"
count = 0
def seen(event, args):
    global count
    if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate") or event == "open" and str(path.parent) in str(args[0]):
        count += 1
        if count == kill:
            os._exit(9)
look = lambda p: (p / "state").read_text() if (p / "state").exists() else "begun"
sys.addaudithook(seen)
try:
    with replacing_folder(path, look):
        path.mkdir()
        (path / "state").write_text("begun")
        (path / "new").write_text("new")
        if fails:
            raise ValueError
        (path / "state.part").write_text("whole")
        os.replace(path / "state.part", path / "state")
except ValueError:
    pass
os._exit(0)
"""


def _look(path: Path) -> State:
    return (path / "state").read_text() if (path / "state").exists() else "begun"  # type: ignore[return-value]


def _old(folder: Path) -> Path:
    path = folder / "r"
    path.mkdir()
    for name in ("state", "old", "more"):
        (path / name).write_text("whole")
    return path


@pytest.mark.parametrize("how", ["ends well", "fails"])
def test_wherever_it_is_killed_the_old_or_the_new_folder_is_whole(how: str, tmp_path: Path) -> None:
    kill, ended = 0, False
    kept: list[str] = []
    while not ended:
        kill += 1
        (folder := tmp_path / str(kill)).mkdir()
        path = _old(folder)
        call = [sys.executable, "-c", KILLED, str(path), str(kill), how]
        ended = subprocess.run(call, check=False).returncode == 0
        assert recover(path, _look)
        names = {found.name for found in path.iterdir()}
        assert _look(path) == "whole" and names in ({"state", "old", "more"}, {"state", "new"}), (kill, names)
        kept.append("old" if "old" in names else "new")
        assert not [p for p in folder.iterdir() if p.name.endswith((".replaced", ".unfinished"))]
        assert recover(path, _look)
    assert kill > 8 and kept[0] == "old" and kept[-1] == ("old" if how == "fails" else "new")
    assert kept == sorted(kept, reverse=True), "once the new one is whole it stays"


def test_a_folder_that_is_written_now_is_left_alone(tmp_path: Path) -> None:
    path = _old(tmp_path)
    with replacing_folder(path, _look):
        path.mkdir()
        assert not recover(path, _look) and set_aside(path).exists()
        with pytest.raises(BlockingIOError), replacing_folder(path, _look):
            pytest.fail("two at once")
        (path / "state").write_text("whole")
    assert not set_aside(path).exists() and [p.name for p in tmp_path.iterdir()] == ["r"]


def test_a_folder_that_no_replacement_made_is_left_alone(tmp_path: Path) -> None:
    path = _old(tmp_path)
    path.rename(set_aside(path))
    path.mkdir()
    (path / "state").write_text("foreign")
    (path / "mine").write_text("x")
    assert not recover(path, _look)
    assert (path / "mine").exists() and (set_aside(path) / "old").exists()


def test_nothing_set_aside_is_nothing_to_do(tmp_path: Path) -> None:
    assert recover(tmp_path / "absent", _look) and not list(tmp_path.iterdir())
