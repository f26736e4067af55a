"""How numbers are written, the same everywhere: in tables, sentences, pages and pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, Protocol

MINUS: Final = "\u2212"
MISSING: Final = "–"
_DIGITS: Final = 8
_LARGEST: Final = 1e6
#: What is nearer to 0 or 100 % than float32 tells apart counts as it.
_SAME: Final = 1e-6
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


def share_digits(values: Iterable[float | None]) -> int:
    """Digits after the point of the percentages of an interval, a range or a column: one where a whole number would make 0 or
    100 % of another share, else none.

    Never more, so that one extreme share does not give all that stand beside it digits that mean nothing.
    """
    return int(any(_made_an_end(v, 0) for v in values if v is not None and math.isfinite(v)))


def percent(value: float | None, digits: int | None = None) -> str:
    """A share as a percentage with `digits` after the point, by default its own `share_digits`.

    What is below 100 % is never written as 100 %: nearer than the digits tell it is a bound, `> 99.9 %`.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    digits = share_digits([value]) if digits is None else digits
    if 0.5 < value < 1 and _made_an_end(value, digits):
        return f"> {number(100 - 10.0**-digits, digits)} %"
    return f"{number(100 * value, digits)} %"


def _made_an_end(value: float, digits: int) -> bool:
    """Whether rounding makes 0 or 100 % of another share."""
    rounded = float(f"{100 * value:.{digits}f}")
    return any(rounded == 100 * end and abs(value - end) > _SAME for end in (0, 1))


def percent_interval(value: float | None, low: float | None, high: float | None, digits: int | None = None) -> str:
    """`93 % [88, 97]`."""
    digits = share_digits([value, low, high]) if digits is None else digits
    bounds = "" if low is None or high is None else f" [{percent(low, digits)[:-2]}, {percent(high, digits)[:-2]}]"
    return percent(value, digits) + bounds


def percent_range(low: float, high: float) -> str:
    """`12 to 30 %`."""
    digits = share_digits([low, high])
    first, last = percent(low, digits), percent(high, digits)
    return first if first == last else f"{first[:-2]} to {last}"


def interval(bounds: Iterable[float] | None, digits: int | None = None) -> str:
    """`[0.81, 0.90]`, or a dash."""
    return MISSING if bounds is None else f"[{', '.join(number(b, digits) for b in bounds)}]"


def count(value: int) -> str:
    """A number of things, with thousands apart."""
    return f"{value:,}"


def count_word(value: int) -> str:
    """A number that begins a sentence."""
    return _WORDS[value] if 0 <= value < len(_WORDS) else count(value)


def several(n: int, what: str) -> str:
    """A number of things: `1 pair`, `12 pairs`."""
    return f"{count(n)} {what if n == 1 else what + 's'}"


class Ranged(Protocol):
    """A number with the ends of its interval; None where there is none."""

    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def column_digits(column: Iterable[Ranged]) -> int:
    """Digits after the point of estimates that stand in one column as percentages, their intervals too."""
    return share_digits(v for found in column for v in (found.value, found.low, found.high))
