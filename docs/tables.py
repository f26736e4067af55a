"""How the generated pages are written: pipe tables and names in code type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A pipe table; pipes in cells are escaped."""
    lines = [list(header), ["---"] * len(header), *([str(c) for c in row] for row in rows)]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)


def code(names: Iterable[object]) -> str:
    """Names in code type, joined by commas; a dash for none."""
    return ", ".join(f"`{name}`" for name in names) or "-"
