"""What a manifest says of a model's weights: the files that they are from, what was unpacked, what was merged into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from circuits.runs.made_with import file_hashes
from interp.errors import some
from interp.formatting.numbers import count

if TYPE_CHECKING:
    from interp.model.model import HookedModel
    from interp.model.origin import Dequantised, Merged

#: In front of the names of an adapter's files, among those of the model.
_ADAPTER: Final = "adapter/"


def _files(model: HookedModel) -> dict[str, str]:
    """SHA-256 of every file that the weights were made of, by name; none for a model of the hub or in memory."""
    origin = model.origin
    files = file_hashes(Path(origin.path)) if origin.path else {}
    if origin.merged:
        files |= {f"{_ADAPTER}{name}": found for name, found in file_hashes(Path(origin.merged.folder)).items()}
    return files


def described(model: HookedModel) -> dict[str, Any]:
    """A model under the key of a manifest. Where its weights are not those of its files, `weights` says so in one line, and
    `dequantised`, `merged` and `left_out` say what was done."""
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
    said = []
    if gguf := origin.dequantised:
        found["dequantised"] = {**asdict(gguf), "sha256": files[gguf.file]}
        said.append(_unpacked(gguf, files[gguf.file]))
    if origin.merged:
        found["merged"] = asdict(origin.merged)
        said.append(_merged(origin.merged, files))
    if origin.left_out:
        found["left_out"] = list(origin.left_out)
        said.append(_left_out(found["architecture"], origin.left_out))
    return found | ({"weights": "; ".join(said)} if said else {})


def weights_line(manifest: Mapping[str, Any]) -> str:
    """What a manifest says was done to the weights; '' where they are those of the model's files."""
    found = manifest.get("model")
    line = found.get("weights") if isinstance(found, Mapping) else None
    return line if isinstance(line, str) else ""


def _unpacked(gguf: Dequantised, sha256: str) -> str:
    kinds = ", ".join(f"{count(n)} {kind}" for kind, n in gguf.tensors.items())
    what, also = ("dequantised", ", so they are not the published ones") if gguf.packed else ("read", "")
    kind = f"{gguf.file_type}, " if gguf.file_type else ""
    return f"{what} from the GGUF file {gguf.file} ({kind}tensors: {kinds}; sha256 {sha256}){also}"


def _merged(merged: Merged, files: Mapping[str, str]) -> str:
    from interp.model.loading.adapters import WEIGHTS

    base = f", trained on {merged.base}" if merged.base else ""
    return f"with adapters merged into them ({merged.kind} of {Path(merged.folder).name}{base}; sha256 {files[f'{_ADAPTER}{WEIGHTS}']})"


def _left_out(cls: str, names: tuple[str, ...]) -> str:
    return f"without {count(len(names))} of those in its files, which a {cls} does not have ({some(names)})"
