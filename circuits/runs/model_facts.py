"""What a manifest says of a model: enough to know whether another run was of the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from circuits.runs.directory import file_hashes


def model_facts(model: Any) -> dict[str, Any]:
    """Name, class, numbers, device, and SHA-256 of every file of its folder."""
    return {
        "name": model.name,
        "architecture": type(model.hf).__name__,
        "dtype": str(model.dtype),
        "device": str(model.device),
        "attention": str(model.hf.config._attn_implementation),
        "commit": getattr(model.hf.config, "_commit_hash", None),
        "files": file_hashes(Path(model.folder)) if model.folder else {},
    }
