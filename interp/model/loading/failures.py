"""Whatever a library below raises, as a LoadError of one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from interp.errors import InterpError, LoadError

#: How Python writes a class.
_CLASS: Final = re.compile(r"<class '(?:\w+\.)*(\w+)'>")
_LONGEST: Final = 400


@contextmanager
def failing(what: str, where: Callable[[], str] = str) -> Iterator[None]:
    """Whatever a library raises becomes a LoadError that begins with `what` and where it lies; the toolkit's errors, the end
    of memory and Ctrl-C stay as they are."""
    try:
        yield
    except (InterpError, MemoryError):
        raise
    except Exception as error:
        raise LoadError(f"{what}: {where()}{cause(error)}") from error
    except BaseException as error:  # a panic in a library written in Rust is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise LoadError(f"{what}: {where()}{cause(error)}") from error


def cause(error: BaseException) -> str:
    """The first line of an error, with the next where it only begins a sentence, and its type where that says more; without the
    modules of classes, and cut where it becomes a list."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()] or [""]
    first = _CLASS.sub(r"\1", " ".join(lines[: 1 + lines[0].endswith(":")]))
    first = first if len(first) <= _LONGEST else f"{first[:_LONGEST]}..."
    return (
        first
        if first and isinstance(error, (OSError, ValueError, RuntimeError))
        else f"{type(error).__name__}: {first}"
    )
