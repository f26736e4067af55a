"""A pair of prompts as it is given: two texts, chats, or inputs, that differ in one fact, and what is right after each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from interp.errors import TaskError
from interp.parts.named_inputs import Example
from interp.tasks.pairs.token_pairs import Spans, TokenPair, few, given_ids
from interp.tasks.reading.chats import Messages, messages_of, rendered

_PROMPTS: Final = ("clean", "corrupt")
#: What to do without a corrupt prompt.
_NO_CORRUPT = " Where no other run is needed, as for zero and mean ablation, give the clean prompt again."


@dataclass(frozen=True, repr=False)
class Pair:
    """Two prompts and their answers, as text.

    `answers` are right after `clean` and `wrong` are right after `corrupt`; each must be one token of the model's
    tokeniser, written with its leading space where the token has one, or one answer of several for metrics that take it. `ids`: the same as token ids, where the source
    gives them; they are then what is run, and the text is for reading. `answer_ids`, `wrong_ids`: answers as ids where
    the prompts are text only. `messages`: clean and corrupt as chats, which are run as the tokeniser's template writes them; the
    texts are then for reading. `inputs`: clean and corrupt as examples of inputs that are no text (`interp.InputPair`), or files of them, of which the texts are names. `decoder`: of a model with an encoder, which reads clean and corrupt, what its decoder has been given already, of both (by default nothing
    but its start); answers are what follows that. `second`: the second text of clean and of corrupt (one for both), of a model that reads two, such as premise and hypothesis. Without `wrong` only metrics of the answers alone can be taken. `where`: how messages name it, for example `gifts.jsonl line 2`.
    """

    clean: str
    corrupt: str
    answers: tuple[str, ...]
    wrong: tuple[str, ...] = ()
    spans: Spans = field(default_factory=dict, hash=False)
    ids: TokenPair | None = None
    answer_ids: tuple[int, ...] = ()
    wrong_ids: tuple[int, ...] = ()
    where: str = field(default="", compare=False, repr=False)
    messages: tuple[Messages, ...] | None = None
    inputs: tuple[Example | Path, Example | Path] | None = None
    decoder: tuple[str, str] | None = None
    second: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        for name in ("clean", "corrupt"):
            if not isinstance(text := getattr(self, name), str):
                raise TaskError(f"Pair: {name} is {text!r:.80}; expected text." + _NO_CORRUPT * (text is None))
        if not isinstance(self.ids, TokenPair | None):
            raise TaskError(
                f"Pair: ids is {self.ids!r:.80}; expected a TokenPair. Two prompts as ids go into interp.InputPair(clean, corrupt, ...)."
            )
        for name in ("answers", "wrong"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        for name in ("answer_ids", "wrong_ids"):
            object.__setattr__(self, name, given_ids(getattr(self, name), f"Pair: {name}"))
        for name in ("decoder", "second"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _two_texts(given, name))
        if self.second is not None and (self.ids or self.messages or self.inputs or self.decoder):
            raise TaskError("Pair: second belongs to two texts; given with ids, messages, inputs or decoder.")
        if self.messages is not None:
            object.__setattr__(self, "messages", _both(self.messages))

    @property
    def has_wrong(self) -> bool:
        """Whether it says what is wrong."""
        return bool(self.ids.wrong if self.ids else self.wrong or self.wrong_ids)

    def __repr__(self) -> str:
        right, wrong = few(self.answers or self.answer_ids), few(self.wrong or self.wrong_ids)
        return f"Pair({self.clean!r} -> {right} / {self.corrupt!r} -> {wrong})"


def as_text(pair: Pair, tokenizer: Any, where: str) -> Pair:
    """A pair of chats with the template's text in place of its messages; others as they are. Raises: TaskError."""
    if pair.messages is None:
        return pair
    clean, corrupt = (rendered(tokenizer, messages, where) for messages in pair.messages)
    return replace(pair, clean=clean, corrupt=corrupt, messages=None)


def _two_texts(given: Any, what: str) -> tuple[str, str]:
    """A text for clean and one for corrupt, or one for both. Raises: TaskError for anything else."""
    found = (given, given) if isinstance(given, str) else tuple(given) if isinstance(given, (list, tuple)) else ()
    if len(found) != 2 or not all(isinstance(text, str) for text in found):
        raise TaskError(f"Pair: {what} is {given!r:.80}; expected a text, or two for clean and corrupt.")
    return found[0], found[1]


def _both(given: Any) -> tuple[Messages, ...]:
    """Clean and corrupt as chats. Raises: TaskError for anything else."""
    if not isinstance(given, (list, tuple)) or len(given) != 2:
        raise TaskError(f"Pair: messages is {given!r:.80}; expected two chats, the clean and the corrupt one.")
    return tuple(messages_of(chat, f"Pair: {name} of messages") for chat, name in zip(given, _PROMPTS, strict=True))
