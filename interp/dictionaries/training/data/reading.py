"""From what a caller gives as data to numbered documents: files, datasets on disk, lists, iterators."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training.data.documents import DEMO, WANTED, Documents, Listed, Stream, Written, flat

#: A text without blank lines is one document; it is cut at line ends into pieces of about so many characters.
PIECE: Final = 2000


class Lines:
    """The texts of a .jsonl file, read line by line as they are asked for; only where lines begin is kept."""

    def __init__(self, path: Path) -> None:
        self.path, self.starts = path, []
        at = 0
        with path.open("rb") as file:
            for line in file:
                if line.strip():
                    self.starts.append(at)
                at += len(line)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: int) -> Any:
        with self.path.open("rb") as file:
            file.seek(self.starts[i])
            line = file.readline()
        try:
            found = json.loads(line)
        except ValueError as error:
            raise DictionaryError(f"{self.path}: document {i} is no JSON ({error}).") from error
        if not isinstance(found, Mapping) or not isinstance(found.get("text"), str):
            raise DictionaryError(f"{self.path}: document {i} has no key 'text' with a text.")
        return found["text"]


class Column:
    """One column of a dataset on disk, read row by row as it is asked for."""

    def __init__(self, dataset: Any, column: str) -> None:
        self.dataset, self.column = dataset, column

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> Any:
        return self.dataset[i][self.column]


def open_documents(data: Any, seed: int) -> Documents:
    """The documents of `data`: one of `WANTED`. Raises: DictionaryError where it is none, or holds none."""
    found = _opened(data, seed)
    if found.count == 0:
        raise DictionaryError(f"{found.name} holds no documents; expected {WANTED}.")
    return found


def check_there(data: str) -> None:
    """What can be said of a name of data before any is read. Raises: DictionaryError for a file that is not there, or of another kind."""
    path = Path(data)
    if data == DEMO or path.is_dir():
        return
    try:
        path.open("rb").close()
    except OSError as error:
        raise _unreadable(path, error) from error
    if path.suffix not in (".jsonl", ".txt", ".json"):
        raise _other_kind(path)


def _unreadable(path: Path, error: OSError | ValueError) -> DictionaryError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return DictionaryError(f"data {str(path)!r} cannot be read: {reason}. Expected {WANTED}.")


def _other_kind(path: Path) -> DictionaryError:
    return DictionaryError(f"data {str(path)!r}: expected {WANTED}.")


def _opened(data: Any, seed: int) -> Documents:
    if isinstance(data, (str, Path)):
        return Written(seed) if str(data) == DEMO else _of_path(Path(data))
    if hasattr(data, "column_names") and hasattr(data, "num_rows"):
        return _of_dataset(data, "the dataset")
    if isinstance(data, Iterator):
        return Stream(data)
    if isinstance(data, Iterable) and not isinstance(data, (Mapping, bytes)):
        if hasattr(data, "__len__"):
            return Listed(list(flat(iter(data))), "the list")
        return Stream(iter(data))
    raise DictionaryError(f"data={data!r:.80}: expected {WANTED}.")


def _of_path(path: Path) -> Documents:
    try:
        if path.is_dir():
            return _of_folder(path)
        with path.open("rb") as file:
            known = hashlib.file_digest(file, "sha256").hexdigest()
        if path.suffix == ".jsonl":
            return Listed(Lines(path), str(path), known)
        if path.suffix == ".txt":
            return Listed(_blocks(path.read_text(encoding="utf-8")), str(path), known)
        if path.suffix == ".json":
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, list):
                raise DictionaryError(f"{path}: holds a {type(found).__name__}; expected a list of texts.")
            return Listed(found, str(path), known)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    raise _other_kind(path)


def _of_folder(path: Path) -> Documents:
    """A dataset that `datasets` saved to disk; its rows stay there."""
    if not (path / "dataset_info.json").is_file() and not (path / "dataset_dict.json").is_file():
        raise DictionaryError(f"folder {str(path)!r} is no dataset saved to disk; expected {WANTED}.")
    datasets: Any = import_module("datasets")  # has no types
    found = datasets.load_from_disk(str(path))
    if isinstance(found, dict):
        if len(found) != 1:
            raise DictionaryError(f"{path} has splits {', '.join(found)}: give the folder of one of them.")
        found = next(iter(found.values()))
    return _of_dataset(found, str(path))


def _of_dataset(dataset: Any, name: str) -> Documents:
    column = next((c for c in ("text", "input_ids") if c in dataset.column_names), None)
    if column is None:
        raise DictionaryError(f"{name} has columns {', '.join(dataset.column_names)}; expected 'text' or 'input_ids'.")
    return Listed(Column(dataset, column), name, f"{dataset._fingerprint}:{column}")


def _blocks(text: str) -> list[str]:
    """The blocks of a text between blank lines; one block alone is cut at line ends."""
    blocks = [block for block in text.replace("\r\n", "\n").split("\n\n") if block.strip()]
    if len(blocks) > 1:
        return blocks
    pieces: list[str] = []
    for line in text.splitlines(keepends=True):
        if pieces and len(pieces[-1]) + len(line) <= PIECE:
            pieces[-1] += line
        else:
            pieces.append(line)
    return [piece for piece in pieces if piece.strip()]
