"""The rooms of both packages as the page of the house shows them: their questions, and what each needs of the others.

Order and imports come from `tests/house.py`, questions from the first line of each room's `__init__.py`.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from tables import markdown

from tests.house import FACADES, FLOORS, PACKAGES, ROOT, arrows, files, room_of

#: What the two facades hold besides public names; every other room says so itself.
OWN = {
    "interp": "What does everyone need: errors, whole files and folders, progress?",
    "circuits": "What does `python -m circuits` start?",
}


@dataclass(frozen=True)
class House:
    """Rooms from the ground up, and the number of imports of each pair (who imports, what is imported)."""

    rooms: tuple[str, ...]
    imports: dict[tuple[str, str], int]

    @cached_property
    def needs(self) -> dict[str, frozenset[str]]:
        """Every room that a room leans on, itself or through others."""
        found: dict[str, frozenset[str]] = {}
        for room in self.rooms:
            below = [b for a, b in self.imports if a == room]
            found[room] = frozenset(below).union(*(found[b] for b in below))
        return found

    @cached_property
    def drawn(self) -> dict[tuple[str, str], int]:
        """The imports that no others imply: those of a pair with nothing between."""
        between = {(a, c) for a, b in self.imports for c in self.needs[b]}
        return {pair: n for pair, n in self.imports.items() if pair not in between}


def house() -> House:
    """The house as it stands."""
    counted = Counter(arrow.rooms for arrow in arrows() if len(set(arrow.rooms)) == 2)
    order = {room: i for i, room in enumerate(FLOORS)}
    pairs = sorted(counted, key=lambda pair: (order[pair[0]], order[pair[1]]))
    return House(FLOORS, {pair: counted[pair] for pair in pairs})


def size(room: str) -> int:
    """How many files a room has besides its `__init__.py`."""
    return sum(room_of(file) == room and not file.endswith("__init__.py") for file in files())


def question(room: str) -> str:
    """The first line of a room's docstring."""
    if f"{room}/__init__.py" in FACADES:
        return OWN[room]
    text = (ROOT / room / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").split("\n", 1)[0]


def rooms() -> str:
    """The table of rooms of both packages, from the roof to the ground."""
    tables = []
    for package in reversed(PACKAGES):
        own = [room for room in reversed(FLOORS) if room.split("/")[0] == package]
        rows = [(f"`{room}/`", question(room), size(room)) for room in own]
        tables.append(
            f"### `{package}`, from the roof to the ground\n\n{markdown(('room', 'question', 'files'), rows)}"
        )
    return "\n\n".join(tables)
