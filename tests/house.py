"""The house: the rooms of both packages from the ground to the roof, and what the code says of it.

A file may import from its own room and from rooms above it in this list (which are below it in the house), wherever the import
stands: at the top of a file, inside a function, under TYPE_CHECKING. This is the one place where the order is written.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("interp", "circuits")

#: From the ground up. Rooms inside a room stand on floors of their own: what trains dictionaries needs models and activations,
#: which need the value of a dictionary. `circuits/settings` stands low because what judges and looks takes the options of a run;
#: `circuits/runs` holds what a run is when it is over, and `circuits/jobs` what makes it, above all that a job calls.
FLOORS = (
    "interp",
    "interp/formatting",
    "interp/statistics",
    "interp/rules",
    "interp/parts",
    "interp/dictionaries",
    "interp/model/modules",
    "interp/model/chains",
    "interp/model/layers",
    "interp/model/probing",
    "interp/model/coverage",
    "interp/model/inputs",
    "interp/model",
    "interp/model/nets",
    "interp/recurrent",
    "interp/model/loading",
    "interp/pictures",
    "interp/learning",
    "interp/tasks/reading",
    "interp/tasks/pairs",
    "interp/tasks/files",
    "interp/tasks",
    "interp/heads",
    "interp/demo",
    "interp/scores",
    "interp/examples",
    "interp/attribution/batching",
    "interp/attribution/edges",
    "interp/attribution/exact",
    "interp/attribution/protocol",
    "interp/attribution/features",
    "interp/attribution/net_levels",
    "interp/attribution/masks",
    "interp/attribution/methods",
    "interp/attribution/scoring",
    "interp/attribution/tokens",
    "interp/attribution/auto",
    "interp/attribution/asking",
    "interp/attribution",
    "interp/evaluation",
    "interp/lenses",
    "interp/depth",
    "interp/effects",
    "interp/activations",
    "interp/probes",
    "interp/dictionaries/training/steps",
    "interp/dictionaries/training/checkpoints",
    "interp/dictionaries/training/data",
    "interp/dictionaries/training/loop",
    "interp/dictionaries/training",
    "interp/dictionaries/evaluation",
    "interp/display",
    "interp/display/looking",
    "circuits/terms",
    "circuits/circuit",
    "circuits/settings",
    "circuits/evaluation/running",
    "circuits/evaluation",
    "circuits/evaluation/known",
    "circuits/anatomy",
    "circuits/reproduction",
    "circuits/runs",
    "circuits/comparison",
    "circuits/report/drawing",
    "circuits/report/sections",
    "circuits/report/view",
    "circuits/report/side",
    "circuits/report/dictionary",
    "circuits/report/looked",
    "circuits/report/page",
    "circuits/report",
    "circuits/console",
    "circuits/interchange",
    "circuits/bench",
    "circuits/display",
    "circuits/costs",
    "circuits/jobs",
    "circuits/jobs/dictionaries",
    "circuits/jobs/looking",
    "circuits/jobs/machine",
    "circuits/cli/options",
    "circuits/cli/commands",
    "circuits/cli",
    "circuits",
)
#: The public names, loaded when they are asked for, and the line that names the display room of a package.
FACADES = ("interp/__init__.py", "circuits/__init__.py")
#: Rooms that nothing but they themselves import: a value does not know its pictures.
DISPLAYS = ("interp/display", "interp/display/looking", "circuits/display")
MOST_FILES = 15
#: A file name that occurs in several rooms, and the one role that all of its files have.
SAME_ROLE: dict[str, str] = {
    "__init__.py": "what its room is for",
}


#: A string that names something of ours: a module, what is in it, or an entry point.
_NAMED = re.compile(r"(?:interp|circuits)(?:\.\w+)+(?::\w+)?")


@dataclass(frozen=True)
class Arrow:
    """An import: the file and line that it stands in, and the file that it names."""

    file: str
    line: int
    target: str

    @property
    def rooms(self) -> tuple[str, str]:
        return room_of(self.file), room_of(self.target)

    def __str__(self) -> str:
        here, there = self.rooms
        return f"{self.file}:{self.line}: {here} imports {there} ({self.target})"


def room_of(file: str) -> str:
    """The folder of a file, as `FLOORS` names it."""
    return file.rpartition("/")[0]


def floor_of(room: str) -> int:
    """How high a room stands. Raises: ValueError for a room that `FLOORS` does not name."""
    if room not in FLOORS:
        raise ValueError(f"room {room!r} has no floor: write it into FLOORS in tests/house.py.")
    return FLOORS.index(room)


@cache
def files() -> tuple[str, ...]:
    """Every Python file of both packages, as a path from the root."""
    found = (path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return tuple(sorted(found))


@cache
def modules() -> dict[str, str]:
    """Dotted name -> file."""
    return {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in files()}


def module_in(name: str, known: Mapping[str, str]) -> str | None:
    """The file of the longest beginning of a dotted name that is a module inside a package: `a.b.C` and `a.b:C` name `a.b`."""
    parts = re.split("[.:]", name)
    beginnings = (".".join(parts[:end]) for end in range(len(parts), 1, -1))
    return next((known[beginning] for beginning in beginnings if beginning in known), None)


def imports(text: str) -> Iterator[tuple[int, str]]:
    """Line and file of every import of ours in a source text: statements wherever they stand, and names in strings, also
    as entry points are written."""
    known = modules()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, known[a.name]) for a in node.names if a.name in known)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield node.lineno, known[whole if whole in known else str(node.module)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAMED.fullmatch(node.value):
            yield from ((node.lineno, file) for file in [module_in(node.value, known)] if file is not None)


@cache
def arrows() -> tuple[Arrow, ...]:
    """Every import of ours by a file of ours, but those of the facades."""
    texts = {file: (ROOT / file).read_text(encoding="utf-8") for file in files() if file not in FACADES}
    return tuple(Arrow(file, line, target) for file, text in texts.items() for line, target in imports(text))
