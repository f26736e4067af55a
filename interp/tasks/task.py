"""A task: prompt pairs that differ in one fact, and the answers that tell the two apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from interp.errors import TaskError
from interp.formatting.showing import card
from interp.parts.outputs import NextToken, Outputs
from interp.tasks.pairs.halves import halved, same_pairs
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.pairs.tokenizing import token_pair
from interp.tasks.reading.readings import reading_of
from interp.whole_numbers import whole


@dataclass(frozen=True, repr=False)
class Task:
    """A named set of pairs. `source`: where they came from (a file, or a generator with its options)."""

    name: str
    pairs: tuple[Pair, ...]
    description: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.pairs, Pair):
            raise TaskError(f"task {self.name!r}: pairs is one pair; expected several of them in a tuple: (pair,).")
        if not self.pairs:
            raise TaskError(f"task {self.name!r} has no pairs; expected at least one.")
        if odd := [pair for pair in self.pairs if not isinstance(pair, Pair)]:
            raise TaskError(f"task {self.name!r}: a pair is {odd[0]!r:.80}; expected interp.Pair or interp.InputPair.")

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        first = self.pairs[0]
        return f"Task({self.name!r}, {len(self)} pairs, first: {first.clean!r} / {first.corrupt!r} -> {(first.answers or first.answer_ids)[:3]})"

    def _repr_html_(self) -> str:
        return str(card(self))

    def limit(self, n: int | None) -> Task:
        """The first `n` pairs. Raises: TaskError where there are fewer."""
        if n is not None and not 1 <= whole(n, "limit", TaskError) <= len(self.pairs):
            raise TaskError(
                f"limit={n}: task {self.name!r} has {len(self.pairs)} pairs; expected 1 to {len(self.pairs)}. "
                "Of a built-in task ask for as many as you want: interp.task(name, model, n=...)."
            )
        return self if n is None else replace(self, pairs=self.pairs[:n])

    def split(
        self, seed: int = 0, fraction: float = 0.5, *, tokens: Sequence[TokenPair] | None = None
    ) -> tuple[Task, Task]:
        """Two disjoint halves, shuffled with `seed`: one to score on, one to evaluate on. Messages name pairs as before.

        Pairs of the same prompts are in the same half. `tokens`: the pairs as `tokenize` gives them; prompts of the same
        token ids are then the same, however they are written. Raises: TaskError for fewer than two different pairs.
        """
        first, second = self.split_places(seed, fraction, tokens=tokens)
        return self.at(first), self.at(second)

    def split_places(
        self, seed: int = 0, fraction: float = 0.5, *, tokens: Sequence[TokenPair] | None = None
    ) -> tuple[list[int], list[int]]:
        """The indices of the pairs in either half of `split`."""
        keys = _prompts(self.pairs if tokens is None else tokens)
        if len(self.pairs) < 2:
            raise TaskError(f"task {self.name!r} has one pair; two or more are needed to hold some out for evaluation.")
        if len(set(keys)) < 2:
            raise TaskError(
                f"task {self.name!r} has {len(keys)} pairs of the same prompts; two different ones or more are needed to hold "
                "some out for evaluation."
            )
        return halved(keys, whole(seed, "seed"), fraction)

    def at(self, places: Sequence[int]) -> Task:
        """The pairs at these indices, which messages name as before."""
        return replace(self, pairs=tuple(replace(self.pairs[i], where=self.where(i)) for i in places))

    def repeats(self, tokens: Sequence[TokenPair] | None = None) -> list[tuple[str, str]]:
        """For every pair that has the prompts of an earlier one, how messages name it and the first such. `tokens`: as in `split`."""
        groups = same_pairs(_prompts(self.pairs if tokens is None else tokens))
        found = sorted((later, group[0]) for group in groups for later in group[1:])
        return [(self.where(later), self.where(first)) for later, first in found]

    def named(self) -> Task:
        """The same pairs, each with the name that messages have for it now: for a task of some of them."""
        return replace(self, pairs=tuple(replace(p, where=self.where(i)) for i, p in enumerate(self.pairs)))

    def where(self, i: int) -> str:
        """How messages name the pair at index `i`."""
        return self.pairs[i].where or f"{self.name} pair {i + 1} of {len(self.pairs)}"

    def tokenize(self, tokenizer: Any, outputs: int | Outputs, *, several: bool = False) -> list[TokenPair]:
        """Every pair as checked token ids. outputs: what the model's outputs are called (`model.outputs`): so many next tokens, tokens
        at a mask, or classes, which answers then are. `several`: an answer may be several tokens, whose beginning is then put behind both
        prompts (`TokenPair.forced`). Raises: TaskError naming the line of its file, or its place in the task."""
        outputs = NextToken(outputs) if isinstance(outputs, int) else outputs
        reading = reading_of(tokenizer, outputs)
        found = [token_pair(pair, reading, outputs, self.where(i), several) for i, pair in enumerate(self.pairs)]
        reading.warn()
        return found


def _prompts(pairs: Sequence[Pair] | Sequence[TokenPair]) -> list[tuple[Any, ...]]:
    """What each pair asks, without its answers: the prompts as token ids where they are known, else as text."""
    known = (pair.ids or pair if isinstance(pair, Pair) else pair for pair in pairs)
    return [pair.prompts if isinstance(pair, TokenPair) else (pair.clean, pair.corrupt, pair.second) for pair in known]
