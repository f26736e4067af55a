"""A task: prompt pairs that differ in one fact, and the answers that tell the two apart.

Axis words: `batch pos`. A pair's clean and corrupt prompts always have the same number of tokens;
different pairs of one task may differ in length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from interp.errors import TaskError


@dataclass(frozen=True)
class Pair:
    """Two prompts and their answers, as text.

    `answers` are right after `clean` and `wrong` are right after `corrupt`; each must be one token of the
    model's tokeniser, written with its leading space where the token has one. `spans` names token ranges
    `(start, end)` that mean the same in every pair (for example `subject`), counted with the BOS token.
    """

    clean: str
    corrupt: str
    answers: tuple[str, ...]
    wrong: tuple[str, ...]
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenPair:
    """A pair as token ids, checked: equal lengths, answers of one token each, no answer both right and wrong."""

    clean: tuple[int, ...]
    corrupt: tuple[int, ...]
    answers: tuple[int, ...]
    wrong: tuple[int, ...]
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of tokens of either prompt."""
        return len(self.clean)
