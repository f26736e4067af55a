"""Parquet files with JSON headers in their metadata: the one place where such a file is written and read.

A header has the number of its format; what else is in it, and in the columns, its owner says. Columns are plain numbers and texts:
reading a file executes nothing from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from interp.errors import InterpError
from interp.files import replacing
from interp.formatting.plain import strict_json
from interp.formatting.text import visible

#: What a reader may take of the metadata, in bytes: the header of a large value is longer than what parquet allows by default.
_LONGEST: Final = (1 << 31) - 1


def with_header(columns: Any, key: bytes, header: Mapping[str, Any]) -> Any:
    """A table of pyarrow with one more header in its metadata."""
    return columns.replace_schema_metadata({**(columns.schema.metadata or {}), key: json.dumps(header).encode()})


def write_columns(columns: Any, path: str | Path, **options: Any) -> None:
    """Write a table of pyarrow at once, with what it has of headers. options: those of `pyarrow.parquet.write_table`."""
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        pq.write_table(columns, temporary, **options)


def read_columns(path: str | Path, said: str, fault: type[InterpError]) -> Any:
    """The table of pyarrow in a file, headers included; pages that have a checksum are checked.

    Raises: `fault`, whose words begin with `said`, where it cannot be read as parquet.
    """
    with _opened(path, said, fault) as file:
        return file.read()


def read_headers(path: str | Path, said: str, fault: type[InterpError]) -> dict[bytes, bytes]:
    """The metadata of a file alone. Raises: as `read_columns`."""
    with _opened(path, said, fault) as file:
        return dict(file.schema_arrow.metadata or {})


@contextmanager
def _opened(path: str | Path, said: str, fault: type[InterpError]) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    limits = {"thrift_string_size_limit": _LONGEST, "thrift_container_size_limit": _LONGEST}
    try:
        with pq.ParquetFile(Path(path).absolute(), page_checksum_verification=True, **limits) as file:
            yield file
    except (OSError, ValueError, pa.ArrowException) as error:
        why = told(error) if Path(path).is_file() else "there is no such file"
        raise fault(f"{said}: {why}.") from error


def header_of(
    columns: Any, key: bytes, what: str, number: int, fault: type[InterpError], *, strict: bool = True
) -> Any:
    """The header of a table under a key. strict: no number that is not finite, no key twice.

    Raises: `fault`, whose words begin with `what`, for one that is no JSON object, or of another format than `number`.
    """
    text = (columns.schema.metadata or {}).get(key, b"{}")
    try:
        header = strict_json(text) if strict else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise fault(f"{what}: its header cannot be read: {told(error)}.") from error
    given = header.get("format") if isinstance(header, dict) else None
    if given != number or isinstance(given, bool):
        raise fault(f"{what} has format {str(given if given is None else repr(given))[:80]}; expected {number}.")
    return header


def told(error: Exception) -> str:
    """What is wrong, in one safe line without the full stop: a file may have chosen some of its words."""
    if isinstance(error, KeyError):
        return f"it has no {str(error)[:80]}"
    return visible(" ".join(str(error).split()) or type(error).__name__, 400).rstrip(".")
