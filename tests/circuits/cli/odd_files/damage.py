"""Ways to damage a file of a run: every key taken away or given a value of another kind, and text that is no such file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Damage = Callable[[Path], None]
OTHER: tuple[Any, ...] = (
    None, True, 0, -7, 2.5, "x", "", [], {}, [1], [None], {"x": 1}, float("inf"), float("nan"), 10**30, 10**400, [[[]]],
)  # fmt: skip
TEXTS = (
    b"", b"null", b"[]", b"{}", b"1", b'"x"', b"\xff\xfe", b"[" * 100_000, b"{" * 9, b'{"format": ' + b"9" * 5000 + b"}",
    b'{"format": 1}', b'{"format": true}', b"\x00" * 64, b"PAR1", b"PAR1PAR1",
)  # fmt: skip
#: So many entries of a list stand for all.
FIRST = 2


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value stands in JSON: the keys on the way to it."""
    inner = data.items() if isinstance(data, dict) else enumerate(data[:FIRST]) if isinstance(data, list) else ()
    for key, value in inner:
        yield (*at, key)
        yield from places(value, (*at, key))


def of_json(data: Any) -> Iterator[tuple[str, Any]]:
    """What was done, and the damaged value."""
    for place in places(data):
        yield f"{place} taken away", _changed(data, place, None, gone=True)
        yield from ((f"{place} is {other!r:.20}", _changed(data, place, other)) for other in OTHER)


def _changed(data: Any, place: tuple[Any, ...], value: Any, gone: bool = False) -> Any:
    again = json.loads(json.dumps(data))
    inside = again
    for key in place[:-1]:
        inside = inside[key]
    if gone:
        del inside[place[-1]]
    else:
        inside[place[-1]] = value
    return again


def of_files(run: Path) -> Iterator[tuple[str, Damage]]:
    """Whole files: other text, half of it, one byte another, a folder, nothing."""
    for file in sorted(run.iterdir()):
        name, size = file.name, file.stat().st_size
        for text in TEXTS:
            yield f"{name} is {text[:12]!r}", lambda r, name=name, text=text: _write(r / name, text)
        for cut in (1, size // 2, size - 1):
            yield f"{name} ends at {cut}", lambda r, name=name, cut=cut: _write(r / name, (r / name).read_bytes()[:cut])
        for at in (0, size // 3, size // 2, size - 5):
            yield f"{name} byte {at}", lambda r, name=name, at=at: _flip(r / name, at)
        yield f"{name} is a folder", lambda r, name=name: _folder(r / name)
        yield f"{name} is gone", lambda r, name=name: (r / name).unlink()


def of_parquet(run: Path) -> Iterator[tuple[str, Damage]]:
    """Tables: headers of other values, columns taken away or of another kind."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in sorted(run.glob("*.parquet")):
        table = pq.read_table(file)
        name, metadata = file.name, dict(table.schema.metadata)
        header = json.loads(metadata[b"interp.scores"])
        for text in (b"", b"null", b"[]", b"\xff", b"[" * 100_000, b'{"format": 1}'):
            changed = table.replace_schema_metadata({**metadata, b"interp.scores": text})
            yield f"{name} header {text[:9]!r}", lambda r, name=name, t=changed: pq.write_table(t, r / name)
        for what, data in of_json(header):
            changed = table.replace_schema_metadata({**metadata, b"interp.scores": json.dumps(data).encode()})
            yield f"{name} header {what}", lambda r, name=name, t=changed: pq.write_table(t, r / name)
        for column in ("per_example", "exact", "error"):
            if column not in table.column_names:
                continue
            without, n = table.drop_columns([column]), table.num_rows
            for values in (["x"] * n, [None] * n, [[1.0]] * n, [[]] * n, [0] * n, [[float("nan")]] * n):
                changed = without.append_column(column, pa.array(values))
                yield f"{name} {column} {values[:1]}", lambda r, name=name, t=changed: pq.write_table(t, r / name)
            yield f"{name} without {column}", lambda r, name=name, t=without: pq.write_table(t, r / name)
            yield f"{name} without rows", lambda r, name=name, t=table: pq.write_table(t.slice(0, 0), r / name)


def in_json(run: Path) -> Iterator[tuple[str, Damage]]:
    """Every JSON file of a run, every place of it."""
    for file in sorted(run.glob("*.json")):
        for what, data in of_json(json.loads(file.read_text(encoding="utf-8"))):
            text = json.dumps(data).encode()
            yield f"{file.name} {what}", lambda r, name=file.name, text=text: _write(r / name, text)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[max(0, at)] ^= 0x41
    path.write_bytes(bytes(data))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
