"""The folder of a training run: `training.json` says what was asked and whether it is done; dictionaries stand beside it.

training.json   status (running, complete), identity, log of measures by step, figures of the end
checkpoint/     while it runs
cfg.json, sae_weights.safetensors     the dictionary; of several, NAME/ for each
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.saelens import CONFIG, WEIGHTS
from interp.dictionaries.storage import save_dictionary
from interp.files import write_text

FORMAT: Final = 1
RECORD: Final = "training.json"
RUNNING: Final = "running"
COMPLETE: Final = "complete"


def read_record(out: str | Path) -> dict[str, Any] | None:
    """What `training.json` of a folder says; None where there is none. Raises: DictionaryError for a damaged one."""
    path = Path(out) / RECORD
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise DictionaryError(
                f"{path}: format {found['format']!r}; this version reads format {FORMAT}. Train again."
            )
        return {**found, "identity": dict(found["identity"]), "status": str(found["status"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DictionaryError(f"{path} cannot be read ({type(error).__name__}: {error}).") from error


def write_record(out: Path, record: Mapping[str, Any]) -> None:
    """Write `training.json` at once."""
    write_text(out / RECORD, json.dumps({"format": FORMAT, **record}, indent=1) + "\n")


def check_out(out: Path, resume: bool, word: str = "resume") -> dict[str, Any] | None:
    """The record of the run to go on with; None for a new one. word: what `resume` is called where the caller set it.

    Raises: DictionaryError where the folder holds a run and `resume` is not set, none and it is set, or something else than a run.
    """
    if out.exists() and not out.is_dir():
        raise DictionaryError(f"{str(out)!r} is a file; expected a folder, new or empty.")
    if not out.exists() or all(path.name[0] == "." for path in out.iterdir()):  # a run killed at its first file
        if resume:
            raise DictionaryError(f"nothing to resume at {str(out)!r}: no run there; leave out {word} to begin one.")
        return None
    found = read_record(out)
    if found is None:
        raise DictionaryError(f"{str(out)!r} is not empty and holds no training run; choose another folder.")
    if not resume:
        stands = "finished" if found["status"] == COMPLETE else "not finished"
        raise DictionaryError(
            f"{str(out)!r} holds a training run ({stands}): go on with {word}, or choose another folder."
        )
    return found


def begin(out: Path, identity: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
    """Make the folder of a new run. Raises: DictionaryError where it cannot be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_record(out, {"status": RUNNING, "identity": identity, "environment": environment})
    except OSError as error:
        raise DictionaryError(f"cannot write to {str(out)!r}: {error.strerror or error}.") from error


def places(out: Path, names: Sequence[str]) -> list[Path]:
    """Where the dictionaries of a run are: in the folder itself, or several in a folder each."""
    return [out] if len(names) == 1 else [out / name for name in names]


def save_all(out: Path, found: Sequence[Dictionary]) -> None:
    """Write the dictionaries, over what a run that was killed here has left."""
    for d, folder in zip(found, places(out, [d.name for d in found]), strict=True):
        for name in (CONFIG, WEIGHTS):
            (folder / name).unlink(missing_ok=True)
        save_dictionary(d, folder)


def environment(threads: int, device: str) -> dict[str, Any]:
    """What the bits of a run depend on beside its settings."""
    found: dict[str, Any] = {"threads": threads, "device": device}
    for name in ("relevance-circuits", "torch", "transformers", "sae-lens"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def peak_memory() -> int:
    """The most bytes that this process has held in memory."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if os.uname().sysname == "Darwin" else peak * 1024
