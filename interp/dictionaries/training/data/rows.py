"""Rows of tokens for the model, of documents: cut to the context, held out or trained on, with a place to go on from.

Every row begins where its document begins, or goes on with it behind another BOS. One document of every block of
`round(1 / share)` is held out; which one is drawn by the seed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training.data.documents import Document, Documents
from interp.parts.texts import encode_document

#: A longer context than this is used only where it is asked for: attention grows with its square.
LONGEST: Final = 512
#: So many documents in a row without a token to train on end the reading of an endless source.
MOST_EMPTY: Final = 10_000
#: Documents whose rows stand for how documents are cut.
SEEN: Final = 16


@dataclass(frozen=True)
class Cutter:
    """How a document becomes rows of at most `context` tokens; `bos` is put before each row where the tokeniser puts it."""

    tokenizer: Any
    context: int
    bos: int | None
    pad: int | None
    keep_bos: bool

    @classmethod
    def of(cls, model: Any, context: int | None, keep_bos: bool) -> Cutter:
        """Raises: DictionaryError for a context below 2 or beyond the model's."""
        limit = getattr(model.hf.config, "max_position_embeddings", None)
        limit = limit if isinstance(limit, int) else LONGEST
        chosen = min(limit, LONGEST) if context is None else context
        if not 2 <= chosen <= max(limit, 2):
            raise DictionaryError(f"context={context}: expected 2 to {limit} tokens, the context of {model.name}.")
        tokenizer = model.tokenizer
        bos = _id(tokenizer, "bos_token_id", getattr(model.hf.config, "bos_token_id", None))
        pad = _id(tokenizer, "pad_token_id", None)
        own = pad not in (bos, _id(tokenizer, "eos_token_id", None))
        return cls(tokenizer, chosen, bos, pad if own else None, keep_bos)

    def rows(self, document: Document) -> list[list[int]]:
        """The rows of one document that have something to train on."""
        ids = self._ids(document)
        real = [i for i, token in enumerate(ids) if token != self.pad]
        ids = ids[real[0] : real[-1] + 1] if real else []
        first = ids[:1] if ids and ids[0] == self.bos else []
        body, size = ids[len(first) :], self.context - len(first)
        rows = [[*first, *body[i : i + size]] for i in range(0, len(body), size)]
        return [row for row in rows if any(self.counts(token) for token in row)]

    def every_row(self, documents: Documents) -> Iterator[list[int]]:
        """The rows of all documents in order, each read when its rows are asked for."""
        number = 0
        while documents.count is None or number < documents.count:
            try:
                document = documents.read(number)
            except IndexError:
                return
            yield from self.rows(document)
            number += 1

    def _ids(self, document: Document) -> list[int]:
        if not isinstance(document, str):
            return document
        return encode_document(self.tokenizer, document) if document.strip() else []

    def counts(self, token: int) -> bool:
        """Whether the activations at a token are trained on."""
        return self.keep_bos or token != self.bos

    def n_tokens(self, row: list[int]) -> int:
        """How many of a row's tokens are trained on."""
        return sum(map(self.counts, row))


def _id(tokenizer: Any, name: str, default: int | None) -> int | None:
    found = default if tokenizer is None else getattr(tokenizer, name, default)
    return None if found is None else int(found)


@dataclass
class Place:
    """Where the reading is: pass over the data, document within the pass, row within the document; what was read so far."""

    epoch: int = 0
    document: int = 0
    row: int = 0
    rows_read: int = 0
    tokens_read: int = 0
    empty: int = 0


