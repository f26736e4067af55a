"""The file NAME.provenance.json beside a file whose format has no field for how its numbers came about.

It names the files that it speaks of by their SHA-256: one that was changed since is not what it describes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from circuits.circuit.circuit import Circuit
from circuits.interchange.contents import Contents, as_data, circuit_of, provenance_of
from circuits.interchange.strict import InterchangeError, members, read_json
from interp.files import write_text
from interp.scores.provenance import Provenance

FORMAT: Final = 1
SUFFIX: Final = ".provenance.json"


@dataclass(frozen=True)
class About:
    """What is known of one file: how its scores came about, and the circuit in it; None for what it does not hold."""

    scores: Provenance | None
    circuit: Circuit | None


def path_beside(path: Path) -> Path:
    """Where the provenance of a file or folder is kept."""
    return path.with_name(path.name.removesuffix(".json") + SUFFIX)


def digest(text: str) -> str:
    """SHA-256 of the text of a file."""
    return hashlib.sha256(text.encode()).hexdigest()


def save(path: Path, texts: Mapping[str, str], held: Mapping[str, Contents]) -> None:
    """Write the provenance of files: name -> text, and name -> what that text was made of."""
    files = {name: {"sha256": digest(text), **as_data(held[name])} for name, text in texts.items()}
    write_text(path, json.dumps({"format": FORMAT, "files": files}, indent=1))


def load(path: Path) -> dict[str, tuple[str, About]]:
    """Name -> (SHA-256, what is known of the file); nothing where there is no such file.

    Raises: InterchangeError for a damaged file, another format or unknown keys.
    """
    if not path.is_file():
        return {}
    where = repr(str(path))
    data = members(where, read_json(path), ("format", "files"))
    if data["format"] != FORMAT or not isinstance(data["files"], dict):
        raise InterchangeError(f"{where} has format {data['format']!r}; expected {FORMAT}.")
    return {name: _about(f"{where}: {name}", entry) for name, entry in data["files"].items()}


def _about(where: str, entry: Any) -> tuple[str, About]:
    entry = members(where, entry, ("sha256", "scores", "circuit"))
    scores, circuit = entry["scores"], entry["circuit"]
    about = About(
        None if scores is None else provenance_of(where, scores),
        None if circuit is None else circuit_of(where, circuit),
    )
    return str(entry["sha256"]), about


def of_file(path: Path, known: Mapping[str, tuple[str, About]], name: str, beside: Path) -> About | None:
    """What is known of the file at `path`; None if nothing. Raises: InterchangeError where it was changed since."""
    if name not in known:
        return None
    wanted, about = known[name]
    if hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
        raise InterchangeError(
            f"{str(path)!r} is not the file that {beside.name!r} describes: it was changed since. Delete {beside.name!r} to read it as it is."
        )
    return about
