"""Inline SVG: elements with escaped text, scales, ticks, axes. Colours are classes of the style sheet, so that one
drawing serves light and dark mode: positive and negative differ in hue, size is opacity, and zero is the background."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from interp.formatting.numbers import number
from interp.formatting.text import visible

LETTER: Final = 6.6


def element(tag: str, attributes: dict[str, str | float], *children: str | Markup) -> Markup:
    """One SVG element; strings among the children are text."""
    given = "".join(f' {key}="{_value(value)}"' for key, value in attributes.items())
    inner = "".join(child if isinstance(child, Markup) else escape(visible(child)) for child in children)
    return Markup(f"<{tag}{given}>{inner}</{tag}>")


def _value(value: str | float) -> str:
    if isinstance(value, Markup):
        return value
    return (
        str(escape(visible(value))) if isinstance(value, str) else f"{value:.6g}" if abs(value) < 1 else f"{value:.1f}"
    )


def label(x: float, y: float, text: str, kind: str = "", turn: float = 0) -> Markup:
    """Text at a place; `kind` is a class of the style sheet."""
    place: dict[str, str | float] = {"x": x, "y": y}
    if kind:
        place["class"] = kind
    if turn:
        place["transform"] = f"rotate({turn:g} {x:.1f} {y:.1f})"
    return element("text", place, text)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return element("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "class": kind})


def path(points: Iterable[tuple[float, float]], kind: str, closed: bool = False) -> Markup:
    """A line through points, or the area inside them."""
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    # Made of numbers only, so that it is safe, and never cut as long text is.
    return element("path", {"d": Markup(f"M{steps}{'Z' if closed else ''}"), "class": kind})


def drawing(width: float, height: float, name: str, *parts: Markup) -> Markup:
    """A whole picture; `name` is what a screen reader says, nothing where the text beside it says all."""
    spoken: dict[str, str | float] = {"role": "img", "aria-label": name} if name else {"aria-hidden": "true"}
    size: dict[str, str | float] = {"width": width, "height": height, "viewBox": f"0 0 {width:.0f} {height:.0f}"}
    return element("svg", {**spoken, **size}, *parts)


def strength(value: float, limit: float) -> tuple[str, float]:
    """The class of a value's colour and its opacity, on a scale that is symmetric about zero."""
    share = min(1.0, abs(value) / limit) if limit > 0 else 0.0
    return ("neg" if value < 0 else "pos"), round(share, 3)


def shade(value: float, limit: float) -> str:
    """The classes of a background that shows a value, in steps of 5 %."""
    sign, opacity = strength(value, limit)
    return f"shade {sign} a{5 * math.ceil(20 * opacity - 1e-9)}"


def width_of(texts: Iterable[str]) -> float:
    """About how wide the longest of some labels is."""
    return LETTER * max((len(text) for text in texts), default=0)


@dataclass(frozen=True)
class Scale:
    """Values `low` .. `high` to pixels `start` .. `end`; `log` counts in log(1 + value)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log1p(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / ((high - low) or 1.0) * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Whether the value lies on the scale."""
        return self.low <= value <= self.high


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values between two others."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [step * i for i in range(first, math.floor(high / step + 1e-9) + 1)]


def axes(
    x: Scale,
    y: Scale,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    names: tuple[str, str],
) -> Markup:
    """Both axes of a chart with their grid, tick labels and names."""
    parts = [line(x(at), y.start, x(at), y.end, "grid") for at, _ in x_ticks]
    parts += [line(x.start, y(at), x.end, y(at), "grid") for at, _ in y_ticks]
    parts += [label(x(at), y.start + 18, text, "middle") for at, text in x_ticks]
    parts += [label(x.start - 8, y(at) + 4, text, "end") for at, text in y_ticks]
    parts += [line(x.start, y.start, x.end, y.start, "axis"), line(x.start, y.start, x.start, y.end, "axis")]
    parts.append(label((x.start + x.end) / 2, y.start + 40, names[0], "middle name"))
    parts.append(label(x.start - 54, (y.start + y.end) / 2, names[1], "middle name", turn=-90))
    return element("g", {}, *parts)


def numbered(values: Sequence[float]) -> list[tuple[float, str]]:
    """Ticks with their numbers, all with the same digits."""
    steps = [abs(b - a) for a, b in itertools.pairwise(values)]
    digits = max(0, -math.floor(math.log10(min(steps)) + 1e-9)) if steps else None
    return [(value, number(value, digits)) for value in values]
