"""Which pairs of a task give the scores and which judge the circuit: decided here for every command, and told from here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task


@dataclass(frozen=True)
class Halves:
    """`held_out`: whether no pair of `evaluation` has the prompts of one of `scoring`; where it is not, both are the whole task.

    `repeats`: for each pair with the prompts of an earlier one, what both are called. `wanted`: whether pairs were to be
    held out. `shared`: how many evaluated pairs have the clean prompt of a scored one, with another corrupt prompt.
    """

    task: Task
    scoring: Task
    evaluation: Task
    held_out: bool
    repeats: tuple[tuple[str, str], ...]
    wanted: bool
    shared: int

    @classmethod
    def of(cls, task: Task, tokens: Sequence[TokenPair], seed: int, wanted: bool) -> Halves:
        """The halves of a task with these token ids; where all pairs have the same prompts none can be held out."""
        repeats = tuple(task.repeats(tokens))
        if not wanted or len(repeats) == len(task) - 1:
            return cls(task, task, task, False, repeats, wanted, 0)
        first, second = task.split_places(seed, tokens=tokens)
        scored = {tokens[i].prompts[0] for i in first}
        shared = sum(tokens[i].prompts[0] in scored for i in second)
        return cls(task, task.at(first), task.at(second), True, repeats, wanted, shared)

    def notes(self) -> Iterator[str]:
        """What a user should know of these pairs, a sentence each."""
        if self.repeats:
            where = "; all of one stand in the same half" if self.held_out else ""
            yield f"WARNING: {repeated_in_words(self.repeats, len(self.task))}{where}"
        if self.wanted and self.repeats and not self.held_out:
            yield "WARNING: all pairs have the same prompts, so none can be held out: the circuit is judged on what chose it"
        if self.shared:
            yield (
                f"NOTE: {self.shared} of {len(self.evaluation)} evaluated pairs have the clean prompt of a scored pair, "
                "with another corrupt prompt"
            )


def repeated_in_words(repeats: Sequence[tuple[str, str]], n: int) -> str:
    """How many pairs are duplicates, the first of them by name, and what that does."""
    later, first = repeats[0]
    these = f"{len(repeats)} of {n} pairs {'is a duplicate' if len(repeats) == 1 else 'are duplicates'}"
    return f"{these} ({later} has the prompts of {first}): each counts, so intervals are too narrow"
