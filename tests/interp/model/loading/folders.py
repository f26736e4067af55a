"""Model folders, whole and damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from interp.model.loading.load import DEMO
from tests.interp.model.tiny import tiny


def copy_of_demo(folder: Path) -> Path:
    """The embedded model, writable."""
    shutil.copytree(DEMO, folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


def saved(folder: Path, name: str = "llama", **options: Any) -> Path:
    """A tiny model without tokeniser."""
    tiny(name, **options).save_pretrained(folder)
    return folder


def set_key(folder: Path, file: str, key: str, value: Any) -> None:
    found = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**found, key: value}))


def change_weights(folder: Path, drop: tuple[str, ...] = (), **new: Any) -> None:
    """Leave out the weights whose names contain one of `drop`, and put others in."""
    path = folder / "model.safetensors"
    kept = {name: t for name, t in load_file(path).items() if not any(part in name for part in drop)}
    save_file({**kept, **new}, path, metadata={"format": "pt"})
