"""A picture as inline SVG, with a number for each position as a tint over its place. Colours are written out, and are the same on light and dark
pages; nothing in a drawing comes from outside but text, which is escaped, and pixels, which are encoded here.

Positive is orange and negative blue; the sign is told without colour too: by + and − on strong patches, and over a strip of frames by the
half that is tinted, the upper for positive.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from interp.formatting.html import NEGATIVE, POSITIVE
from interp.formatting.numbers import percent
from interp.formatting.text import visible
from interp.pictures.input_picture import Box, Picture
from interp.pictures.png import png

#: Pixels of a drawing: the longer side of an image; width and height of a spectrogram and of a wave.
IMAGE: Final = 150.0
STRIP: Final = {"spectrogram": (480.0, 128.0), "wave": (480.0, 64.0)}
#: The strongest tint, and the share of the largest value from which a place is tinted, from which it says its sign.
STRONGEST: Final = 0.75
FROM: Final = 0.025
SIGNED_FROM: Final = 0.5
#: How many places say what they hold when the pointer rests on them, the strongest.
MOST_SAID: Final = 64
#: Pixels of a patch from which a sign fits in.
_ROOM: Final = 9.0
#: Of what is under a tint: grey from this share of white, over so much of it, so that tints look alike on black and on white.
_DARKEST, _RANGE = 0.5, 0.36


@dataclass(frozen=True)
class Cell:
    """A place in a drawing, in its pixels, and the share of the largest value there, with its sign."""

    x: float
    y: float
    width: float
    height: float
    share: float

    @property
    def outline(self) -> str:
        return f"M{self.x:.1f} {self.y:.1f}h{self.width:.1f}v{self.height:.1f}h{-self.width:.1f}z"


def size(picture: Picture, long: float = IMAGE) -> tuple[float, float]:
    """Width and height of a drawing, in pixels."""
    if picture.kind != "image":
        width, height = STRIP[picture.kind]
        return width * long / IMAGE, height * min(1.0, long / IMAGE)
    share = long / max(picture.width, picture.height)
    return picture.width * share, picture.height * share


def heat(
    picture: Picture,
    values: Sequence[float] | None = None,
    *,
    limit: float = 0.0,
    said: Sequence[str] = (),
    signed: bool = True,
    long: float = IMAGE,
    of: str = "",
    spoken: str = "",
) -> Markup:
    """The picture, or with values [pos] the picture in grey with a tint over the place of each position, strongest at `limit` (by default the largest).

    said: what each position says where the pointer rests on it. signed: whether a sign is shown. of: what `defined` called the picture on the same page.
    Raises: ValueError for other than a finite number for each position.
    """
    width, height = size(picture, long)
    parts = [_under(picture, (width, height), of, grey=values is not None)]
    if values is not None:
        parts += _over(picture, values, limit, said, signed, (width, height))
    edge = f'<rect width="{width:.1f}" height="{height:.1f}" fill="none" stroke="currentColor" stroke-opacity=".4"/>'
    named = Markup(' role="img" aria-label="{}"').format(escape(visible(spoken)))
    head = Markup(f' width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.1f} {height:.1f}"')
    inner = Markup("").join([*parts, *_break(picture, width, height), Markup(edge)])
    return Markup("<svg{}{}>{}</svg>").format(head, named if spoken else Markup(' aria-hidden="true"'), inner)


def _break(picture: Picture, width: float, height: float) -> Iterator[Markup]:
    """A dashed line where time begins to be drawn narrower, which says so where the pointer rests on it."""
    if picture.narrowed is not None:
        x, left = picture.narrowed[0] * width, percent(1 - picture.narrowed[1], 0)
        said = f"the last {left} of the time, in which nothing changes, drawn narrower"
        # Black and white in turn, seen on dark and light alike.
        yield Markup(
            '<path d="M{0:.1f} 0v{1:.1f}" stroke="#000"/><path d="M{0:.1f} 0v{1:.1f}" stroke="#fff" stroke-dasharray="3 3"><title>{2}</title></path>'
        ).format(x, height, said)


def _over(
    picture: Picture, values: Sequence[float], limit: float, said: Sequence[str], signed: bool, at: tuple[float, float]
) -> Iterator[Markup]:
    """Tints, signs and what places say, of a drawing of this width and height."""
    _check(values, picture)
    most = limit or max((abs(v) for v, box in zip(values, picture.places, strict=True) if box), default=0.0)
    shares = (v / most if most else 0.0 for v in values)
    cells = [_cell(box, share, *at) for share, box in zip(shares, picture.places, strict=True)]
    strip = all(cell.height > 0.99 * at[1] for cell in cells if cell is not None)
    yield from _tints(cells, halves=signed and strip)
    yield from _signs(cells) if signed and not strip else ()
    yield from _said(cells, said)


def _check(values: Sequence[float], picture: Picture) -> None:
    """Raises: ValueError for other than a finite number for each position."""
    if len(values) != len(picture.places) or not all(map(math.isfinite, values)):
        raise ValueError(f"{len(values)} values for {len(picture.places)} positions; expected a finite number for each")


def defined(picture: Picture, name: str) -> Markup:
    """The pixels of a picture, once for all its drawings on a page: in colour as `name`, in grey as `name-grey`."""
    kinds = ((name, False), (f"{name}-grey", True))
    symbols = (
        Markup('<symbol id="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</symbol>').format(
            own, picture.width, 256 if picture.kind == "wave" else picture.height, _pixels(picture, grey)
        )
        for own, grey in kinds
    )
    return Markup('<svg width="0" height="0" aria-hidden="true">{}</svg>').format(Markup("").join(symbols))


# ---------------------------------------------------------------- the picture itself


def _under(picture: Picture, at: tuple[float, float], of: str, grey: bool) -> Markup:
    width, height = (Markup(f"{length:.1f}") for length in at)
    if of:
        name = f"{of}-grey" if grey else of
        return Markup('<use href="#{}" width="{}" height="{}"/>').format(name, width, height)
    box = Markup(f"0 0 {picture.width} {256 if picture.kind == 'wave' else picture.height}")
    inner = _pixels(picture, grey)
    return Markup('<svg width="{}" height="{}" viewBox="{}" preserveAspectRatio="none">{}</svg>').format(
        width, height, box, inner
    )


def _pixels(picture: Picture, grey: bool) -> Markup:
    """The picture in its own pixels."""
    data = picture.data
    if picture.kind == "wave":
        return _wave(data[: picture.width], data[picture.width :], grey)
    channels = picture.channels
    if grey:
        data, channels = _pale(data, channels), 1
    encoded = base64.b64encode(png(data, picture.width, picture.height, channels)).decode("ascii")
    inside = f'width="{picture.width}" height="{picture.height}" preserveAspectRatio="none" image-rendering="pixelated"'
    return Markup(f'<image {inside} href="data:image/png;base64,{encoded}"/>')


def _pale(data: bytes, channels: int) -> bytes:
    """Grey of little contrast, by the brightness of each pixel (ITU-R BT.601)."""
    light = (
        data
        if channels == 1
        else bytes(
            (299 * r + 587 * g + 114 * b) // 1000 for r, g, b in zip(data[::3], data[1::3], data[2::3], strict=True)
        )
    )
    table = bytes(round(255 * _DARKEST + _RANGE * i) for i in range(256))
    return light.translate(table)


def _wave(low: bytes, high: bytes, grey: bool) -> Markup:
    """The area between the lowest and the highest sample of each column, at least a line, 256 high."""
    steps = "".join(
        f"M{i} {255 - top}h1v{max(2, top - bottom)}h-1z" for i, (bottom, top) in enumerate(zip(low, high, strict=True))
    )
    return Markup(f'<path d="{steps}" fill="currentColor" fill-opacity="{0.55 if grey else 0.8}"/>')


# ---------------------------------------------------------------- what is over it


def _cell(box: Box, share: float, width: float, height: float) -> Cell | None:
    if not box:
        return None
    x, y, wide, high = box
    return Cell(x * width, y * height, wide * width, high * height, max(-1.0, min(1.0, share)))


def _tints(cells: Sequence[Cell | None], halves: bool) -> Iterator[Markup]:
    """Tints of about the same strength as one path: there may be many. halves: positive above the middle, negative below."""
    found: dict[tuple[bool, int], list[str]] = {}
    for cell in cells:
        if cell is None or abs(cell.share) < FROM:
            continue
        half = cell.height / 2
        shown = Cell(cell.x, cell.y + half * (cell.share < 0), cell.width, half, cell.share) if halves else cell
        found.setdefault((cell.share < 0, math.ceil(abs(cell.share) * 20 - 1e-9)), []).append(shown.outline)
    for (negative, level), outlines in sorted(found.items()):
        colour = NEGATIVE if negative else POSITIVE
        yield Markup(
            f'<path d="{"".join(outlines)}" fill="rgb({colour})" fill-opacity="{STRONGEST * level / 20:.3f}"/>'
        )


def _signs(cells: Sequence[Cell | None]) -> list[Markup]:
    strong = [c for c in cells if c is not None and abs(c.share) >= SIGNED_FROM and min(c.width, c.height) >= _ROOM]
    if not strong:
        return []
    steps = ""
    for cell in strong:
        x, y, arm = cell.x + cell.width / 2, cell.y + cell.height / 2, min(5.0, cell.width / 4)
        steps += f"M{x - arm:.1f} {y:.1f}h{2 * arm:.1f}" + (
            f"M{x:.1f} {y - arm:.1f}v{2 * arm:.1f}" if cell.share > 0 else ""
        )
    return [Markup(f'<path d="{steps}" fill="none" stroke="#000" stroke-width="1.5"/>')]


def _said(cells: Sequence[Cell | None], said: Sequence[str]) -> Iterator[Markup]:
    """The strongest places with what they say, where something is said."""
    known = [(cell, text) for cell, text in zip(cells, said, strict=False) if cell is not None]
    for cell, text in sorted(known, key=lambda pair: -abs(pair[0].share))[:MOST_SAID]:
        yield Markup('<path d="{}" fill="transparent"><title>{}</title></path>').format(
            cell.outline, escape(visible(text))
        )
