"""`circuits open`: the report of a run in the user's browser."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

from circuits.console import printing
from circuits.runs.directory import RunError, folders_in, is_run, read_manifest

RUNS: Final = Path("runs")
REPORT: Final = "report.html"
#: What `sae train` writes in the place of a manifest.
TRAINING: Final = "training.json"


def open_report(folder: Path | None) -> None:
    """Open the report of a run, by default the newest under runs/; say where it is. Raises: RunError."""
    found = newest(RUNS) if folder is None else folder
    _check(found)
    report = (found / REPORT).resolve()
    printing.lines(str(report))
    if not _shown(report.as_uri()):
        printing.say("no browser was opened; open this file in one")


def newest(runs: Path) -> Path:
    """The run directory that was completed last. Raises: RunError where there is none."""
    complete = [path for path in folders_in(runs) if _status(path) == "complete" and (path / REPORT).is_file()]
    if not complete:
        raise RunError(f"no complete run in {str(runs)!r}: give its directory, or make one with: circuits discover.")
    return max(complete, key=lambda path: ((path / REPORT).stat().st_mtime_ns, path.name))


def _check(folder: Path) -> None:
    if not is_run(folder):
        raise RunError(f"{str(folder)!r} is no directory; expected that of a run.")
    status = _status(folder)
    if status is None:
        read_manifest(folder)
    if status != "complete":
        raise RunError(f"{str(folder)!r} is not complete: its status is {status!r}.")
    if not (folder / REPORT).is_file():
        raise RunError(f"{str(folder)!r} has no {REPORT}; make it again with: circuits report {folder}")


def _status(folder: Path) -> str | None:
    """What its manifest says of a run; None for another folder."""
    import json

    for name in ("manifest.json", TRAINING):
        try:
            found: Any = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(found, dict) and isinstance(found.get("status"), str):
            return str(found["status"])
    return None


def _shown(address: str) -> bool:
    """Whether a browser took it: only where somebody looks on, and a screen or a browser of one's own choice is there."""
    import webbrowser

    screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    if not (sys.stdout.isatty() and screen):
        return False
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
