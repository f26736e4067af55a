"""JSON of strangers, read strictly: no key twice, no key unknown, no number that a float64 cannot hold."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from interp.errors import InterpError
from interp.formatting.plain import KeyTwice, NotFinite, strict_json


class InterchangeError(InterpError):
    """A file of another project that cannot be read, or a value that its format cannot hold."""


def read_json(path: str | Path) -> Any:
    """The JSON of a file. Raises: InterchangeError for a file that is none, or that gives a key twice."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InterchangeError(f"{str(path)!r} cannot be read: {error}.") from error
    return parse_json(text, str(path))


def parse_json(text: str, where: str) -> Any:
    """The value of JSON text. Raises: InterchangeError as `read_json`; `where` names the text."""
    try:
        return strict_json(text, infinite=True)
    except KeyTwice as error:
        raise InterchangeError(f"{where!r}: the key {error.key!r} is given twice; expected once.") from error
    except NotFinite as error:
        raise InterchangeError(
            f"{where!r}: the number {error.number} is too large for a float64; infinity is written Infinity."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InterchangeError(f"{where!r} is not JSON: {error or 'nested too deep'}.") from error


def members(what: str, given: Any, needed: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """`given` as an object that has every needed key, and others only if optional. Raises: InterchangeError."""
    if not isinstance(given, dict):
        raise InterchangeError(f"{what} is {_shown(given)}; expected an object with {', '.join(needed)}.")
    for name in needed:
        if name not in given:
            raise InterchangeError(f"{what} has no {name!r}; expected {', '.join([*needed, *optional])}.")
    for name in given:
        if name not in needed and name not in optional:
            raise InterchangeError(f"{what} has the unknown key {name!r}; expected {', '.join([*needed, *optional])}.")
    return given


def number(what: str, given: Any) -> float:
    """`given` as a float64, unchanged. Raises: InterchangeError for another type or an integer that would be rounded."""
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise InterchangeError(f"{what} is {_shown(given)}; expected a number.")
    try:
        exact = math.isnan(given) or float(given) == given
    except OverflowError:
        exact = False
    if not exact:
        raise InterchangeError(
            f"{what} is {_shown(given)}, which a float64 cannot hold; expected a number that it can."
        )
    return float(given)


def flag(what: str, given: Any) -> bool:
    """`given` as true or false. Raises: InterchangeError for another type."""
    if not isinstance(given, bool):
        raise InterchangeError(f"{what} is {_shown(given)}; expected true or false.")
    return given


def count(what: str, given: Any) -> int:
    """`given` as a whole number of at least 1. Raises: InterchangeError."""
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise InterchangeError(f"{what} is {_shown(given)}; expected a whole number of at least 1.")
    return given


def _shown(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 60 else f"{text[:57]}..."
