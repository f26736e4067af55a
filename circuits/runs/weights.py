"""What is said of a model's weights wherever its numbers are: the files that they are from, what was unpacked, what was merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from circuits.runs.directory import file_hashes
from interp.errors import some
from interp.formatting.numbers import count
from interp.model.model import HookedModel

#: In front of the names of an adapter's files, among those of the model.
_ADAPTER = "adapter/"


def _files(model: HookedModel) -> dict[str, str]:
    """SHA-256 of every file that the weights were made of, by name; none for a model of the hub or in memory."""
    origin = model.origin
    files = file_hashes(Path(origin.path)) if origin.path else {}
    if origin.merged:
        files |= {f"{_ADAPTER}{name}": found for name, found in file_hashes(Path(origin.merged.folder)).items()}
    return files


def described(model: HookedModel) -> dict[str, Any]:
    """A model under the key of a manifest: `dequantised` and `merged` only where that was done."""
    origin, files = model.origin, _files(model)
    found: dict[str, Any] = {
        "name": model.name,
        "architecture": type(model.hf).__name__,
        "dtype": str(model.dtype),
        "device": str(model.device),
        "attention": str(model.hf.config._attn_implementation),
        "commit": getattr(model.hf.config, "_commit_hash", None),
        "files": files,
    }
    if origin.dequantised:
        found["dequantised"] = {**asdict(origin.dequantised), "sha256": files[origin.dequantised.file]}
    if origin.merged:
        found["merged"] = asdict(origin.merged)
    return found


def weights_line(found: Mapping[str, Any]) -> str:
    """What was done to the weights of a model as a manifest describes it, in one line; '' where they are those of its folder."""
    said = []
    if gguf := found.get("dequantised"):
        kinds = ", ".join(f"{count(n)} tensors {kind}" for kind, n in gguf["tensors"].items())
        what = "dequantised" if gguf["packed"] else "read"
        kind = f" ({gguf['file_type']})" if gguf["file_type"] else ""
        also = ": not the published weights" if gguf["packed"] else ""
        said.append(f"{what} from the GGUF file {gguf['file']}{kind}, {kinds}; sha256 {gguf['sha256']}{also}")
    if merged := found.get("merged"):
        base = f", trained on {merged['base']}" if merged["base"] else ""
        digests = [
            f"{name.removeprefix(_ADAPTER)} {sha}"
            for name, sha in found["files"].items()
            if name.endswith(".safetensors") and name.startswith(_ADAPTER)
        ]
        said.append(
            f"adapters merged into them: {merged['kind']} of {Path(merged['folder']).name}{base}; sha256 of {some(digests)}"
        )
    return "; ".join(said)
