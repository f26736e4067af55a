"""Runs that are replaced, by a process that is killed: the next command finds a complete one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuits.runs import directory
from circuits.runs.directory import RunError
from circuits.runs.record_files import load_record
from interp.folders import set_aside


def _run(path: Path, status: str | None, mark: str) -> Path:
    path.mkdir(parents=True)
    (path / mark).write_text(mark)
    if status is not None:
        (path / "manifest.json").write_text(json.dumps({"format": 1, "status": status}))
    return path


def _left(path: Path) -> set[str]:
    return {p.name for p in path.iterdir()} - {"manifest.json"}


@pytest.mark.parametrize("new", ["running", "failed", "interrupted", "no folder", "empty", "first file half written"])
def test_an_unfinished_run_gives_way_to_the_old_one(new: str, tmp_path: Path) -> None:
    path = tmp_path / "r"
    _run(set_aside(path), "complete", "old")
    if new == "empty":
        path.mkdir()
    elif new == "first file half written":
        _run(path, None, ".manifest.json.abc")
    elif new != "no folder":
        _run(path, new, "new")
    assert directory.is_run(path)
    assert _left(path) == {"old"} and [p.name for p in tmp_path.iterdir()] == ["r"]


def test_a_complete_run_stays_and_the_old_one_goes(tmp_path: Path) -> None:
    path = _run(tmp_path / "r", "complete", "new")
    _run(set_aside(path), "complete", "old")
    assert directory.is_run(path)
    assert _left(path) == {"new"} and [p.name for p in tmp_path.iterdir()] == ["r"]


def test_force_goes_on_after_a_killed_force(tmp_path: Path) -> None:
    path = _run(tmp_path / "r", "running", "new")
    _run(set_aside(path), "complete", "old")
    with directory.open_run(path, {"job": "discover"}, force=True) as folder:
        assert _left(set_aside(path)) == {"old"}
        directory.complete(folder, directory.finished({}))
    assert directory.read_manifest(path)["status"] == "complete" and [p.name for p in tmp_path.iterdir()] == ["r"]


def test_what_was_recovered_is_not_replaced_without_force(tmp_path: Path) -> None:
    path = tmp_path / "r"
    _run(set_aside(path), "complete", "old")
    with pytest.raises(RunError, match="exists; choose another --out"):
        directory.check_target(path, force=False)
    assert _left(path) == {"old"}


def test_an_interrupt_puts_the_old_run_back_at_once(tmp_path: Path) -> None:
    path = _run(tmp_path / "r", "complete", "old")
    with pytest.raises(KeyboardInterrupt), directory.open_run(path, {}, force=True):
        raise KeyboardInterrupt
    assert _left(path) == {"old"} and [p.name for p in tmp_path.iterdir()] == ["r"]


def test_an_interrupt_after_the_end_keeps_the_new_run(tmp_path: Path) -> None:
    path = _run(tmp_path / "r", "complete", "old")
    with pytest.raises(KeyboardInterrupt), directory.open_run(path, {}, force=True) as folder:
        directory.complete(folder, directory.finished({}))
        raise KeyboardInterrupt
    assert _left(path) == set() and [p.name for p in tmp_path.iterdir()] == ["r"]


def test_a_run_that_is_replaced_now_is_not_touched(tmp_path: Path) -> None:
    path = _run(tmp_path / "r", "complete", "old")
    with directory.open_run(path, {}, force=True) as folder:
        with pytest.raises(RunError, match="running"):
            load_record(path)
        with pytest.raises(RunError, match="another process replaces it now"):
            directory.check_target(path, force=True)
        assert folder.is_dir() and set_aside(path).is_dir()
        directory.complete(folder, directory.finished({}))


def test_a_folder_of_a_user_at_the_place_of_a_run_is_left_alone(tmp_path: Path) -> None:
    path = _run(tmp_path / "r", None, "letter.txt")
    _run(set_aside(path), "complete", "old")
    with pytest.raises(RunError, match="is no run; then move one of the two first"):
        directory.check_target(path, force=True)
    assert _left(path) == {"letter.txt"} and _left(set_aside(path)) == {"old"}


def test_the_folder_that_one_works_in_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(tmp_path / "r", "complete", "old")
    monkeypatch.chdir(tmp_path / "r")
    assert directory.is_run(Path())
    with pytest.raises(RunError, match="give it by its name"), directory.open_run(Path(), {}, force=True):
        pytest.fail("replaced")
    assert _left(tmp_path / "r") == {"old"}


def test_runs_that_were_set_aside_are_found_again_and_never_listed_twice(tmp_path: Path) -> None:
    _run(set_aside(tmp_path / "a"), "complete", "old")
    _run(tmp_path / "b", "complete", "b")
    assert sorted(p.name for p in directory.folders_in(tmp_path)) == ["a", "b"]
    assert directory.free_name("b", tmp_path).name == "b-2"
