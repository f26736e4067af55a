"""What is run of a pair: token ids or other inputs, equally long, with the answers that tell the two apart.

Axis words: `batch pos`. A pair's clean and corrupt prompts always have the same number of tokens;
different pairs of one task may differ in length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from interp.errors import TaskError
from interp.parts.named_inputs import Example, Inputs, stacked
from interp.whole_numbers import is_whole, whole

Spans = Mapping[str, tuple[int, int]]
#: What is run: token ids, or an example of inputs that are no text.
Prompt = tuple[int, ...] | Example


def ids_of(prompt: Prompt) -> tuple[int, ...]:
    """The token ids of a prompt. Raises: TaskError for an image or a sound."""
    if isinstance(prompt, Example):
        raise TaskError(
            f"a prompt is {prompt.main or 'an image or a sound'}; expected text, which alone has token ids."
        )
    return prompt


def run_of(prompts: Sequence[Prompt]) -> Tensor | Inputs:
    """Prompts of one length as what one run takes: ids [batch pos], or inputs."""
    examples = [prompt for prompt in prompts if isinstance(prompt, Example)]
    return stacked(examples) if examples else torch.tensor([ids_of(prompt) for prompt in prompts])


@dataclass(frozen=True, repr=False)
class TokenPair:
    """A pair as what is run, token ids or examples of other inputs, checked: equal lengths, answers of one token each, no answer both right and wrong.

    `spans` names token ranges `(start, end)` that mean the same in every pair (for example `subject`), counted with
    the BOS token. `forced`: of an answer of several tokens, how many stand at the end of both prompts as what is run, all
    but the last, which is in `answers`; such a pair has no wrong tokens.
    """

    clean: Prompt
    corrupt: Prompt
    answers: tuple[int, ...]
    wrong: tuple[int, ...] = ()
    spans: Spans = field(default_factory=dict, hash=False)
    forced: int = 0

    def __post_init__(self) -> None:
        for name in ("clean", "corrupt", "answers", "wrong"):
            if isinstance(getattr(self, name), Example):
                continue
            object.__setattr__(self, name, given_ids(getattr(self, name), f"token ids {name}"))
        if self.forced:
            self._check_forced()

    def _check_forced(self) -> None:
        """Raises: TaskError where the prompts do not end with one beginning of one answer."""
        n = whole(self.forced, "forced", TaskError)
        if isinstance(self.clean, Example) or isinstance(self.corrupt, Example):
            raise TaskError(f"forced={n}: expected token ids.")
        if not 0 < n < min(len(self.clean), len(self.corrupt)) or self.clean[-n:] != self.corrupt[-n:]:
            raise TaskError(f"forced={n}: expected both prompts to end with the same {n} tokens, behind others.")
        if len(self.answers) != 1 or self.wrong:
            raise TaskError(f"forced={n}: expected one answer, its last token, and no wrong ones.")

    @property
    def length(self) -> int:
        """Number of tokens that are run of either prompt."""
        return len(self.clean)

    @property
    def longest(self) -> int:
        """Positions of the longest stream that a model makes of either prompt."""
        return self.clean.longest if isinstance(self.clean, Example) else len(self.clean)

    def of_stack(self, name: str) -> TokenPair:
        """The same with the lengths that its prompts have in the stream of a stack."""
        if (
            not isinstance(self.clean, Example)
            or not isinstance(self.corrupt, Example)
            or name not in self.clean.lengths
        ):
            return self
        clean, corrupt = (replace(side, length=side.lengths[name]) for side in (self.clean, self.corrupt))
        return replace(self, clean=clean, corrupt=corrupt)

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes that pairs have alike which are run together."""
        return self.clean.shape if isinstance(self.clean, Example) else (len(self.clean),)

    @property
    def prompts(self) -> tuple[Prompt, Prompt]:
        """Clean and corrupt without what they have of the answer."""
        if isinstance(self.clean, Example) or isinstance(self.corrupt, Example):
            return self.clean, self.corrupt
        return self.clean[: len(self.clean) - self.forced], self.corrupt[: len(self.corrupt) - self.forced]

    @property
    def continuation(self) -> tuple[int, ...]:
        """All tokens of an answer of several; nothing where answers are one token each."""
        return (*ids_of(self.clean)[-self.forced :], *self.answers) if self.forced else ()

    def __repr__(self) -> str:
        if isinstance(self.clean, Example) or isinstance(self.corrupt, Example):
            return f"TokenPair({self.clean}, {self.corrupt}, answers {few(self.answers)}, wrong {few(self.wrong)})"
        n = min(self.length, len(self.corrupt))
        apart = [i for i in range(n) if self.clean[i] != self.corrupt[i]]
        return f"TokenPair({self.length} tokens, differ at {few(apart)}, answers {few(self.answers)}, wrong {few(self.wrong)})"


def digest(pairs: Sequence[TokenPair]) -> tuple[str, ...]:
    """A short hash of the token ids of every pair, by which scores know which pairs they come from."""
    rows = (repr((p.clean, p.corrupt, p.answers, p.wrong, *([p.forced] * (p.forced > 0)))).encode() for p in pairs)
    return tuple(hashlib.sha256(row).hexdigest()[:16] for row in rows)


def given_ids(given: Any, what: str) -> tuple[int, ...]:
    """Token ids as ints, from a sequence, an array or a tensor of them, or from one. Raises: TaskError for other values."""
    if is_whole(given):
        given = (given,)
    values = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(values, (list, tuple)):
        raise TaskError(f"{what}: {given!r:.80}; expected whole numbers.")
    return tuple(i if type(i) is int else whole(i, what, TaskError) for i in values)


def few(values: Sequence[Any], most: int = 3) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(values) - most:,} more" if len(values) > most else ""
    return (", ".join(map(repr, values[:most])) or "none") + more
