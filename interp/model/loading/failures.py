"""Whatever a library below raises, as a LoadError of one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from interp.errors import InterpError, LoadError


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
    """The first line of an error, with the next where it only begins a sentence, and its type where that says more."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()] or [""]
    first = " ".join(lines[: 1 + lines[0].endswith(":")])
    return (
        first
        if first and isinstance(error, (OSError, ValueError, RuntimeError))
        else f"{type(error).__name__}: {first}"
    )
