"""Writing files so that a reader sees the old one or the new one, never half of either."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interp.errors import InterpError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    Raises: InterpError where a folder, a device or a pipe is at `path`: a file in its place would take it away.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise InterpError(f"{str(path)!r} is {'a folder' if path.is_dir() else 'a device or a pipe'}; expected a file.")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` at once."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
