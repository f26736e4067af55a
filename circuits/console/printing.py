"""What the command line prints: tables and sentences on a terminal, JSON for programs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from interp.formatting.text import visible

_INTERVAL: Final = re.compile(r"(\S+ (% )?)?\[\S+, \S+\]")

# What is light to load: this module speaks before the libraries are there.
out = Console()
err = Console(stderr=True)


def say(message: str) -> None:
    """One line about what is going on, on standard error."""
    style = "bold yellow" if message.startswith("WARNING") else "dim"
    err.print(escape(visible(message)), style=style, highlight=False, soft_wrap=not err.is_terminal)


def sentence(text: str) -> None:
    """A sentence on standard output, between words where it is longer than the terminal is wide."""
    out.print(escape(visible(text)), highlight=False)


def lines(text: str) -> None:
    """Several lines as they are, on standard output; those longer than the terminal is wide are not cut."""
    for line in text.splitlines():
        out.print(escape(visible(line)), highlight=False, soft_wrap=True)


def paths(written: Iterable[Path]) -> None:
    """Files that were written, one a line."""
    lines("\n".join(str(path) for path in written))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard output, in which no word is broken: where it is too wide for that, without a frame, else as a list."""
    shown = [["" if cell is None else visible(str(cell)) for cell in row] for row in rows]
    n, cells = len(columns), [[row[i] for row in shown] for i in range(len(columns))]
    words = _widest_pieces(columns, cells, str.split)
    whole = [max(few, _longest(own)) for few, own in zip(words, cells, strict=True)]
    close = out.width - 2 * (n - 1) < sum(whole) <= out.width - (n - 1)
    framed, bare = out.width - 3 * n - 1, out.width - (1 if close else 2) * (n - 1)
    if sum(words) > bare:
        _as_list(title, columns, shown)
        return
    # An interval is broken only where there is no other way.
    least = _widest_pieces(columns, cells, _units)
    least = least if sum(least) <= bare else words
    fits = sum(whole) <= framed or (sum(whole) > bare and sum(least) <= framed)
    edge = box.HEAVY_HEAD if fits else None
    grid = Table(title=escape(visible(title)), title_justify="left", box=edge, pad_edge=fits, collapse_padding=close)
    named = [max(own, cell_len(name)) for own, name in zip(whole, columns, strict=True)]
    for name, width in zip(columns, _widths(least, (whole, named), framed if fits else bare), strict=True):
        grid.add_column(escape(name), width=width, overflow="fold")
    for row in shown:
        grid.add_row(*map(escape, row))
    out.print(grid)


def _widths(least: Sequence[int], goals: Iterable[Sequence[int]], room: int) -> list[int]:
    """Widths of columns from the least on towards one goal after the other, those that need little first."""
    found = list(least)
    for goal in goals:
        for i in sorted(range(len(found)), key=lambda i: goal[i] - found[i]):
            found[i] += min(room - sum(found), goal[i] - found[i])
    return found


def _widest_pieces(
    columns: Sequence[str], cells: Sequence[Sequence[str]], cut: Callable[[str], list[str]]
) -> list[int]:
    """The widest piece of each column that is not broken, its name's words among them."""
    return [
        _longest([*name.split(), *(piece for cell in own for piece in cut(cell))])
        for name, own in zip(columns, cells, strict=True)
    ]


def _units(cell: str) -> list[str]:
    """What is not broken: words, and a number with its interval."""
    return [cell] if _INTERVAL.fullmatch(cell) else cell.split()


def _longest(texts: Iterable[str]) -> int:
    """How many cells of the terminal the widest takes."""
    return max(map(cell_len, texts), default=0)


def _as_list(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """The rows of a table one after the other: the first cell, and below it the others with their names."""
    out.print(Text(visible(title), style="italic"))
    for first, *others in rows:
        lines(first)
        said = ", ".join(f"{name} {cell}" for name, cell in zip(columns[1:], others, strict=True) if cell)
        out.print(Padding(Text(said), (0, 0, 0, 2)))


def called(*words: str) -> str:
    """A command of this program, written as the program was called where a shell would not find it by its name."""
    own = Path(sys.argv[0])
    program = ["circuits"]
    if own.name == "__main__.py" and shutil.which("circuits") is None:
        program = [sys.executable, "-m", "circuits"]
    elif own.name == "circuits" and ((found := shutil.which("circuits")) is None or not Path(found).samefile(own)):
        program = [sys.argv[0]]
    return shlex.join([*program, *words])


def as_json(data: object) -> None:
    """Plain JSON on standard output, nothing else."""
    out.file.write(json.dumps(data, indent=1) + "\n")
