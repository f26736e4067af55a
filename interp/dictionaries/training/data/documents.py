"""What a dictionary is trained on, as numbered documents: text, or token ids.

A source is read by number, so that a run can go on where it stopped and go over its data again in another order. A one-shot
iterator is read by number too, forwards only.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, Protocol

from interp.dictionaries.activation import DictionaryError
from interp.parts.tokens import Tokens, as_tokens
from interp.whole_numbers import is_whole

Document = str | list[int]
DEMO: Final = "demo"
WANTED: Final = (
    "a .txt, .json (list of texts) or .jsonl (key text) file, a folder of a dataset saved to disk, texts, rows of token ids, "
    "an iterable of these, or 'demo'"
)


class Documents(Protocol):
    """Numbered documents."""

    @property
    def name(self) -> str:
        """What messages call them."""

    @property
    def count(self) -> int | None:
        """How many there are; None: without end, or not known before it."""

    def read(self, i: int, keep: bool = False) -> Document:
        """Document i; `keep`: it will be read again. Raises: IndexError behind the last one."""

    def fingerprint(self) -> str:
        """A hash of the content, as far as it is known."""


class Indexed(Protocol):
    """Entries by number: a list, or what reads them from a file as they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> Any: ...


class Listed:
    """Documents in memory, or in a sequence that reads them as they are asked for."""

    def __init__(self, documents: Indexed, name: str, fingerprint: str = "") -> None:
        self.documents, self.name, self.count = documents, name, len(documents)
        self._fingerprint = fingerprint

    def read(self, i: int, keep: bool = False) -> Document:
        return checked(self.documents[i], f"{self.name}[{i}]")

    def fingerprint(self) -> str:
        return self._fingerprint or digest(self.read(i) for i in range(self.count))


class Stream:
    """An iterator, read once and forwards. Documents are kept only where they will be read again."""

    count = None
    #: How many documents stand for the content: the rest is not known without reading it.
    SEEN: Final = 16

    def __init__(self, documents: Iterator[Any]) -> None:
        self.name = "the iterator"
        self._entries = flat(documents)
        self._kept: dict[int, Document] = {}
        self._next = 0

    def read(self, i: int, keep: bool = False) -> Document:
        while self._next <= i:
            try:
                self._kept[self._next] = checked(next(self._entries), f"{self.name}[{self._next}]")
            except StopIteration:
                raise IndexError(i) from None
            self._next += 1
            if not keep:
                self._forget(self._next - 1)
        found = self._kept[i]
        if not keep:
            self._forget(i)
        return found

    def _forget(self, before: int) -> None:
        """Drop what came before a number."""
        for i in [i for i in self._kept if i < before]:
            del self._kept[i]

    def fingerprint(self) -> str:
        first = []
        for i in range(self.SEEN):
            try:
                first.append(self.read(i, keep=True))
            except IndexError:
                break
        return digest(first)


class Written:
    """Text of the generator that made the embedded model's training text, without end; document i is the same each time."""

    name = DEMO
    count = None
    #: Documents written with one seed.
    BLOCK: Final = 500

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def read(self, i: int, keep: bool = False) -> Document:
        block, place = divmod(i, self.BLOCK)
        return _written(self.seed, block)[place]

    def fingerprint(self) -> str:
        return digest(_written(self.seed, 0))


#: Lengths of generated documents in words with their shares, as in the rows that the embedded model learnt from.
_LENGTHS: Final = ((24, 5), (40, 3), (64, 2))


# Held-out documents are one in twenty, so a short run goes through many blocks, and the next run through the same ones.
@lru_cache(maxsize=32)
def _written(seed: int, block: int) -> list[str]:
    from interp.demo import corpus

    writer = corpus.Writer(1_000_003 * (seed + 1) + block)
    rng = random.Random(f"documents:{seed}:{block}")
    lengths, shares = zip(*_LENGTHS, strict=True)
    found = []
    for _ in range(Written.BLOCK):
        length = rng.choices(lengths, shares)[0]
        if rng.random() < corpus.SEQUENCES:
            found.append(writer.sequence(length))
        else:
            found.append(writer.document(rng.choice((1, -(-length // 14)))))
    return found


def checked(entry: Any, what: str) -> Document:
    """One document. Raises: DictionaryError where it is neither text nor a row of token ids."""
    if isinstance(entry, str):
        return entry
    if getattr(entry, "ndim", None) == 1:
        entry = entry.tolist()
    if isinstance(entry, (list, tuple)) and all(map(is_whole, entry)):
        return [int(i) for i in entry]
    raise DictionaryError(f"{what} is {entry!r:.80}; expected text or a row of token ids.")


def digest(documents: Iterable[Document]) -> str:
    """SHA-256 of documents in order."""
    found = hashlib.sha256()
    for document in documents:
        found.update(json.dumps(document).encode())
        found.update(b"\n")
    return found.hexdigest()


def flat(documents: Iterator[Any]) -> Iterator[Any]:
    """Single documents of entries that may be batches of them."""
    for entry in documents:
        if isinstance(entry, Mapping) and "input_ids" in entry:
            entry = as_tokens(entry, None)  # type: ignore[arg-type]
        if isinstance(entry, Tokens):
            yield from (ids[mask].tolist() for ids, mask in zip(entry.ids, entry.mask, strict=True))
        elif getattr(entry, "ndim", 0) == 2:
            yield from entry.tolist()
        elif isinstance(entry, (list, tuple)) and entry and not is_whole(entry[0]):
            yield from flat(iter(entry))
        else:
            yield entry
