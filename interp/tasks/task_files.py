"""Task files: JSON, JSONL and CSV, in our own columns and in those of feature-circuits and EAP-IG."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from interp.errors import TaskError
from interp.tasks.files.file_rows import READERS, Rows, text_of
from interp.tasks.files.row_pairs import pair_of
from interp.tasks.pairs.pairs import Pair
from interp.tasks.task import Task


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
    head, rows = _rows(path)
    pairs = []
    for place, row in rows:
        where = f"{path.name} {place}"
        if not isinstance(row, Mapping):
            raise TaskError(f"{where}: expected an object with clean, corrupt, answer, wrong; given {row!r:.80}.")
        pair = pair_of(row, where)
        pairs.append(replace(pair, where=where, inputs=_files(pair, path.parent, where)))
    if not pairs:
        raise TaskError(f"task file {str(path)!r} is empty; expected at least one pair.")
    return Task(str(head.get("task") or path.stem), tuple(pairs), str(head.get("description", "")), str(path))


def _rows(path: Path) -> tuple[Mapping[str, Any], Rows]:
    """What a file says of itself, and its rows with their places. Raises: TaskError naming the file."""
    if not path.is_file():
        raise TaskError(
            f"task file {str(path)!r} does not exist. A task is a built-in name or a .json, .jsonl or .csv file."
        )
    try:
        return READERS[path.suffix](text_of(path.read_bytes()))
    except KeyError:
        raise TaskError(f"task file {str(path)!r}: expected .json, .jsonl or .csv.") from None
    except TaskError as error:
        raise TaskError(f"task file {str(path)!r}: {error}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, csv.Error, RecursionError) as error:
        raise TaskError(f"task file {str(path)!r} cannot be read as {path.suffix[1:]}: {error}.") from error


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
