"""Whole numbers as users have them: of Python, numpy or torch."""

from __future__ import annotations

import operator
from typing import Any

from interp.errors import InterpError


def whole(value: Any, what: str, error: type[InterpError] = InterpError) -> int:
    """A whole number as an int: one of Python or numpy, or a tensor or array without axes that holds one.

    Raises: `error` naming `what` for anything else, also truth values and floats such as 3.0.
    """
    if not is_whole(value):
        raise error(f"{what} {value!r:.80}: expected a whole number.")
    return operator.index(value)


def count(value: Any, what: str, error: type[InterpError] = InterpError, *, least: int = 1, expected: str = "") -> int:
    """A whole number from `least` on, as an int. Raises: `error` naming `what`, and what was `expected`, for anything else."""
    found = whole(value, what, error)
    if found < least:
        raise error(f"{what}={found}: expected {expected or f'{least} or more'}.")
    return found


def is_whole(value: Any) -> bool:
    """Whether a value is one whole number; truth values and floats are none."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or getattr(value, "ndim", False):
        return False
    kind = str(getattr(value, "dtype", "int"))
    return "int" in kind and not isinstance(value, type)
