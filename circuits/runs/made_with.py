"""What a manifest says of how a run was made: versions, packages, files, options, the machine."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from interp.registries import loaded


def versions() -> dict[str, str]:
    """The versions of everything that makes the numbers."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("relevance-circuits", "torch", "transformers", "transformer-lens", "captum", "numpy", "pandas"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    for name in ("gguf", "peft"):  # which read and merge weights where they are asked to
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def packages() -> dict[str, dict[str, str]]:
    """What came from other packages, under the key of a manifest: nothing where nothing was loaded."""
    found = loaded()
    return {"packages": found} if found else {}


def file_hashes(place: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, or of the one file, by name."""
    hashes = {}
    for path in [place] if place.is_file() else sorted(p for p in place.iterdir() if p.is_file()):
        with path.open("rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def to_toml(options: Mapping[str, Any]) -> str:
    """A flat TOML file of the options; those that were not given are left out."""
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in options.items() if value is not None]
    return "\n".join(lines) + "\n"


def machine() -> dict[str, Any]:
    """What a run ran on."""
    import torch

    return {"system": platform.system(), "processor": platform.machine(), "threads": torch.get_num_threads()}
