"""How numbers are written, the same everywhere on the page."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

MINUS: Final = "\u2212"
MISSING: Final = "–"
_DIGITS: Final = 8
_LARGEST: Final = 1e6
_WORDS: Final = [
    "None",
    "One",
    "Two",
    "Three",
    "Four",
    "Five",
    "Six",
    "Seven",
    "Eight",
    "Nine",
    "Ten",
    "Eleven",
    "Twelve",
]


def decimals(values: Iterable[float | None], significant: int = 4) -> int:
    """Digits after the point that show the largest of a column with `significant` digits."""
    largest = max((abs(v) for v in values if v is not None and math.isfinite(v)), default=0.0)
    return max(0, significant - 1 - math.floor(math.log10(largest))) if largest else 0


def number(value: float | None, digits: int | None = None, plus: bool = False) -> str:
    """A number with `digits` after the point (by default four significant); powers of ten where that is too long."""
    if value is None or not math.isfinite(value):
        return MISSING
    digits = decimals([value]) if digits is None else digits
    size = abs(value)
    text = f"{size:.2e}" if size and (digits > _DIGITS or size >= _LARGEST) else f"{size:.{min(digits, _DIGITS)}f}"
    zero = float(text) == 0
    return ("" if zero else MINUS if value < 0 else "+" if plus else "") + text


def score(value: float | None, digits: int | None = None) -> str:
    """A number that is an effect: always with its sign."""
    return number(value, digits, plus=True)


def percent(value: float | None) -> str:
    """A ratio as a whole percentage, with one digit more where that would be 0 or hide a difference from 100."""
    if value is None or not math.isfinite(value):
        return MISSING
    near = 0.0005 <= abs(value) < 0.0095 or 0.995 <= abs(value) < 0.9995
    return f"{number(100 * value, 1 if near else 0)} %"


def percent_interval(value: float | None, low: float | None, high: float | None) -> str:
    """`93 % [88, 97]`."""
    bounds = "" if low is None or high is None else f" [{percent(low)[:-2]}, {percent(high)[:-2]}]"
    return percent(value) + bounds


def interval(bounds: Iterable[float] | None, digits: int | None = None) -> str:
    """`[0.81, 0.90]`, or a dash."""
    return MISSING if bounds is None else f"[{', '.join(number(b, digits) for b in bounds)}]"


def count(value: int) -> str:
    """A number of things, with thousands apart."""
    return f"{value:,}"


def count_word(value: int) -> str:
    """A number that begins a sentence."""
    return _WORDS[value] if 0 <= value < len(_WORDS) else count(value)
