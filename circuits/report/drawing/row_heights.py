"""How high the rows of a drawn circuit stand, in pixels, y downwards: a strip for each layer or site that holds a box or dots, as high as
what is in it, and a thin one for neighbours that hold nothing. The order is always that of the model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

#: Height of a box.
HIGH: Final = 26.0
#: From one line of boxes to the next, and to the heads from the keys and values that they share.
LINE: Final = 40.0
_SHARED: Final = 34.0
#: Height of a strip that stands for rows without a node.
FOLD: Final = 18.0
#: Lines nearer than this, in rows of the grid, are those of heads and of what they share.
_NEAR: Final = 0.4
_LAYER: Final = "layer "


@dataclass(frozen=True)
class Strip:
    """`names`: the layer or site that it is, or those that it folds, in the order of the model; `y`: its middle."""

    names: tuple[str, ...]
    y: float
    high: float
    folded: bool = False

    @property
    def label(self) -> str:
        """What it is called: `layer 3`, `layers 7–12`, `resid_post.1 to resid_post.4`."""
        first, last = self.names[0], self.names[-1]
        if first == last:
            return first
        if first.startswith(_LAYER):
            return f"layers {first.removeprefix(_LAYER)}–{last.removeprefix(_LAYER)}"
        return f"{first} to {last}"


@dataclass(frozen=True)
class Heights:
    """`y`: line of the grid -> the middle of its boxes; `strips`: those of the rows, the lowest first; `high`: all together."""

    y: Mapping[float, float]
    strips: tuple[Strip, ...]
    high: float


def reach(ys: Collection[float], strips: Sequence[Strip]) -> tuple[float, float]:
    """The upper and the lower end of a drawing whose boxes have these middles, with the strips that they stand in or between."""
    top, low = min(ys) - HIGH, max(ys) + HIGH
    between = [strip for strip in strips if top < strip.y < low]
    tops, lows = [s.y - s.high / 2 for s in between], [s.y + s.high / 2 for s in between]
    return min([top, *tops]), max([low, *lows])


def heights(
    lines: Mapping[str, Sequence[float]],
    ends: tuple[Sequence[float], Sequence[float]],
    tall: Mapping[str, float],
    stretch: float = 1.0,
) -> Heights:
    """The rows from the bottom up. `lines`: row -> the lines of its boxes, lowest first, none for a row without; `ends`: the lines below and
    above all rows; `tall`: the least height of rows that hold dots; `stretch`: how many times farther apart than they need be lines stand.
    """
    found: dict[float, float] = {}
    strips: list[Strip] = []
    # Where there is room the arrows of the embedding get more of it, as they are many.
    at = _stack(found, ends[0], 0.0, stretch) - (stretch - 1) * LINE
    for empty, group in groupby(lines, lambda row: not lines[row] and row not in tall):
        names = tuple(group)
        if empty:
            strips.append(Strip(names, at - FOLD / 2, FOLD, folded=True))
            at -= FOLD
        for name in () if empty else names:
            high = _high(lines[name], stretch)
            room = max(0.0, stretch * tall.get(name, 0.0) - high)
            top = _stack(found, lines[name], at - room / 2, stretch) - room / 2
            strips.append(Strip((name,), (at + top) / 2, at - top))
            at = top
    return Heights(found, tuple(strips), -_stack(found, ends[1], at, stretch))


def _stack(found: dict[float, float], lines: Sequence[float], at: float, stretch: float) -> float:
    """Put lines above a height; the height above them."""
    y = at - LINE * stretch / 2
    for i, line in enumerate(lines):
        y -= _step(lines[i - 1], line) * stretch if i else 0.0
        found[line] = y
    return y - LINE * stretch / 2 if lines else at


def _high(lines: Sequence[float], stretch: float) -> float:
    return stretch * (LINE + sum(map(_step, lines, lines[1:]))) if lines else 0.0


def _step(low: float, line: float) -> float:
    return _SHARED if line - low < _NEAR else LINE
