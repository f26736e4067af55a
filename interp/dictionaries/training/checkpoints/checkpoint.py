"""Checkpoints: a folder of safetensors and one JSON, written aside and renamed, so that there is always a whole one.

    checkpoint/step-00000400/state.json, NAME.safetensors, ...

A process killed while it writes leaves the last checkpoint as it was and a hidden folder, which the next one removes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from interp.dictionaries.activation import DictionaryError

FORMAT: Final = 1
FOLDER: Final = "checkpoint"
STATE: Final = "state.json"
_STEP: Final = "step-"

Tensors = Mapping[str, Tensor]


def write(out: Path, step: int, state: Mapping[str, Any], files: Mapping[str, Tensors]) -> None:
    """Write one checkpoint and remove the older ones. `files`: name -> tensors by key.

    Raises: DictionaryError where it cannot be written; the last checkpoint is then still there.
    """
    from safetensors import SafetensorError

    top = out / FOLDER
    aside, place = top / f".{_STEP}{step:08d}.part", top / f"{_STEP}{step:08d}"
    try:
        top.mkdir(exist_ok=True)
        _remove_parts(top)
        aside.mkdir()
        for name, tensors in files.items():
            _write_tensors(aside / f"{name}.safetensors", tensors)
        _write_json(aside / STATE, {**state, "format": FORMAT, "step": step, "files": sorted(files)})
        aside.rename(place)
        _sync(top)
        for older in _steps(top):
            if older != place:
                shutil.rmtree(older)
    except (OSError, SafetensorError) as error:  # the latter for a full disk too
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DictionaryError(f"cannot write a checkpoint to {str(top)!r}: {reason}.") from error


def read(out: Path, keys: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]] | None:
    """The state, with at least these keys, and the tensors, by file, of the last checkpoint; None where there is none.

    Raises: DictionaryError for one that is damaged, or of another version of this format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found = _steps(out / FOLDER)
    if not found:
        return None
    last = found[-1]
    try:
        state = json.loads((last / STATE).read_text(encoding="utf-8"))
        if state["format"] != FORMAT:
            raise DictionaryError(
                f"{last}: a checkpoint of format {state['format']!r}; this version goes on from format {FORMAT}. Train again."
            )
        if missing := sorted(set(keys) - set(state)):
            raise DictionaryError(f"checkpoint {str(last)!r} has no {', '.join(missing)}. Train again.")
        return state, {name: load_file(last / f"{name}.safetensors") for name in state["files"]}
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DictionaryError(
            f"checkpoint {str(last)!r} is damaged ({type(error).__name__}: {error}). Train again."
        ) from error


def remove(out: Path) -> None:
    """Remove all checkpoints of a run."""
    if (out / FOLDER).is_dir():
        shutil.rmtree(out / FOLDER)


def _steps(top: Path) -> list[Path]:
    """The whole checkpoints, oldest first."""
    return sorted(path for path in top.glob(f"{_STEP}*") if path.is_dir())


def _remove_parts(top: Path) -> None:
    for part in top.glob(f".{_STEP}*.part"):
        shutil.rmtree(part)


def _write_tensors(path: Path, tensors: Tensors) -> None:
    from safetensors.torch import save_file

    save_file({key: _own(x) for key, x in tensors.items()}, path)
    _sync(path)


def _own(x: Tensor) -> Tensor:
    """The tensor on the CPU with memory of its own: safetensors refuses views of shared memory."""
    x = x.detach().cpu().contiguous()
    return x if x.untyped_storage().nbytes() == x.numel() * x.element_size() else x.clone()


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")
    _sync(path)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk: a rename must not come there first."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
