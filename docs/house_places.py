"""Where the rooms stand in the drawing of the house, and which way its arrows take between them.

Rows count from the ground up, columns from the left. A folder with rooms of its own is a tower: one column, one room a row. A room stands a
row above the highest room of its package that it needs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from itertools import count, permutations

from house import House

from tests.house import PACKAGES

#: Where these are too few for the rooms of a row, there are more.
FEWEST_COLUMNS = 4
_ROUNDS = 8
#: What an arrow pays for a column to the side, for each room in its straight way, and for company in a gap, in columns.
_ASIDE, _BLOCKED, _COMPANY = 1.0, 0.4, 0.12


def tower(room: str) -> str:
    """The folder whose rooms stand over each other: `interp/model` of `interp/model/loading`."""
    return "/".join(room.split("/")[:2])


def towers(house: House) -> dict[str, list[str]]:
    """Folder -> its rooms from the ground up, where it has several."""
    found: dict[str, list[str]] = defaultdict(list)
    for room in house.rooms:
        found[tower(room)].append(room)
    return {folder: rooms for folder, rooms in found.items() if len(rooms) > 1}


def rows(house: House, columns: int) -> dict[str, int]:
    """The row of each room. The ground of the second package is above the roof of the first.

    A room that stands alone goes higher where its row is full. How far up towers reach hangs on that, so it is done over until nothing moves.
    """
    reach: dict[str, range] = {}
    row: dict[str, int] = {}
    for _ in range(_ROUNDS):
        row = _rows(house, columns, reach)
        new = {f: range(row[rooms[0]], row[rooms[-1]] + 1) for f, rooms in towers(house).items()}
        if new == reach:
            break
        reach = new
    return row


def _rows(house: House, columns: int, reach: dict[str, range]) -> dict[str, int]:
    row: dict[str, int] = {}
    alone: Counter[int] = Counter()
    stacked = towers(house)
    for package in PACKAGES:
        ground = max(row.values(), default=-1) + 1
        top: dict[str, int] = {}
        for room in (room for room in house.rooms if room.split("/")[0] == package):
            below = [row[b] for a, b in house.imports if a == room and b.split("/")[0] == package]
            at = max([ground, *(1 + r for r in below), 1 + top.get(tower(room), -1)])
            if tower(room) not in stacked:
                at = next(r for r in count(at) if alone[r] + sum(r in span for span in reach.values()) < columns)
                alone[at] += 1
            row[room] = top[tower(room)] = at
    return row


@dataclass(frozen=True)
class Places:
    """Row and column of every room placed so far."""

    house: House
    columns: int
    row: dict[str, int]
    column: dict[str, int]

    def cost(self) -> float:
        """How far the arrows between placed rooms go aside, and how many rooms stand in their way."""
        held = {(self.row[room], c) for room, c in self.column.items()}
        total = 0.0
        for a, b in self.house.drawn:
            if a in self.column and b in self.column:
                x, y = self.column[a], self.column[b]
                between = range(self.row[b] + 1, self.row[a])
                total += _ASIDE * abs(x - y) + _BLOCKED * min(
                    sum((row, c) in held for row in between) for c in range(min(x, y), max(x, y) + 1)
                )
        return total


def places(house: House) -> Places:
    """Every room in as few columns as will do."""
    tried = (_in_columns(house, columns) for columns in count(FEWEST_COLUMNS))
    return next(found for found in tried if found is not None)


def _in_columns(house: House, columns: int) -> Places | None:
    """Package by package, the best of all orders of the towers, other rooms where their arrows are short; None where they do not fit."""
    found = Places(house, columns, rows(house, columns), {})
    for package in PACKAGES:
        own = {f: r for f, r in towers(house).items() if f.startswith(package + "/")}
        single = [r for r in house.rooms if r.split("/")[0] == package and tower(r) not in own]
        orders = permutations(range(columns), len(own))
        tried = [new for order in orders if (new := _placed(found, own, single, order))]
        if not tried:
            return None
        found = min(tried, key=lambda new: round(new.cost(), 6))
    return found


def _placed(start: Places, own: dict[str, list[str]], single: list[str], order: tuple[int, ...]) -> Places | None:
    """The package in columns with its towers in an order; None where that leaves no place for a room."""
    new = replace(start, column=dict(start.column))
    taken: set[tuple[int, int]] = set()
    for column, rooms in zip(order, own.values(), strict=True):
        new.column.update(dict.fromkeys(rooms, column))
        taken |= {(row, column) for row in range(new.row[rooms[0]], new.row[rooms[-1]] + 1)}
    for _ in range(4):
        for room in single:
            others = {(new.row[r], new.column[r]) for r in single if r != room and r in new.column}
            free = [c for c in range(new.columns) if (new.row[room], c) not in taken | others]
            if not free:
                return None
            costs = {}
            for c in free:
                new.column[room] = c
                costs[c] = round(new.cost(), 6)
            new.column[room] = min(costs, key=lambda c: (costs[c], c))
    return new


@dataclass(frozen=True)
class Way:
    """An arrow: who needs whom, and the gap that it goes through in each row between, from the top down.

    Gap 2 c is left of column c, gap 2 c + 1 is the column itself where no room stands.
    """

    above: str
    below: str
    gaps: tuple[int, ...]


def ways(at: Places) -> list[Way]:
    """The way of every drawn arrow: as little aside as may be, in as little company."""
    held = {(at.row[room], 2 * c + 1) for room, c in at.column.items()}
    gaps_of = range(2 * at.columns + 1)
    used: dict[tuple[int, int], int] = defaultdict(int)
    found = []
    for a, b in sorted(at.house.drawn, key=lambda pair: (at.row[pair[0]] - at.row[pair[1]], pair)):
        between = range(at.row[a] - 1, at.row[b], -1)
        free = {row: [gap for gap in gaps_of if (row, gap) not in held] for row in between}
        gaps = _way(2 * at.column[a] + 1, 2 * at.column[b] + 1, free, used)
        for row, gap in zip(between, gaps, strict=True):
            used[row, gap] += 1
        found.append(Way(a, b, gaps))
    return found


def _way(start: int, end: int, free: dict[int, list[int]], used: dict[tuple[int, int], int]) -> tuple[int, ...]:
    """The cheapest row of gaps, found row by row among those that are `free`."""
    best: dict[int, tuple[float, tuple[int, ...]]] = {start: (0.0, ())}
    for row, gaps in free.items():
        best = {
            gap: min(
                (cost + _turn(last, gap) + _COMPANY * used[row, gap], (*way, gap)) for last, (cost, way) in best.items()
            )
            for gap in gaps
        }
    return min((cost + _turn(last, end), way) for last, (cost, way) in best.items())[1]


def _turn(last: int, gap: int) -> float:
    """A step aside costs its width, and a little for the bend."""
    return 0.5 * abs(last - gap) + 0.3 * (last != gap)
