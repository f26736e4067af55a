"""Run directories: created before the work, complete only after it, never overwritten unasked.

manifest.json   status (running, complete, failed, interrupted), command, versions, seeds, model file hashes, conventions
config.toml     the options of the run
and the files of the record: see `circuits.runs.record_files`
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from interp.errors import InterpError
from interp.files import write_text
from interp.folders import State, recover, replacing_folder, set_aside
from interp.formatting.guarded import read_json, reading
from interp.formatting.plain import rebuilt

FORMAT: Final = 1
#: The job of a run that is the table of a paper: no record of scores and a circuit.
REPRODUCE: Final = "reproduce"


class RunError(InterpError):
    """A run directory that cannot be made or read."""


def free_name(stem: str, parent: str | Path = "runs") -> Path:
    """`parent/stem`, or with the first free number behind it."""
    path, number = Path(parent) / stem, 2
    while path.exists() or set_aside(path).exists():
        path, number = Path(parent) / f"{stem}-{number}", number + 1
    return path


def is_run(path: Path) -> bool:
    """Whether `path` is a folder, after an older run that a killed process set aside is back in its place."""
    with suppress(OSError):  # where nothing may be written, what is there is read as it is
        recover(path, _state)
    return path.is_dir()


def folders_in(runs: Path) -> list[Path]:
    """The folders among which runs are, none of them set aside."""
    if not runs.is_dir():
        return []
    for path in list(runs.glob(".*.replaced")):
        is_run(path.with_name(path.name.removeprefix(".").removesuffix(".replaced")))
    return [path for path in runs.iterdir() if path.is_dir() and not path.name.startswith(".")]


def check_target(path: Path, force: bool) -> None:
    """Raises: RunError where `path` exists and may not be replaced. `force` replaces run directories and nothing else."""
    _recovered(path)
    if not path.exists():
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    if not force:
        raise RunError(f"{str(path)!r} exists; choose another --out, or --force to replace it.")
    if not (path / "manifest.json").is_file():
        raise RunError(f"{str(path)!r} is not a run directory (no manifest.json), so --force does not replace it.")


def _recovered(path: Path) -> None:
    """Raises: RunError where an older run that was set aside cannot be put back, or is not to be yet."""
    try:
        settled = recover(path, _state)
    except OSError as error:
        raise RunError(f"cannot write to {str(path)!r}: {error.strerror or error}.") from error
    if not settled:
        raise RunError(
            f"{str(set_aside(path))!r} holds an older run that was set aside: either another process replaces it now, which "
            f"will end, or {str(path)!r} is no run; then move one of the two first."
        )


def _state(path: Path) -> State:
    """What a run directory is found to be; one whose manifest was not yet written holds nothing but that."""
    if not (path / "manifest.json").exists():
        names = [found.name for found in path.iterdir()] if path.is_dir() else ["a file"]
        return "begun" if all(name.startswith(".manifest.json.") for name in names) else "foreign"
    try:
        return "whole" if read_manifest(path).get("status") == "complete" else "begun"
    except RunError:
        return "foreign"


@contextmanager
def open_run(path: Path, manifest: Mapping[str, Any], *, force: bool = False) -> Iterator[Path]:
    """A new run directory: its manifest says running, then complete, failed with the reason, or interrupted.

    With `force`, an older run at `path` is set aside first, deleted when the new one is complete and put back when it
    fails, or by the next command where this one is killed. Raises: RunError where the directory may not be written.
    """
    check_target(path, force)
    with ExitStack() as stack:
        replaced = path.exists()
        try:
            if replaced:
                stack.enter_context(replacing_folder(path, _state))
            path.mkdir(parents=True)
            _write_manifest(path, {**manifest, "status": "running"})
        except OSError as error:
            raise RunError(f"cannot write to {str(path)!r}: {error.strerror or error}.") from error
        try:
            yield path
        except BaseException as error:
            if not replaced:
                status = "interrupted" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "failed"
                reason = f"{type(error).__name__}: {error}"
                _write_manifest(path, {**read_manifest(path), "status": status, "error": reason})
            raise


def finished(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a run that is complete now: what its report shows and `complete` writes."""
    return {"format": FORMAT, **manifest, "status": "complete", "finished": now()}


def complete(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a finished manifest, the last file of a run."""
    _write_manifest(path, manifest)


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    write_text(path / "manifest.json", json.dumps({"format": FORMAT, **manifest}, indent=1))


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a run directory. Raises: RunError for another folder or format."""
    with reading(f"{str(path)!r} is not a run directory: manifest.json", RunError):
        manifest = read_json(path / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise RunError(f"{str(path)!r}: its manifest is not of format {FORMAT}.")
    with reading(f"{str(path / 'manifest.json')!r}", RunError):
        for name, kind in _KINDS.items():
            if name in manifest:
                rebuilt(kind, manifest[name])
    return manifest


#: What is read of a manifest, where it is there; its other keys are shown as they are.
_KINDS: Final[Mapping[str, Any]] = {
    "status": str,
    "job": str,
    "options": dict,
    "model": dict,
    "task": dict,
}
