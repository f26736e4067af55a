"""The table of a paper as it was measured here: a value per model, as plain data, as rows, and as a table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from interp.formatting.numbers import MISSING, interval, number
from interp.scores.agreement import CARRIED, Row

#: What the kinds of nodes are called in the columns.
COLUMNS: Final = {"resid_pre": "residual stream", "attn_out": "attention outputs", "mlp": "MLP outputs"}
#: What a star behind a correlation without the largest node says.
STAR: Final = f"* without its largest node the correlation is another by more than {CARRIED}"


@dataclass(frozen=True)
class Cell:
    """How one method agrees with exact patching over one kind of node, and what the paper prints there, None where it is not known."""

    kind: str
    method: str
    row: Row
    printed: float | None


@dataclass(frozen=True)
class ModelTable:
    """The table of one model.

    name: of the model, given: what the user typed. n_pairs prompts of `tokens` tokens each, `task` saying which; right: the share of
    pairs on which the model is right, of clean and of corrupt prompts. passes: method -> (forwards, backwards) over all pairs, the two
    runs that methods share counted with `exact`. printed: which of the paper's models it is, empty for none. weights: file -> SHA-256.
    """

    name: str
    given: str
    n_pairs: int
    tokens: int
    task: str
    dtype: str
    right: Mapping[str, float]
    passes: Mapping[str, tuple[float, float]]
    printed: str
    cells: tuple[Cell, ...]
    weights: Mapping[str, str] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, in order."""
        return tuple(dict.fromkeys(cell.method for cell in self.cells))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of nodes, in order."""
        return tuple(dict.fromkeys(cell.kind for cell in self.cells))

    @property
    def carried(self) -> bool:
        """Whether one node makes one of the correlations."""
        return any(cell.row.carried for cell in self.cells)

    def cell(self, kind: str, method: str) -> Cell:
        """One cell. Raises: KeyError."""
        for cell in self.cells:
            if (cell.kind, cell.method) == (kind, method):
                return cell
        raise KeyError((kind, method))


@dataclass(frozen=True)
class Failed:
    """A model whose table could not be measured, and why."""

    given: str
    reason: str


@dataclass(frozen=True)
class Reproduced:
    """The table of a paper on some models."""

    paper: str
    title: str
    source: str
    tables: tuple[ModelTable, ...]
    failed: tuple[Failed, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return asdict(self)

    def rows(self) -> list[dict[str, Any]]:
        """A flat row per model, kind and method."""
        return [_row(table, cell) for table in self.tables for cell in table.cells]


def _row(table: ModelTable, cell: Cell) -> dict[str, Any]:
    row, (low, high) = cell.row, cell.row.pearson_ci or (None, None)
    forwards, backwards = table.passes[cell.method]
    return {
        "model": table.name,
        "kind": cell.kind,
        "method": cell.method,
        "nodes": row.n,
        "pairs": table.n_pairs,
        "pearson": row.pearson,
        "low": low,
        "high": high,
        "printed": cell.printed,
        "largest": row.largest,
        "pearson_without": row.pearson_without,
        "carried": row.carried,
        "spearman": row.spearman,
        "top_weighted": row.top_weighted,
        "slope": row.slope,
        "error": row.error,
        "forwards": forwards,
        "backwards": backwards,
    }


# ---------------------------------------------------------------- as text, for the terminal, the page and Markdown alike


def agreement_lines(table: ModelTable) -> tuple[list[str], list[list[str]]]:
    """The columns and lines of the paper's own table: Pearson with its interval, and below a method what the paper prints."""
    lines = []
    for method in table.methods:
        cells = [table.cell(kind, method) for kind in table.kinds]
        lines.append([method, *(_pearson(cell.row) for cell in cells)])
        if any(cell.printed is not None for cell in cells):
            lines.append([f"{method}, printed", *(number(cell.printed, 3) for cell in cells)])
    return ["method", *(COLUMNS.get(kind, kind) for kind in table.kinds)], lines


def basis_lines(table: ModelTable) -> tuple[list[str], list[list[str]]]:
    """The columns and lines of what the correlations rest on: without the largest node, by rank, in size. A star: one node makes r."""
    lines = []
    for kind in table.kinds:
        for method in table.methods:
            row = table.cell(kind, method).row
            star = " *" if row.carried else ""
            shown = (number(v, 2) for v in (row.spearman, row.top_weighted, row.slope, row.error))
            of = f"{COLUMNS.get(kind, kind)}, {row.largest}"
            lines.append([of, method, number(row.pearson_without, 3) + star, *shown])
    return ["of, and its largest node", "method", "r without", "rank ρ", "top τ", "slope", "error"], lines


def _pearson(row: Row) -> str:
    bounds = f" {interval(row.pearson_ci, 2)}" if row.pearson_ci else ""
    return MISSING if row.pearson is None else number(row.pearson, 3) + bounds


def markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    cells = [columns, ["---"] * len(columns), *lines]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in cells)
