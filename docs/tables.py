"""How tables are written, into pages and to the terminal: pipe tables, names in code type, weights, lines that are seen at once; and how
what they are made of is kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A pipe table; pipes in cells are escaped."""
    lines = [list(header), ["---"] * len(header), *([str(c) for c in row] for row in rows)]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)


def code(names: Iterable[object]) -> str:
    """Names in code type, joined by commas; a dash for none."""
    return ", ".join(f"`{name}`" for name in names) or "-"


def weights_of(files: Mapping[str, str]) -> dict[str, str]:
    """Of the sha256 of a model's files by name, as a manifest has them, those of its weights."""
    return {name: value for name, value in files.items() if name.endswith((".safetensors", ".gguf"))}


def hashes(files: Mapping[str, str]) -> list[str]:
    """The sha256 of files, a piece of text for each."""
    return [f"`{name}` sha256 `{value}`" for name, value in files.items()]


def kept(path: Path, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured: as the file has it, or now, and written there."""
    if not path.exists():
        path.write_text(json.dumps(measured(), indent=1) + "\n")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def say(line: str) -> None:
    """Print a line that is seen at once, also through a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
