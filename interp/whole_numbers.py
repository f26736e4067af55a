"""Whole numbers as users have them: of Python, numpy or torch."""

from __future__ import annotations

import operator
from typing import Any

from interp.errors import InterpError


def whole(value: Any, what: str, error: type[InterpError] = InterpError) -> int:
    """A whole number as an int: one of Python or numpy, or a tensor or array that holds just one.

    Raises: `error` naming `what` for anything else, also truth values and floats such as 3.0.
    """
    try:
        if is_whole(value):
            return operator.index(value)
    except (TypeError, RuntimeError):  # an array or a tensor of several
        pass
    raise error(f"{what} {value!r:.80}: expected a whole number.")


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, or an array or tensor of whole numbers; truth values are none."""
    kind = str(getattr(value, "dtype", type(value).__name__))
    return "bool" not in kind and hasattr(value, "__index__") and not isinstance(value, type)
