"""Task files: JSON, JSONL and CSV, in our own columns and in those of feature-circuits and EAP-IG."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from interp.errors import TaskError
from interp.formatting.plain import KeyTwice, strict_json
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.reading.chats import Messages, in_words, messages_of
from interp.tasks.task import Task

_PROMPTS: Final = (
    *("clean", "clean_prefix", "corrupt", "corrupted", "corrupted_hard", "patch_prefix"),
    *("decoder", "clean_decoder", "corrupt_decoder", "second", "clean_second", "corrupt_second"),
)
_COLUMNS: Final = {
    "clean": ("clean", "clean_prefix", "clean_messages"),
    "corrupt": ("corrupt", "corrupted", "patch_prefix", "corrupt_messages"),
    "answer": ("answer", "answers", "clean_answer"),
    "wrong": ("wrong", "patch_answer"),
    "answer_id": ("answer_id", "answer_ids", "correct_idx"),
    "wrong_id": ("wrong_id", "wrong_ids", "incorrect_idx"),
}


_SEPARATORS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
#: Every column that is read.
_READ: Final = (
    *(name for names in _COLUMNS.values() for name in names),
    *("clean_ids", "corrupt_ids", "label", "spans"),
    *(f"{side}{what}" for side in ("", "clean_", "corrupt_") for what in ("decoder", "second")),
)
#: The columns by which a header is known.
_NEEDED: Final = (_COLUMNS["clean"], _COLUMNS["corrupt"])


def load_task(path: str | Path) -> Task:
    """The task in a file: `.json` (an object with `pairs`, or a list), `.jsonl` (one pair a line) or `.csv`.

    A table has commas between its cells, or semicolons, tabs or bars. Files are UTF-8, or UTF-16 with its mark.
    A pair has `clean`, `corrupt`, `answer`, `wrong` (each answer one or several; `wrong` only for metrics that read it), and may have `spans` and token ids
    (`clean_ids`, `corrupt_ids`, `answer_id`, `wrong_id`). Of images and sound `clean` and `corrupt` are the names of files beside the task:
    pictures, `.wav`, or `.npy` with the numbers that the model takes. Chats are lists of messages, `{"role": ..., "content": ...}`, in
    place of both texts, or in `clean_messages` and `corrupt_messages`. Where an encoder reads both prompts, `decoder` is what its decoder
    has been given already, or `clean_decoder` and `corrupt_decoder`. Of a model that reads two texts (premise and hypothesis) the second one is
    `second`, or `clean_second` and `corrupt_second`. SVA files of feature-circuits and CSV tables of EAP-IG
    (also greater-than's `label`) are read by their own column names.

    Raises: TaskError naming the file, and the line of a pair, counted from 1; in JSON its place, as in `pair 3 of 8`.
    """
    path = Path(path)
    if not path.is_file():
        raise TaskError(
            f"task file {str(path)!r} does not exist. A task is a built-in name or a .json, .jsonl or .csv file."
        )
    try:
        head, rows = _READERS[path.suffix](_text_of(path.read_bytes()))
    except KeyError:
        raise TaskError(f"task file {str(path)!r}: expected .json, .jsonl or .csv.") from None
    except TaskError as error:
        raise TaskError(f"task file {str(path)!r}: {error}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, csv.Error, RecursionError) as error:
        raise TaskError(f"task file {str(path)!r} cannot be read as {path.suffix[1:]}: {error}.") from error
    pairs = []
    for place, row in rows:
        where = f"{path.name} {place}"
        if not isinstance(row, Mapping):
            raise TaskError(f"{where}: expected an object with clean, corrupt, answer, wrong; given {row!r:.80}.")
        pair = _pair(row, where)
        pairs.append(replace(pair, where=where, inputs=_files(pair, path.parent, where)))
    if not pairs:
        raise TaskError(f"task file {str(path)!r} is empty; expected at least one pair.")
    return Task(str(head.get("task") or path.stem), tuple(pairs), str(head.get("description", "")), str(path))


def _files(pair: Pair, folder: Path, where: str) -> tuple[Path, Path] | None:
    """The files beside the task that both prompts name, pictures or sounds; None where they are texts. Raises: TaskError where one is a
    file and the other is none, and for files outside the folder."""
    if pair.ids or pair.messages or not (pair.clean and pair.corrupt):
        return None
    found = [_file(folder, name) for name in (pair.clean, pair.corrupt)]
    if found == [None, None]:
        return None
    for what, name, file in zip(("clean", "corrupt"), (pair.clean, pair.corrupt), found, strict=True):
        if file is None or folder.resolve() not in file.resolve().parents:
            raise TaskError(
                f"{where}: {what!r} is {name!r:.80}, no file in the folder of the task; expected one, as the other is."
            )
    return found[0], found[1]  # type: ignore[return-value]


def _file(folder: Path, name: str) -> Path | None:
    try:
        return folder / name if (folder / name).is_file() else None
    except (OSError, ValueError):  # a text is no name of a file
        return None


Rows = list[tuple[str, Any]]


def _text_of(data: bytes) -> str:
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
    if twice := [name for name in _READ if header.count(name) > 1]:
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
    known = {mark: sum(not names.isdisjoint(ours) for ours in _NEEDED) for mark, names in found.items()}
    return max(known, key=lambda mark: known[mark]), 0


def _cell(name: str, value: Any) -> Any:
    """A cell that may hold several values (answers, ids, spans) is read as JSON where it looks like it."""
    if name in _PROMPTS or not (isinstance(value, str) and value.strip()[:1] in ("[", "{")):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


_READERS: Final = {".json": _read_json, ".jsonl": _read_jsonl, ".csv": _read_csv}


def _pair(row: Mapping[str, Any], where: str) -> Pair:
    """One row as a pair, ids included where it has them."""
    found = {ours: row[name] for ours, names in _COLUMNS.items() for name in names if row.get(name) not in (None, "")}
    if "label" in row and "answer" not in found:
        found |= _greater_than(str(row["label"]), where)
    missing = [name for name in ("clean", "corrupt") if name not in found]
    missing += [
        n for n in ("answer", "wrong") if not {n, f"{n}_id"} & {*found} and (n == "answer" or _is_named(n, row))
    ]
    if missing:
        raise TaskError(f"{where}: {', '.join(map(repr, missing))} missing; given columns: {', '.join(map(str, row))}.")
    texts = {name: _texts(found.get(name, ()), f"{where}: {name!r}") for name in ("answer", "wrong")}
    messages = _messages(found, where)
    clean, corrupt = (
        in_words(messages[name]) if messages else _text(found[name], f"{where}: {name!r}")
        for name in ("clean", "corrupt")
    )
    pair = Pair(
        clean,
        corrupt,
        texts["answer"],
        texts["wrong"],
        _spans(row.get("spans") or {}, where),
        messages=tuple(messages.values()) if messages else None,
        decoder=_of_both("decoder", row, where),
        second=_second(row, where),
    )
    beside = [texts for texts in (pair.decoder, pair.second) if texts is not None]
    if pair.clean == pair.corrupt and pair.clean and all(len(set(texts)) == 1 for texts in beside):
        raise TaskError(f"{where}: 'clean' and 'corrupt' are the same text; there is nothing to patch.")
    return _with_ids(pair, row, found, where)


def _of_both(what: str, row: Mapping[str, Any], where: str) -> tuple[str, str] | None:
    """A text that stands beside both prompts, of each or one for both; None where there is none, as in an empty cell. Raises: TaskError for
    one of two alone."""
    own = (f"clean_{what}", f"corrupt_{what}")
    said = [name for name in (*own, what) if row.get(name) not in (None, "")]
    both = [name for name in said if name in own]
    if both and len(said) != 2:
        raise TaskError(f"{where}: {both[0]!r} given; expected {own[0]!r} and {own[1]!r}, or {what!r} for both.")
    if not said:
        return None
    clean, corrupt = both or (what, what)
    return _text(row[clean], f"{where}: {clean!r}"), _text(row[corrupt], f"{where}: {corrupt!r}")


def _second(row: Mapping[str, Any], where: str) -> tuple[str, str] | None:
    """The second texts of a model that reads two. Raises: TaskError where the row has token ids too."""
    found = _of_both("second", row, where)
    if found is not None and "clean_ids" in row:
        raise TaskError(f"{where}: second texts with 'clean_ids'; expected texts, or ids of both texts together.")
    return found


def _messages(found: Mapping[str, Any], where: str) -> dict[str, Messages] | None:
    """Both prompts as chats; None where they are texts. Raises: TaskError where one is a chat and the other is not."""
    given = {name: found[name] for name in ("clean", "corrupt")}
    chats = [isinstance(prompt, list) and all(isinstance(m, Mapping) for m in prompt) for prompt in given.values()]
    if not any(chats):
        return None
    if not all(chats):
        raise TaskError(f"{where}: one of 'clean' and 'corrupt' is a list of messages; expected both, or two texts.")
    return {name: messages_of(prompt, f"{where}: {name!r}") for name, prompt in given.items()}


def _is_named(name: str, row: Mapping[str, Any]) -> bool:
    """Whether a row has a column of this kind, be it empty: a pair without wrong answers has none."""
    return any(column in row for column in (*_COLUMNS[name], *_COLUMNS[f"{name}_id"]))


def _with_ids(pair: Pair, row: Mapping[str, Any], found: Mapping[str, Any], where: str) -> Pair:
    """Token ids go with the pair: of prompts and answers, or of answers beside prompts as text, where both have them or a text is missing."""
    ids = {name: _ids(found[f"{name}_id"], where) for name in ("answer", "wrong") if f"{name}_id" in found}
    if not ("clean_ids" in row and "corrupt_ids" in row):
        both = len(ids) == 2
        texts = (("answer", pair.answers), ("wrong", pair.wrong))
        answers, wrong = (ids.get(name, ()) if both or not text else () for name, text in texts)
        return replace(pair, answer_ids=answers, wrong_ids=wrong)
    if "answer" not in ids or (pair.wrong and "wrong" not in ids):
        raise TaskError(f"{where}: 'clean_ids' given; expected 'answer_id' and 'wrong_id' with them.")
    clean, corrupt = _ids(row["clean_ids"], where), _ids(row["corrupt_ids"], where)
    if clean == corrupt and clean:
        raise TaskError(f"{where}: 'clean_ids' and 'corrupt_ids' are the same; there is nothing to patch.")
    return replace(pair, ids=TokenPair(clean, corrupt, ids["answer"], ids.get("wrong", ()), pair.spans))


def _greater_than(label: str, where: str) -> dict[str, list[str]]:
    """Two-digit endings above the label are right, the others wrong."""
    if not (len(label) in (1, 2) and label.isdecimal()):  # that table drops the zero of a label below 10
        raise TaskError(f"{where}: 'label' is {label!r}; expected two digits, as in EAP-IG's greater-than table.")
    label, endings = label.zfill(2), [f"{i:02d}" for i in range(100)]
    return {"answer": [e for e in endings if e > label], "wrong": [e for e in endings if e <= label]}


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TaskError(f"{what} is {value!r:.80}; expected text.")
    return value


def _texts(value: Any, what: str) -> tuple[str, ...]:
    return tuple(_text(v, what) for v in (value if isinstance(value, (list, tuple)) else [value]))


def _ids(value: Any, where: str) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    if any(isinstance(v, (bool, float)) for v in values):
        raise TaskError(f"{where}: token ids {value!r:.80}; expected integers.")
    try:
        return tuple(int(v) for v in values)
    except (TypeError, ValueError):
        raise TaskError(f"{where}: token ids {value!r:.80}; expected integers.") from None


def _spans(value: Any, where: str) -> dict[str, tuple[int, int]]:
    """`{name: [start, end]}`, or `{name: index}` for one token."""
    spans = {}
    items = value.items() if isinstance(value, Mapping) else [("spans", value)]
    for name, span in items:
        span = [span, span + 1] if isinstance(span, int) else span
        if not (isinstance(span, list) and len(span) == 2 and all(isinstance(i, int) for i in span)):
            raise TaskError(f"{where}: span {name!r} is {span!r:.80}; expected [start, end] in tokens.")
        spans[str(name)] = (span[0], span[1])
    return spans
