"""The drawing of the house: rooms as boxes from the ground up, imports as arrows from who needs to what is needed.

It stands on a ground of its own in light and dark, holds no script, and is the same to the byte for the same code.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import log2

from house import House, house, question, size
from house_places import Places, Way, places, tower, ways

from tests.house import PACKAGES

WIDE, TALL = 126, 26
GUTTER, BETWEEN = 33, 22
MARGIN, HEAD, TITLE = 8, 60, 26
TRACK = 6

#: Arrows and towers in the colours of their folders; what stands alone is grey. Light, dark.
_HUES = {
    "interp/attribution": ("#4453b8", "#98a6ff"),
    "interp/dictionaries": ("#00796b", "#5fc9b8"),
    "interp/model": ("#8a5a00", "#e0b060"),
    "circuits/report": ("#b3441e", "#ff9d76"),
    "circuits/evaluation": ("#7b3fa0", "#d3a0f0"),
    "circuits/cli": ("#0068a8", "#79bdf0"),
}
_OTHER = ("#5b6470", "#a9b3bf")
_STYLE = """
:root{--ground:#fbfbfd;--storey:#f1f3f7;--box:#fff;--text:#1d2329;--dim:#5b6470}
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:var(--text)}
.ground{fill:var(--ground)}.storey{fill:var(--storey)}
.name{font-weight:600}.files{font-size:11px;fill:var(--dim);text-anchor:end}
.on-own.on-own{fill:var(--ground)}
.package{font-size:15px;font-weight:700;paint-order:stroke;stroke:var(--storey);stroke-width:5px}.note{font-size:12px;fill:var(--dim)}
.box{fill:var(--box);stroke-width:1.3}.tower{fill-opacity:.08;stroke-opacity:.45;stroke-dasharray:4 3}
.way{fill:none;stroke-opacity:.75;stroke-linejoin:round}.tip{stroke:none}
"""
_DARK = ":root{--ground:#1b1e24;--storey:#232730;--box:#2c313b;--text:#eceff4;--dim:#a9b3bf}"


@dataclass(frozen=True)
class Frame:
    """From rows and columns to pixels."""

    at: Places

    @property
    def last(self) -> dict[str, int]:
        """The highest row of each package."""
        return {p: max(r for room, r in self.at.row.items() if room.split("/")[0] == p) for p in PACKAGES}

    @property
    def width(self) -> int:
        return 2 * MARGIN + self.at.columns * WIDE + (self.at.columns + 1) * GUTTER

    @property
    def height(self) -> float:
        return self.y(0) + TALL + BETWEEN / 2 + MARGIN + 8

    def y(self, row: int) -> float:
        """The upper edge of a row."""
        above = max(self.at.row.values()) - row
        heads = sum(row <= top for top in self.last.values())
        return MARGIN + HEAD + above * (TALL + BETWEEN) + heads * TITLE + (heads - 1) * BETWEEN

    def x(self, column: int) -> float:
        """The left edge of a column."""
        return MARGIN + GUTTER + column * (WIDE + GUTTER)

    def middle(self, gap: int) -> float:
        column, inside = divmod(gap, 2)
        return self.x(column) + (WIDE / 2 if inside else -GUTTER / 2)


def drawing() -> str:
    """The file `house.svg`."""
    of = house()
    at = places(of)
    frame = Frame(at)
    found = ways(at)
    body = [*_storeys(frame), *_towers(frame, of), *_ways(frame, found), *_packages(frame)]
    body += [_box(frame, room, own=room in folders(of)) for room in of.rooms]
    left = len(of.imports) - len(of.drawn)
    said = (
        f"{len(of.rooms)} rooms; an arrow goes from the room that imports to the room below that it imports. "
        f"{len(of.drawn)} arrows are drawn; {left} that others imply are left out."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="t d" width="{frame.width}" height="{_n(frame.height)}"'
        f' viewBox="0 0 {frame.width} {_n(frame.height)}">\n<title id="t">The house: rooms of interp and circuits, from the ground up</title>\n'
        f'<desc id="d">{escape(said)}</desc>\n<style>{_style()}</style>\n'
        f'<rect class="ground" width="{frame.width}" height="{_n(frame.height)}" rx="8"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _style() -> str:
    light = "".join(f".{_class(folder)}{{--c:{a}}}" for folder, (a, _) in _hues())
    dark = "".join(f".{_class(folder)}{{--c:{b}}}" for folder, (_, b) in _hues())
    paint = ".own.own{fill:var(--c)}.box,.way,.tower{stroke:var(--c)}.tower,.tip{fill:var(--c)}"
    return f"{_STYLE}{light}{paint}\n@media (prefers-color-scheme:dark){{{_DARK}{dark}}}\n"


def _hues() -> Iterable[tuple[str, tuple[str, str]]]:
    return (*_HUES.items(), ("", _OTHER))


def _class(room: str) -> str:
    return "in-" + tower(room).replace("/", "-") if tower(room) in _HUES else "alone"


def _n(value: float) -> str:
    """A length, as short as it may be."""
    return f"{value:.1f}".removesuffix(".0")


def _top(frame: Frame, package: str) -> float:
    return frame.y(frame.last[package]) - TITLE - 6


def _storeys(frame: Frame) -> Iterator[str]:
    rows = frame.at.row
    for package in PACKAGES:
        top = _top(frame, package)
        bottom = frame.y(min(r for room, r in rows.items() if room.split("/")[0] == package)) + TALL + BETWEEN / 2
        yield (
            f'<rect class="storey" x="{MARGIN}" y="{_n(top)}" width="{frame.width - 2 * MARGIN}" height="{_n(bottom - top)}" rx="6"/>'
        )
    said = (
        "A room imports only from rooms below it. Numbers count files; thicker arrows are more imports.",
        "A frame is a folder that holds rooms; the filled box in it is what lies in the folder itself.",
        "Where one room needs a second and that a third, the arrow from the first to the third is left out.",
    )
    for i, line in enumerate(said):
        yield f'<text class="note" x="{MARGIN + 2}" y="{MARGIN + 15 + 17 * i}">{escape(line)}</text>'


def _packages(frame: Frame) -> Iterator[str]:
    for package in PACKAGES:
        yield f'<text class="package" x="{MARGIN + 12}" y="{_n(_top(frame, package) + 20)}">{escape(package)}/</text>'


def folders(of: House) -> list[str]:
    """Folders inside a package that hold rooms, from the outermost."""
    return sorted({folder for room in of.rooms if (folder := room.rpartition("/")[0]).count("/")})


def _towers(frame: Frame, of: House) -> Iterator[str]:
    for folder in folders(of):
        rooms = [frame.at.row[room] for room in of.rooms if f"{room}/".startswith(f"{folder}/")]
        inside = 4 * (folder.count("/") - 1)
        x, y = frame.x(frame.at.column[folder]) - 9 + inside, frame.y(max(rooms)) - 8 + inside
        bottom = frame.y(min(rooms)) + TALL + 8 - inside
        yield (
            f'<rect class="tower {_class(folder)}" x="{_n(x)}" y="{_n(y)}" width="{WIDE + 18 - 2 * inside}"'
            f' height="{_n(bottom - y)}" rx="7"/>'
        )


def _box(frame: Frame, room: str, own: bool) -> str:
    x, y = frame.x(frame.at.column[room]), frame.y(frame.at.row[room])
    box, text = ("box own", "on-own ") if own else ("box", "")
    return (
        f"<g><title>{escape(room)}: {escape(question(room))}</title>"
        f'<rect class="{box} {_class(room)}" x="{_n(x)}" y="{_n(y)}" width="{WIDE}" height="{TALL}" rx="5"/>'
        f'<text class="{text}name" x="{_n(x + 9)}" y="{_n(y + 17.5)}">{escape(room.rpartition("/")[2] or room)}</text>'
        f'<text class="{text}files" x="{_n(x + WIDE - 8)}" y="{_n(y + 17)}">{size(room)}</text></g>'
    )


# ---------------------------------------------------------------- arrows


@dataclass(frozen=True)
class Run:
    """The part of an arrow that goes straight down through one gap, over rows `first` (above) to `last`."""

    way: int
    gap: int
    first: int
    last: int


def _ways(frame: Frame, found: Sequence[Way]) -> Iterator[str]:
    lines = [_line(frame, i, way) for i, way in enumerate(found)]
    tracks = _tracks(frame, lines)
    ends = _ends(frame, found, lines, tracks)
    for i, way in enumerate(found):
        n = frame.at.house.drawn[way.above, way.below]
        (x0, y0), (x1, y1) = ends[i]
        points = [(x0, y0)]
        for run in lines[i]:
            points += [(tracks[run], frame.y(run.first)), (tracks[run], frame.y(run.last) + TALL)]
        yield _arrow(
            [*points, (x1, y1 - 5)], 0.9 + 0.55 * log2(n), _class(way.above), f"{way.above} imports {way.below}: {n}"
        )


def _line(frame: Frame, i: int, way: Way) -> list[Run]:
    runs: list[Run] = []
    for row, gap in zip(range(frame.at.row[way.above] - 1, frame.at.row[way.below], -1), way.gaps, strict=True):
        if runs and runs[-1].gap == gap:
            runs[-1] = Run(i, gap, runs[-1].first, row)
        else:
            runs.append(Run(i, gap, row, row))
    return runs


def _tracks(frame: Frame, lines: Sequence[Sequence[Run]]) -> dict[Run, float]:
    """Where each run goes: beside those that share its gap in any row."""
    by_gap: dict[int, list[Run]] = defaultdict(list)
    for line in lines:
        for run in line:
            by_gap[run.gap].append(run)
    found: dict[Run, float] = {}
    for gap, runs in sorted(by_gap.items()):
        free: list[int] = []
        track = {}
        for run in sorted(runs, key=lambda run: (-run.first, run.last, run.way)):
            fits = next((t for t, last in enumerate(free) if last > run.first + 1), len(free))
            free[fits : fits + 1] = [run.last]
            track[run] = fits
        step = min(TRACK, (WIDE if gap % 2 else GUTTER - 10) / max(len(free), 1))
        for run, t in track.items():
            found[run] = frame.middle(gap) + (t - (len(free) - 1) / 2) * step
    return found


def _ends(
    frame: Frame, found: Sequence[Way], lines: Sequence[Sequence[Run]], tracks: dict[Run, float]
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Where each arrow leaves and enters its boxes: spread over their edges in the order of where they come from."""
    leave: dict[str, list[tuple[float, int]]] = defaultdict(list)
    enter: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for i, way in enumerate(found):
        start, end = (frame.x(frame.at.column[room]) + WIDE / 2 for room in (way.above, way.below))
        leave[way.above].append((tracks[lines[i][0]] if lines[i] else end, i))
        enter[way.below].append((tracks[lines[i][-1]] if lines[i] else start, i))
    x = {}
    for side, ends in enumerate((leave, enter)):
        for room, arrows in ends.items():
            step = min(14.0, (WIDE - 24) / len(arrows))
            for k, (_, i) in enumerate(sorted(arrows)):
                x[i, side] = frame.x(frame.at.column[room]) + WIDE / 2 + (k - (len(arrows) - 1) / 2) * step
    return [
        (
            (x[i, 0], frame.y(frame.at.row[way.above]) + TALL),
            (x[i, 1], frame.y(frame.at.row[way.below])),
        )
        for i, way in enumerate(found)
    ]


def _arrow(points: Sequence[tuple[float, float]], width: float, kind: str, said: str) -> str:
    (x, y), rest = points[0], points[1:]
    path = f"M{_n(x)} {_n(y)}"
    for x1, y1 in rest:
        bend = (y1 - y) / 2
        path += f"V{_n(y1)}" if x1 == x else f"C{_n(x)} {_n(y + bend)} {_n(x1)} {_n(y1 - bend)} {_n(x1)} {_n(y1)}"
        x, y = x1, y1
    half = 2.4 + width * 0.7
    tip = f"M{_n(x - half)} {_n(y - 2)}L{_n(x + half)} {_n(y - 2)}L{_n(x)} {_n(y + 5)}Z"
    return (
        f'<g class="{kind}"><title>{escape(said)}</title><path class="way" stroke-width="{_n(width)}" d="{path}"/>'
        f'<path class="tip" d="{tip}"/></g>'
    )
