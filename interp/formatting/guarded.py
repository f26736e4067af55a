"""The one guard around reading a file: whatever a damaged one sets off is told in a line with its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interp.errors import InterpError
from interp.formatting.parquet import told
from interp.formatting.plain import strict_json


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
