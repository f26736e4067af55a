"""What a job is about: what the command line says of it before the work begins."""

from __future__ import annotations

import warnings

from circuits.jobs.inputs import said_doubts
from interp.tasks.pairs.pairs import Pair
from interp.tasks.task import Task
from tests.interp.parts.tokenisers import words


def test_what_tokens_leave_open_is_said_once_and_other_warnings_are_not() -> None:
    """The command line hears no warnings of Python; a number that may mean something else is none without a word."""
    said: list[str] = []
    task = Task("t", (Pair("Mary gave Zoe to", "John gave Zoe to", (" Tom",), (" Anna",)),))
    with said_doubts(said.append):
        for _ in range(2):
            task.tokenize(words(), 60)
        warnings.warn("of another library", UserWarning, stacklevel=1)
    assert said == [
        "WARNING: t pair 1 of 1: 1 of 5 tokens of 'clean' stand for what the vocabulary lacks. The same holds 1 times more."
    ]
