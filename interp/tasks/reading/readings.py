"""How the texts of a pair are read where the answer is no next token: what stands at a mask, or the name of a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from interp.errors import TaskError, unknown
from interp.parts.named_inputs import Example
from interp.parts.outputs import AtMask, Classes, NextToken, NoAnswer, Outputs
from interp.parts.text_pairs import encode_segments, segmented
from interp.parts.texts import encode_document, encode_target, n_unknown, token_text
from interp.tasks.reading.answers import Found, Reading, unread


def reading_of(tokenizer: Any, outputs: Outputs) -> Reading:
    """The reading for a model whose outputs are these. Raises: TaskError where none of them is the answer of a prompt."""
    if isinstance(outputs, AtMask):
        return AtMaskReading(tokenizer, outputs)
    if isinstance(outputs, Classes):
        return (ClassReading if outputs.example is None else InputReading)(tokenizer, outputs)
    if isinstance(outputs, NoAnswer):
        raise TaskError(f"no task can be read for this model: {outputs.why}")
    if isinstance(outputs, NextToken) and outputs.example is not None:
        return SourceReading(tokenizer, outputs.example)
    return Reading(tokenizer)


class WholeReading(Reading):
    """Prompts are whole texts, with what the tokeniser puts behind them."""

    encoding = staticmethod(encode_document)

    def tokens(self, prompts: Sequence[str], text: str, row: str, what: str) -> tuple[int, ...]:
        """One output: an answer has no second."""
        return (self.answer(prompts, text, row, what),)


class AtMaskReading(WholeReading):
    """Prompts with one mask; an answer is the token that stands in its place."""

    def __init__(self, tokenizer: Any, outputs: AtMask) -> None:
        super().__init__(tokenizer)
        self.mask, self.written = outputs.mask, token_text(tokenizer, outputs.mask)

    def prompt(self, text: str, row: str, what: str) -> tuple[int, ...]:
        """Raises: TaskError for a prompt without a mask, or with several."""
        ids = super().prompt(text, row, what)
        if (n := ids.count(self.mask)) != 1:
            raise TaskError(
                f"{row}: {what!r} has {n or 'no'} mask{'s' * (n != 1)} ({self.written}), and this model answers at one: {text!r:.80}. Write "
                f"{self.written} once, where the answer stands."
            )
        return ids

    def continued(self, prompt: str, answer: str) -> Found:
        """An answer has no second token here."""
        return Found(None)

    def behind(self, prompt: str, answer: str) -> Found:
        """The token of an answer in the place of the mask."""
        masked = encode_document(self.tokenizer, prompt)
        filled = encode_document(self.tokenizer, prompt.replace(self.written, answer, 1))
        at, more = masked.index(self.mask), len(filled) - len(masked)
        if filled[:at] != masked[:at] or filled[at + 1 + more :] != masked[at + 1 :] or more:
            pieces = [token_text(self.tokenizer, i) for i in filled[at : at + 1 + max(0, more)]]
            return unread(f"is no one token in the place of the mask: it becomes {pieces}. Expected one.")
        if n_unknown(self.tokenizer, answer, filled[at : at + 1]):
            return unread(
                "is not in the tokeniser's vocabulary: it becomes the unknown token. Expected a token of the model."
            )
        return Found(filled[at])


class ClassReading(WholeReading):
    """An answer is a class of the model, by its name. A prompt is a text, or two."""

    of_segments = of_classes = True

    def __init__(self, tokenizer: Any, outputs: Classes) -> None:
        super().__init__(tokenizer)
        self.names, self.types = outputs.names, outputs.types

    def prompt(self, given: str | tuple[str, str], row: str, what: str) -> Any:
        """The ids of a text; of two texts with the types of their segments, where the model tells them apart."""
        if isinstance(given, str):
            return super().prompt(given, row, what)
        try:
            ids, types = encode_segments(self.tokenizer, *given)
            return segmented(self.known(tuple(ids), " ".join(given), row, what), types, self.types)
        except TaskError as error:
            raise TaskError(f"{row}: {what!r}: {error}") from error

    def answer(self, prompts: Sequence[str], text: str, row: str, what: str) -> int:
        """Raises: TaskError with the near names for one that is no class."""
        if text not in self.names:
            raise TaskError(f"{row}: {what} {text!r:.80}: {unknown('class', text, self.names)}")
        return self.names.index(text)


class InputReading(ClassReading):
    """A pair is of inputs that are no text; an answer is a class of the model."""

    of_inputs, of_segments = True, False

    def __init__(self, tokenizer: Any, outputs: Classes) -> None:
        super().__init__(tokenizer, outputs)
        self.example = outputs.example

    def prompt(self, given: str | tuple[str, str] | Example | Path, row: str, what: str) -> Any:
        """The example as the model takes it. Raises: TaskError, with `row` in it, for text and for what the model does not take."""
        if isinstance(given, (str, tuple)) or self.example is None:
            raise TaskError(
                f"{row}: {what!r} is text ({given!r:.60}) and no file beside the task; this model takes no text. Give interp.InputPair(...), "
                "or a table with the names of pictures, sounds or arrays beside it."
            )
        try:
            return self.example(given if isinstance(given, Path) else given.tensors.get("", given.tensors))
        except TaskError as error:
            raise TaskError(f"{row}: {what!r}: {error}") from error


class SourceReading(Reading):
    """A prompt is what an encoder reads, text or not, and what its decoder has been given; an answer is the token behind that."""

    of_inputs = True
    decodes = True

    def __init__(self, tokenizer: Any, example: Callable[..., Example]) -> None:
        super().__init__(tokenizer)
        self.example = example

    def before(self, pair: Any) -> tuple[str, str]:
        """What the decoder has been given, of clean and corrupt."""
        return pair.decoder or ("", "")

    def prompt(self, given: Any, row: str, what: str) -> Any:
        """The example as the model takes it: of a text or input and the decoder's text. Raises: TaskError, with `row` in it."""
        source, decoder = given
        source = source.tensors.get("", source.tensors) if isinstance(source, Example) else source
        try:
            return self.example(source, decoder)
        except TaskError as error:
            raise TaskError(f"{row}: {what!r}: {error}") from error

    def tokens(self, prompts: Sequence[str], text: str, row: str, what: str) -> tuple[int, ...]:
        """One token: what a decoder has been given is a part of the pair, not of the answer."""
        return (self.answer(prompts, text, row, what),)

    def continued(self, prompt: str, answer: str) -> Found:
        """An answer has no second token here."""
        return Found(None)

    def _plain(self, text: str) -> list[int]:
        if text not in self._alone:
            self._alone[text] = encode_target(self.tokenizer, text) if text else []
        return self._alone[text]