class Rows:
    """The rows to train on, without end where the data can be read again. `least`: tokens that one pass must have."""

    def __init__(self, documents: Documents, cutter: Cutter, *, share: float, seed: int, least: int = 1) -> None:
        self.documents, self.cutter, self.seed, self.least = documents, cutter, seed, least
        self.block = _block(share, documents)
        self.place = Place()
        self._order: tuple[int, list[int]] = (-1, [])
        self._cut: tuple[int, list[list[int]]] = (-1, [])

    def fingerprint(self) -> str:
        """A hash of the rows of the first documents, which another tokeniser would cut otherwise."""
        found = hashlib.sha256()
        for i in range(SEEN):
            try:
                document = self.documents.read(i, keep=True)
            except IndexError:
                break
            found.update(repr(self.cutter.rows(document)).encode())
        return found.hexdigest()

    def held_out(self, i: int) -> bool:
        """Whether document i is never trained on."""
        if not self.block:
            return False
        number, place = divmod(i, self.block)
        return random.Random(f"held out:{self.seed}:{number}").randrange(self.block) == place

    def held_out_rows(self) -> Iterator[list[int]]:
        """The rows of the documents that are held out: of an endless source in order, of another in the seed's order."""
        empty = 0
        for i in self._permuted(-1) if self.documents.count is not None else self._forwards():
            try:
                document = self.documents.read(i, keep=True)
            except IndexError:
                return
            if self.held_out(i):
                rows = self.cutter.rows(document)
                empty = 0 if rows else empty + 1
                if empty > MOST_EMPTY // self.block and self.documents.count is None:
                    return
                yield from rows

    def _forwards(self) -> Iterator[int]:
        i = 0
        while self.block:
            yield i
            i += 1

    def next(self) -> list[int]:
        """The next row; over the data again behind the last. Raises: DictionaryError where there is none."""
        at = self.place
        while True:
            i = self._document(at)
            if self._cut[0] != i:
                self._cut = (i, self.cutter.rows(self._read(i)))
            rows = self._cut[1]
            if at.row < len(rows):
                row = rows[at.row]
                at.row += 1
                at.rows_read += 1
                at.tokens_read += self.cutter.n_tokens(row)
                return row
            at.empty += not rows
            if at.empty > MOST_EMPTY and not at.rows_read:
                raise DictionaryError(f"{self.documents.name}: no tokens to train on in {at.empty:,} documents.")
            at.document, at.row = at.document + 1, 0

    def _document(self, at: Place) -> int:
        """The number of the document at a place; `at` moves on over those that are held out and to the next pass."""
        if self.documents.count is None:
            while self.held_out(at.document):
                at.document += 1
            return at.document
        if self._order[0] != at.epoch:
            order = [i for i in self._permuted(at.epoch) if not self.held_out(i)]
            self._order = (at.epoch, order)
        if at.document >= len(self._order[1]):
            if at.tokens_read < self.least:
                raise DictionaryError(
                    f"{self.documents.name}: {at.tokens_read:,} tokens to train on in {len(self._order[1]):,} documents; one "
                    f"step takes {self.least:,}. Give more data, or a smaller batch_tokens."
                )
            at.epoch, at.document = at.epoch + 1, 0
            return self._document(at)
        return self._order[1][at.document]

    def _read(self, i: int) -> Document:
        try:
            return self.documents.read(i)
        except IndexError:
            raise DictionaryError(
                f"{self.documents.name} ended after {self.place.tokens_read:,} tokens to train on and cannot be read again: ask for "
                "fewer tokens, or give a list or a file."
            ) from None

    def _permuted(self, epoch: int) -> list[int]:
        """The numbers of all documents in the order of one pass (-1: of the held-out ones)."""
        generator = torch.Generator().manual_seed((self.seed + 1) * 1_000_003 + epoch)
        found: list[int] = torch.randperm(self.documents.count or 0, generator=generator).tolist()
        return found


def _block(share: float, documents: Documents) -> int:
    """One document of so many is held out; 0 for none. Raises: DictionaryError where it leaves nothing."""
    if share == 0:
        return 0
    if documents.count == 1:
        raise DictionaryError(
            f"{documents.name} holds one document, of which none can be held out: give more, or hold_out=0."
        )
    block = round(1 / share)
    return block if documents.count is None else min(block, documents.count)
