"""What a command that looks inside a model leaves: what it found in sentences, numbers and sections, as plain data in one file.

Everything on the page of such a run stands in that file, so that the page is made again from it, without the model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from circuits.runs.directory import RunError, read_manifest
from interp.files import write_text
from interp.formatting.guarded import read_json, reading
from interp.formatting.plain import plain, rebuilt
from interp.formatting.table import Table
from interp.formatting.text import token

#: The file of what was found, by which such a run is known.
FILE: Final = "looked.json"
MOST_ROWS: Final = 50
Cell = bool | int | float | str | None


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A bar for each name, from zero. unit: what the values are, in words."""

    names: tuple[str, ...]
    values: tuple[float, ...]
    unit: str

    def __post_init__(self) -> None:
        _check("Bars", len(self.names), len(self.values))


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Values [row column], None where there is none; the first row is drawn lowest, as layers are. signed: zero is the middle."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    unit: str
    row_title: str
    column_title: str
    signed: bool = True

    def __post_init__(self) -> None:
        _check("HeatMap", len(self.rows), len(self.values))
        for line in self.values:
            _check("HeatMap", len(self.columns), len(line))


@dataclass(frozen=True)
class Line:
    """One line of a chart; None where it has a gap."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Lines over the same places, which ascend."""

    x: tuple[float, ...]
    lines: tuple[Line, ...]
    x_title: str
    y_title: str

    def __post_init__(self) -> None:
        for line in self.lines:
            _check("Lines", len(self.x), len(line.values))


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The first rows of a table as they are shown, and how many it has in all."""

    columns: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]
    n: int

    def __post_init__(self) -> None:
        for line in self.lines:
            _check("Rows", len(self.columns), len(line))


@dataclass(frozen=True)
class Section:
    """A section of the page: its title, sentences, a figure, and rows, each only where there are such."""

    title: str
    text: tuple[str, ...] = ()
    rows: Rows | None = None
    figure: Bars | HeatMap | Lines | None = None


@dataclass(frozen=True)
class Number:
    """A number that programs ask for, by its name."""

    name: str
    value: Cell


@dataclass(frozen=True)
class Looked:
    """What was found. sentences: at the top of the page and on the terminal; numbers: the few that programs ask for."""

    title: str
    sentences: tuple[str, ...]
    sections: tuple[Section, ...]
    numbers: tuple[Number, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data. Raises: RunError for a number that is not finite."""
        data: dict[str, Any] = plain(self)
        try:
            json.dumps(data, allow_nan=False)
        except ValueError as error:
            raise RunError(f"{self.title}: a number of the result is not finite, so nothing is written.") from error
        return data


def rows_of_table(
    table: Table,
    columns: Sequence[str] | None = None,
    *,
    most: int = MOST_ROWS,
    order: str = "",
    tokens: Sequence[str] = (),
) -> Rows:
    """The first rows of a table by its `to_pandas`, for a section.

    columns: only these, in this order. order: the column whose largest numbers in size come first. tokens: columns whose texts are
    tokens, so that their spaces are seen. A number that is not finite is shown as missing, several tokens in a cell as one text.
    """
    found = table.to_pandas()
    if order:
        found = found.reindex(found[order].abs().sort_values(ascending=False, kind="stable").index)
    names = tuple(map(str, found.columns)) if columns is None else tuple(columns)
    shown = found[list(names)].head(most).astype(object)
    written = [token if name in tokens else _cell for name in names]
    lines = tuple(
        tuple(write(cell) for write, cell in zip(written, line, strict=True))
        for line in shown.itertuples(index=False, name=None)
    )
    return Rows(columns=tuple(name.replace("_", " ") for name in names), lines=lines, n=len(found))


def _cell(value: Any) -> Cell:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (tuple, list, np.ndarray)):
        return " ".join(token(part) if isinstance(part, str) else str(part) for part in value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if type(value).__name__ in ("NAType", "NaTType") else str(value)


# ---------------------------------------------------------------- files


def save_looked(folder: Path, found: Looked) -> None:
    """Write what was found to its file in a run directory. Raises: RunError for a number that is not finite."""
    write_text(folder / FILE, json.dumps(found.to_dict(), indent=1))


def is_look(folder: Path) -> bool:
    """Whether a run directory is of a command that looks inside a model."""
    return (folder / FILE).is_file()


def load_looked(folder: Path) -> tuple[Looked, dict[str, Any]]:
    """What was found, and the manifest. Raises: RunError for a run that is not complete, or a file that is damaged."""
    manifest = read_manifest(folder)
    if manifest.get("status") != "complete":
        raise RunError(f"{str(folder)!r} is not complete: its status is {manifest.get('status')!r}.")
    with reading(f"{str(folder / FILE)!r}", RunError):
        return rebuilt(Looked, read_json(folder / FILE)), manifest


def _check(what: str, expected: int, got: int) -> None:
    """Raises: ValueError, which names a fault of this program, or of a damaged file."""
    if expected != got:
        raise ValueError(f"{what}: {got} where {expected} are expected")
