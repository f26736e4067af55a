"""Replacing a folder so that the old one is never lost, at whatever moment the process is killed.

Meanwhile the old folder is `.NAME.replaced` beside the new one, and `.NAME.lock` is locked by the process that writes: the
system takes the lock away from a process that is killed. The next command that looks puts back what was left (`recover`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

#: What a folder is found to be: whole; begun here and not finished; or none that a replacement could have left.
State = Literal["whole", "begun", "foreign"]
Look = Callable[[Path], State]


def set_aside(path: Path) -> Path:
    """Where the old folder is meanwhile."""
    return path.with_name(f".{path.name}.replaced")


def _begun(path: Path) -> Path:
    """Where a new folder that was not finished is while it is deleted."""
    return path.with_name(f".{path.name}.unfinished")


@contextmanager
def replacing_folder(path: Path, look: Look) -> Iterator[None]:
    """The old folder at `path` is set aside, deleted when the new one is whole, and put back when the block fails before.

    Raises: OSError where it cannot be set aside; BlockingIOError where another process replaces it now.
    """
    if not path.name:
        raise OSError(None, "the folder that one works in cannot be replaced; give it by its name from elsewhere")
    with _locked(path) as mine:
        if not mine:
            raise BlockingIOError(None, "another process replaces it now")
        path.rename(set_aside(path))
        try:
            yield
        finally:
            _settle(path, look)


def recover(path: Path, look: Look) -> bool:
    """Whether `path` can be used: what a killed process left is settled: a new folder that is whole stays, else the old one is back.

    Nothing is touched where a process still writes, or where `path` is not of a kind that a replacement leaves.
    """
    if not path.name or not (set_aside(path).exists() or _begun(path).exists()):
        return True
    with _locked(path) as mine:
        return mine and _settle(path, look)


def _settle(path: Path, look: Look) -> bool:
    """Every step leaves what the same steps settle when they are begun again."""
    old, begun = set_aside(path), _begun(path)
    _remove(begun)
    if not old.exists():
        return True
    state = look(path) if path.exists() else "begun"
    if state == "whole":
        _remove(old)
    elif state == "begun":
        if path.exists():
            path.rename(begun)
        old.rename(path)
        _remove(begun)
    return state != "foreign"


def _remove(path: Path) -> None:
    """A folder, or a link to one; what cannot be deleted stays for the next time."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether this process alone may replace the folder meanwhile."""
    lock = path.with_name(f".{path.name}.lock")
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    mine = False
    try:
        mine = _lock(handle) and _still(handle, lock)
        yield mine
    finally:
        if mine and os.name == "posix":
            lock.unlink(missing_ok=True)
        os.close(handle)


def _still(handle: int, lock: Path) -> bool:
    """Whether the file is still the one at its name: its last owner may have deleted it in between."""
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False


def _lock(handle: int) -> bool:
    """Lock an open file without waiting; a file system that has no locks is used without."""
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True
