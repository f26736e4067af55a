"""From the bytes of a task file to its rows, each with its place: encodings, JSON, JSONL, and tables with any of four separators."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Mapping
from typing import Any, Final

from interp.errors import TaskError
from interp.formatting.plain import KeyTwice, strict_json
from interp.tasks.files.columns import NEEDED, PROMPTS, READ

_SEPARATORS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
Rows = list[tuple[str, Any]]


def text_of(data: bytes) -> str:
    """UTF-8, or the UTF-16 that a file says it is in by its first bytes. Raises: TaskError for other encodings, whose letters
    cannot be told from the bytes."""
    if data[:4] in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        raise TaskError("cannot be read: it is UTF-32. Save it as UTF-8.")
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise TaskError(
                f"cannot be read: it begins as UTF-16 and is none ({error.reason}). Save it as UTF-8."
            ) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(
            f"cannot be read: byte {data[error.start]:#04x} at {error.start} is not UTF-8; another encoding, such as Windows' cp1252 "
            "or UTF-16, is not guessed. Save it as UTF-8 (in a spreadsheet: CSV UTF-8)."
        ) from error
    if "\0" in text:
        raise TaskError("cannot be read: it holds zero bytes, as UTF-16 without its mark does. Save it as UTF-8.")
    return text


def _read_json(text: str) -> tuple[Mapping[str, Any], Rows]:
    data = _loaded(text)
    if isinstance(data, list):
        head, pairs = {}, data
    elif isinstance(data, dict) and isinstance(data.get("pairs"), list):
        head, pairs = data, data["pairs"]
    else:
        raise TaskError("a JSON task file is a list of pairs or an object with a list 'pairs'.")
    return head, [(f"pair {i} of {len(pairs)}", pair) for i, pair in enumerate(pairs, 1)]


def _read_jsonl(text: str) -> tuple[Mapping[str, Any], Rows]:
    rows: Rows = []
    for i, line in enumerate(text.split("\n"), 1):
        try:
            rows += [(f"line {i}", _loaded(line))] if line.strip() else []
        except json.JSONDecodeError as error:
            raise TaskError(f"line {i} cannot be read as jsonl: {error.msg} at column {error.colno}.") from error
        except TaskError as error:
            raise TaskError(f"line {i}: {error}") from error
    return {}, rows


def _loaded(text: str) -> Any:
    """The value of JSON. Raises: TaskError where a key is given twice, so that one of two values would be lost, and for numbers
    that no number holds; JSONDecodeError for other text."""
    try:
        return strict_json(text, infinite=True)
    except json.JSONDecodeError:
        raise
    except KeyTwice as error:
        raise TaskError(f"the key {error.key!r} is given twice; expected once.") from error
    except ValueError as error:
        raise TaskError(f"cannot be read: {error}.") from error


def _read_csv(text: str) -> tuple[Mapping[str, Any], Rows]:
    """Rows by the line that they begin on: cells in quotes may hold line breaks."""
    separator, skipped = _separator(text)
    lines = io.StringIO(text, newline="")
    for _ in range(skipped):
        lines.readline()
    reader, rows = csv.reader(lines, delimiter=separator, strict=True), list[tuple[str, Any]]()
    header, line = next(reader, []), reader.line_num + skipped + 1
    if twice := [name for name in READ if header.count(name) > 1]:
        raise TaskError(f"the header names {twice[0]!r} more than once; expected every column once.")
    try:
        for cells in reader:
            if len(cells) > len(header):
                raise TaskError(
                    f"line {line} has more cells than the header; put prompts that contain {_SEPARATORS[separator]}s in quotes."
                )
            row = dict.fromkeys(header) | dict(zip(header, cells, strict=False))
            rows += [(f"line {line}", {name: _cell(name, value) for name, value in row.items()})] if cells else []
            line = reader.line_num + skipped + 1
    except csv.Error as error:
        raise TaskError(f"line {line} cannot be read as csv: {error}.") from error
    return {}, rows


def _separator(text: str) -> tuple[str, int]:
    """What stands between cells, and how many lines stand before the header: the comma, or what makes the header one of a task, as
    spreadsheets write it in languages with a decimal comma. A first line `sep=;` says it itself."""
    first, _, rest = text.partition("\n")
    said = first.strip().strip('"').lower()
    if (said.startswith("sep=") and said[4:] in (";", ",", "|")) or said == "sep=":
        return said[4:] or "\t", 1
    header = first if first.strip() else rest.partition("\n")[0]
    found = {mark: {name.strip(' "\r') for name in header.split(mark)} for mark in _SEPARATORS}
    known = {mark: sum(not names.isdisjoint(ours) for ours in NEEDED) for mark, names in found.items()}
    return max(known, key=lambda mark: known[mark]), 0


def _cell(name: str, value: Any) -> Any:
    """A cell that may hold several values (answers, ids, spans) is read as JSON where it looks like it."""
    if name in PROMPTS or not (isinstance(value, str) and value.strip()[:1] in ("[", "{")):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


READERS: Final = {".json": _read_json, ".jsonl": _read_jsonl, ".csv": _read_csv}
