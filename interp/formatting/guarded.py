"""The one guard around reading a file: whatever a damaged one sets off is told in a line with its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from interp.errors import InterpError
from interp.formatting.parquet import told
from interp.formatting.plain import strict_json

T = TypeVar("T")
_EXPECTED: Final[dict[type, str]] = {dict: "an object with keys", list: "a list"}


@contextmanager
def reading(what: str, fault: type[InterpError]) -> Iterator[None]:
    """Around all that is made of a file, from its bytes to the value. what: the file, as messages call it.

    A file may hold anything, so that anything may go wrong in it: every error is the file's. Raises: `fault`.
    """
    try:
        yield
    except Exception as error:
        raise fault(f"{what} cannot be read: {told(error)}.") from error


def read_json(path: str | Path) -> Any:
    """The JSON of a file: numbers finite, keys once. For use inside `reading`."""
    return strict_json(Path(path).read_bytes().decode("utf-8"))


def foreign_json(path: Path, kind: type[T], what: str, fault: type[InterpError]) -> T:
    """The JSON of another program's file, an object or a list, of whatever numbers. what: the file, as messages call it.

    Raises: `fault` for a file that cannot be read or holds something else.
    """
    with reading(what, fault):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, kind):
        raise fault(f"{what} holds a {type(found).__name__}; expected {_EXPECTED[kind]}.")
    return found
