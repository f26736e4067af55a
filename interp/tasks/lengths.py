"""Prompts of one length together, so that no run ever sees padding."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from interp.errors import TaskError, unknown
from interp.parts.texts import encode, encode_document
from interp.tasks.pairs.pairs import Pair, as_text
from interp.tasks.task import Task
from interp.whole_numbers import count, whole

COMMONEST: Final = "commonest"
#: A number of tokens, or that of most prompts; None where prompts may have any.
Length = int | Literal["commonest"] | None


def by_length(lengths: Sequence[int] | Sequence[tuple[int, ...]], batch_size: int) -> Iterator[list[int]]:
    """Indices in batches of equal length, or of equal sizes, shorter prompts first. Raises: InterpError for a batch of no size."""
    size = count(batch_size, "batch_size")
    buckets: dict[Any, list[int]] = defaultdict(list)
    for i, length in enumerate(lengths):
        buckets[length].append(i)
    for _, members in sorted(buckets.items()):
        for start in range(0, len(members), size):
            yield members[start : start + size]


def check_length(length: Length) -> Length:
    """The length, where it is one. Raises: TaskError for no length that a prompt can have."""
    if isinstance(length, str) and length != COMMONEST:
        raise TaskError(unknown("length", length, (COMMONEST,)) + " Or give a number of tokens.")
    if length is None or isinstance(length, str):
        return length
    if (tokens := whole(length, "length", TaskError)) < 1:
        raise TaskError(f"length={length}: expected the number of tokens of a prompt, 1 or more.")
    return tokens


def length_of(pair: Pair, tokenizer: Any, *, whole: bool = False) -> int:
    """Tokens of the clean prompt, special ones too, of `whole` texts also those behind it. Raises: TaskError for text without a tokeniser."""
    if pair.ids:
        return len(pair.ids.prompts[0])
    text = as_text(pair, tokenizer, pair.where or "a pair").clean
    return len(encode_document(tokenizer, text) if whole else encode(tokenizer, text))


def commonest(lengths: Sequence[int]) -> int:
    """The length of most; of several such the shortest."""
    counts = Counter(lengths)
    return min(counts, key=lambda length: (-counts[length], length))


def of_length(task: Task, tokenizer: Any, length: Length, *, whole: bool = False) -> Task:
    """The pairs of a task whose prompts have so many tokens, counted as in `length_of`; `source` says how many of how many. None keeps all.

    Raises: TaskError where none has.
    """
    length = check_length(length)
    if length is None:
        return task
    lengths = [length_of(pair, tokenizer, whole=whole) for pair in task.pairs]
    wanted = length if isinstance(length, int) else commonest(lengths)
    count = lengths.count(wanted)
    if not count:
        raise TaskError(
            f"length={wanted}: no pair of task {task.name!r} has so many tokens; there are pairs of {listed(lengths)}."
        )
    if count == len(lengths):
        return task
    named = task.named()
    kept = tuple(pair for pair, found in zip(named.pairs, lengths, strict=True) if found == wanted)
    said = f"{count} of {len(lengths)} pairs, those of {wanted} tokens"
    return replace(named, pairs=kept, source=f"{task.source}, {said}" if task.source else said)


def listed(lengths: Sequence[int]) -> str:
    """The lengths that occur, in order."""
    return ", ".join(map(str, sorted(set(lengths))))
