"""The tokens that a dictionary is evaluated on: rows of documents, cut as in training, in batches for one forward each.

Padding stands on the right, where a causal model does not look, so that no row is computed other than alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training.data.documents import Documents
from interp.dictionaries.training.data.reading import open_documents
from interp.dictionaries.training.data.rows import Cutter, Rows
from interp.model.modules.linear import vocabulary_size
from interp.parts.tokens import Tokens, pad

#: Tokens of one forward, and the bytes that its logits may take in float32.
FORWARD_TOKENS: Final = 4096
LOGIT_BYTES: Final = 128 * 2**20
#: The generator's text for evaluation is written with seeds that training does not use.
OTHER_SEED: Final = 500_000


@dataclass(frozen=True, eq=False)
class Batch:
    """ids, real (no padding), counted (neither padding nor BOS) [batch pos]; numbers: which rows of the text [batch]."""

    ids: Tensor
    real: Tensor
    counted: Tensor
    numbers: Tensor


@dataclass(frozen=True, eq=False)
class Text:
    """Batches of rows, at most `tokens` counted tokens in all; name: where they come from."""

    batches: tuple[Batch, ...]
    name: str
    tokens: int
    rows: int

    def in_order(self, size: int = 32) -> list[Tokens]:
        """The rows in the order of the data, `size` at a time."""
        found: dict[int, list[int]] = {}
        for batch in self.batches:
            for number, ids, real in zip(batch.numbers.tolist(), batch.ids, batch.real, strict=True):
                found[number] = ids[real].tolist()
        rows = [found[number] for number in range(self.rows)]
        return [pad(rows[i : i + size], side="right") for i in range(0, len(rows), size)]


def read_text(
    model: Any,
    data: Any,
    *,
    tokens: int,
    context: int | None = None,
    seed: int = 0,
    keep_bos: bool = False,
    hold_out: float = 0.0,
) -> Text:
    """The first tokens of `data`, or of the documents that training with this `seed` and share `hold_out` sets aside.

    Raises: DictionaryError where there are none.
    """
    check_numbers(tokens, context, seed, hold_out)
    cutter = Cutter.of(model, context, keep_bos)
    documents = open_documents(data, seed if hold_out else seed + OTHER_SEED)
    found: list[list[int]] = []
    size = 0
    for row in _rows(documents, cutter, hold_out, seed):
        found.append(row)
        size += cutter.n_tokens(row)
        if size >= tokens:
            break
    if not found:
        raise DictionaryError(f"{documents.name}: no tokens to evaluate on: the data hold nothing but BOS and padding.")
    return Text(tuple(_batches(model, found, cutter, tokens)), documents.name, min(size, tokens), len(found))


def check_numbers(tokens: int, context: int | None, seed: int, hold_out: float) -> None:
    """Raises: DictionaryError for a number that is none of tokens, or no share."""
    for name, value, least in (("tokens", tokens, 1), ("seed", seed, 0), ("context", context, 2)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise DictionaryError(f"{name}={value!r}: expected a whole number, {least} or more.")
    if not 0 <= hold_out <= 0.5:
        raise DictionaryError(
            f"hold_out={hold_out}: expected the share that training set aside, 0 to 0.5; 0 takes all."
        )


def _rows(documents: Documents, cutter: Cutter, hold_out: float, seed: int) -> Iterator[list[int]]:
    if hold_out:
        yield from Rows(documents, cutter, share=hold_out, seed=seed).held_out_rows()
        return
    yield from cutter.every_row(documents)


def _batches(model: Any, rows: list[list[int]], cutter: Cutter, tokens: int) -> Iterator[Batch]:
    """Rows of about one length together, each batch within the budget of one forward (or of one row)."""
    vocabulary = vocabulary_size(model.hf)
    budget = min(FORWARD_TOKENS, LOGIT_BYTES // (4 * vocabulary))
    left, counted = tokens, []
    for row in rows:
        flags = [cutter.counts(token) and (left := left - 1) >= 0 for token in row]
        counted.append(flags)
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    while order:
        n = max(1, budget // len(rows[order[0]]))
        chosen, order = order[:n], order[n:]
        yield _batch([rows[i] for i in chosen], [counted[i] for i in chosen], torch.tensor(chosen))


def _batch(rows: list[list[int]], counted: list[list[bool]], numbers: Tensor) -> Batch:
    longest = max(map(len, rows))
    fill = [longest - len(row) for row in rows]
    ids = torch.tensor([[*row, *[row[-1]] * n] for row, n in zip(rows, fill, strict=True)])
    real = torch.tensor([[True] * len(row) + [False] * n for row, n in zip(rows, fill, strict=True)])
    flags = torch.tensor([[*flag, *[False] * n] for flag, n in zip(counted, fill, strict=True)])
    return Batch(ids, real, flags, numbers)
