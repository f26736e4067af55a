"""Where the texts of a pair become token ids: prompts, and the one token that each answer is behind them, or its several.

An answer is what follows the prompt: prompt and answer are tokenised together, and the token behind the prompt's own is the
answer's. Many tokenisers make another token of the answer alone, with a space before it that the prompt does not have.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from interp.errors import TaskError
from interp.parts.texts import TokenWarning, encode, ids_of, n_unknown, token_text, unknown_id

#: So many characters of a prompt's end, and the word they stand in, decide which token an answer is behind it.
_END: Final = 12
#: The doubt about the end of a number that would be written otherwise. It is asked for in two halves on purpose, so nothing is
#: said where other numbers of the task are written in these halves.
_NUMBERS: Final = "numbers"
#: What to do with an answer of several tokens.
SEVERAL: Final = "Only scores and evaluations by metric 'log_prob' or 'cross_entropy' take one answer of several tokens, and no wrong ones."


@dataclass(frozen=True)
class Found:
    """The token of an answer behind a prompt, or `id=None` and why there is none; `doubt`: another reading, by its kind.
    `ids`: of an answer of several tokens all of them."""

    id: int | None
    said: str = ""
    doubt: str = ""
    ids: tuple[int, ...] = ()

    @property
    def tokens(self) -> tuple[int, ...]:
        """The one token or the several; nothing where there is none."""
        return self.ids if self.id is None else (self.id,)


def unread(why: str) -> Found:
    """No token, and why: the end of a sentence about the answer."""
    return Found(None, why)


class Reading:
    """One reading of a task's texts with a tokeniser. What is read twice is read once; doubts are kept to be said together."""

    #: How a prompt becomes ids.
    encoding: Callable[[Any, str], list[int]] = staticmethod(encode)
    #: Whether prompts may be inputs that are no text.
    of_inputs = False
    #: Whether a prompt may be two texts.
    of_segments = False
    #: Whether a prompt is what an encoder reads and what its decoder has been given.
    decodes = False
    #: Whether answers are classes, whose names say nothing of the prompt.
    of_classes = False

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._alone: dict[str, list[int]] = {}
        self._behind: dict[tuple[str, str], Found] = {}
        self._several: dict[tuple[str, str], Found] = {}
        self._doubts: dict[str, list[str]] = {}
        self._numbers_go_on = False

    @cached_property
    def _unknown(self) -> int | None:
        return unknown_id(self.tokenizer)

    def before(self, pair: Any) -> tuple[str, str]:
        """The texts that the answers of a pair follow, of clean and corrupt."""
        return pair.clean, pair.corrupt

    def prompt(self, text: str, row: str, what: str) -> tuple[int, ...]:
        """The ids of a prompt."""
        return self.known(tuple(self.encoding(self.tokenizer, text)), text, row, what)

    def known(self, ids: tuple[int, ...], text: str, row: str, what: str) -> tuple[int, ...]:
        """The ids of a text. Words that the vocabulary lacks are a doubt."""
        if n := n_unknown(self.tokenizer, text, ids):
            self._doubt("unknown", row, f"{n} of {len(ids)} tokens of {what!r} stand for what the vocabulary lacks.")
        return ids

    def answer(self, prompts: Sequence[str], text: str, row: str, what: str) -> int:
        """The token that an answer is behind each of the prompts. what: `answer` or `wrong`, for messages.

        Raises: TaskError where it is not one token, is unknown to the vocabulary, or is not the same behind all prompts.
        """
        if not isinstance(text, str):
            raise TaskError(f"{row}: {what} {text!r:.80}; expected text. Token ids go into answer_ids and wrong_ids.")
        found = [self.behind(prompt, text) for prompt in dict.fromkeys(prompts)]
        for one in found:
            if one.id is None:
                able = what in ("answer", "wrong") and all(self.continued(prompt, text).ids for prompt in prompts)
                raise TaskError(f"{row}: {what} {text!r} {one.said}{' ' * able}{SEVERAL * able}")
        return self._same(found, text, row, what)[0]

    def tokens(self, prompts: Sequence[str], text: str, row: str, what: str) -> tuple[int, ...]:
        """The token or the tokens that an answer is behind each of the prompts. Raises: as `answer`, but not for several."""
        found = [self.continued(prompt, text) for prompt in dict.fromkeys(prompts)] if isinstance(text, str) else []
        if found and all(one.tokens for one in found):
            return self._same(found, text, row, what)
        return (self.answer(prompts, text, row, what),)

    def _same(self, found: Sequence[Found], text: str, row: str, what: str) -> tuple[int, ...]:
        """The tokens of an answer that are found behind all prompts. Raises: TaskError where they are not the same."""
        if doubted := next((one for one in found if one.doubt), None):
            self._doubt(doubted.doubt, row, f"{what} {text!r} {doubted.said}")
        if len({one.tokens for one in found}) > 1:
            raise TaskError(
                f"{row}: {what} {text!r} is the token {self._names(found[0].tokens)} behind the clean prompt and "
                f"{self._names(found[1].tokens)} behind the corrupt one; expected the same behind both. Let both prompts end alike, "
                "or give its id."
            )
        return found[0].tokens

    def warn(self) -> None:
        """Say every kind of doubt once: the first pair with it, and how many more there are."""
        for kind, said in self._doubts.items():
            if kind == _NUMBERS and self._numbers_go_on:
                continue
            more = f" The same holds {len(said) - 1:,} times more." if len(said) > 1 else ""
            warnings.warn(said[0] + more, TokenWarning, stacklevel=3)

    def _doubt(self, kind: str, row: str, said: str) -> None:
        self._doubts.setdefault(kind, []).append(f"{row}: {said}")

    # ------------------------------------------------------------ one answer behind one prompt

    def behind(self, prompt: str, answer: str) -> Found:
        """The token of an answer behind one prompt, or why there is none."""
        end = self._end(prompt)
        if (end, answer) not in self._behind:
            self._behind[end, answer] = self._read(end, answer)
        return self._behind[end, answer]

    def _end(self, prompt: str) -> str:
        """The end of a prompt from the space before its last words, where it is cut into tokens as within the prompt."""
        at = prompt.rfind(" ", 0, max(0, len(prompt) - _END))
        end = prompt[max(at, 0) :]
        ids = self._plain(end)
        return end if len(ids) > 2 and ids[-2:] == self._plain(prompt)[-2:] else prompt

    def _read(self, prompt: str, answer: str) -> Found:
        """The token of an answer: the one behind the prompt, or the one that it is alone where the two say the same."""
        before, both, alone = self._plain(prompt), self._plain(prompt + answer), self._plain(answer)
        behind = both[len(before) :] if both[: len(before)] == before else None
        single, follows = self._one(alone, answer), self._one(behind, answer)
        if single is None and follows is None:
            return self._none(alone)
        numbers = prompt[-1:].isdigit() and answer[:1].isdigit()
        if single is None or single == follows:
            self._numbers_go_on |= numbers
            return Found(follows)
        if self._unknown is not None and both.count(self._unknown) > before.count(self._unknown):
            return Found(single)  # the vocabulary has no word of the two together
        same = self._text([*before, single]) == self._text(both)
        if same and (numbers or behind is None):
            return Found(single, self._joined(before, both, [single]), _NUMBERS if numbers else "joined")
        if not same and not numbers and prompt[-1:].isalnum() and answer[:1].isalnum():
            return Found(single, self._as_a_word(before, both, [single]), "word")
        return self._as_it_follows(follows, before, both, single)

    def continued(self, prompt: str, answer: str) -> Found:
        """The tokens of an answer of several behind one prompt; no `ids` where it is one token there, or cannot be read."""
        end = self._end(prompt)
        if (end, answer) not in self._several:
            one = self.behind(prompt, answer)
            self._several[end, answer] = self._read_several(end, answer) if one.id is None else one
        return self._several[end, answer]

    def _read_several(self, prompt: str, answer: str) -> Found:
        """Several tokens are read as one is: those behind the prompt, or those alone where the two say the same."""
        before, both, alone = self._plain(prompt), self._plain(prompt + answer), self._plain(answer)
        behind = both[len(before) :] if both[: len(before)] == before else []
        same, known = self._text([*before, *alone]) == self._text(both), self._known(alone, answer)
        numbers = prompt[-1:].isdigit() and answer[:1].isdigit()
        if known and not same and not numbers and prompt[-1:].isalnum() and answer[:1].isalnum():
            return Found(None, self._as_a_word(before, both, alone), "word", tuple(alone))
        if self._known(behind, answer):
            return Found(None, ids=tuple(behind))
        return Found(None, self._joined(before, both, alone), "joined", tuple(alone)) if known and same else Found(None)

    def _known(self, ids: Sequence[int], answer: str) -> bool:
        """Whether these are several tokens, and none of them is the unknown one."""
        return len(ids) > 1 and not (self._unknown in ids and n_unknown(self.tokenizer, answer, ids))

    def _as_it_follows(self, follows: int | None, before: list[int], both: list[int], single: int) -> Found:
        if follows is None:
            return unread(
                f"is no one token behind the prompt: {self._names(before[-1:])} with it is {self._names(self._end_of(before, both))}. "
                f"Alone it is {self._names([single])}, which does not follow there (mind spaces and quotes), or give its id."
            )
        said = f"is the token {self._names([follows])} behind the prompt, which is taken; alone it is {self._names([single])}."
        return Found(follows, said, "behind")

    def _joined(self, before: list[int], both: list[int], taken: list[int]) -> str:
        return (
            f"would join the end of the prompt: {self._names(before[-1:])} with it is {self._names(self._end_of(before, both))}. The "
            f"token {self._names(taken)} is taken, which seldom follows there; a space at the end of a prompt belongs to the answer."
        )

    def _as_a_word(self, before: list[int], both: list[int], taken: list[int]) -> str:
        return (
            f"is taken as a word of its own, {self._names(taken)}; written right behind the prompt, {self._names(before[-1:])} "
            f"with it is {self._names(self._end_of(before, both))}. Write it with its leading space, or give its id for another token."
        )

    def _none(self, alone: list[int]) -> Found:
        if not alone:
            return unread("has no tokens; expected one.")
        if alone == [self._unknown]:
            unknown = token_text(self.tokenizer, alone[0])
            return unread(
                f"is not in the tokeniser's vocabulary: it becomes the unknown token {unknown!r}. Expected a token of the model."
            )
        if self._unknown in alone:
            return unread(
                f"is not in the tokeniser's vocabulary as a whole: it becomes {self._names(alone)}, with the unknown token. Expected "
                "a token of the model."
            )
        texts = [token_text(self.tokenizer, i) for i in alone]
        return unread(f"is {len(alone)} tokens {texts}; expected one (mind the leading space).")

    # ------------------------------------------------------------ ids and their names

    def _plain(self, text: str) -> list[int]:
        if text not in self._alone:
            self._alone[text] = ids_of(self.tokenizer, text, special=False) if text else []
        return self._alone[text]

    def _one(self, ids: list[int] | None, answer: str) -> int | None:
        """The token where there is just one, and it is not the unknown one."""
        if ids is None or len(ids) != 1 or (ids[0] == self._unknown and n_unknown(self.tokenizer, answer, ids)):
            return None
        return ids[0]

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids))

    def _end_of(self, before: list[int], both: list[int]) -> list[int]:
        """What stands in `both` from the last token that `before` has too."""
        same = next((i for i, (a, b) in enumerate(zip(before, both, strict=False)) if a != b), len(before))
        return both[max(0, min(same, len(before) - 1)) :]

    def _names(self, ids: Sequence[int | None]) -> str:
        """Tokens as the vocabulary writes them, with the mark of a space before a word."""
        named = getattr(self.tokenizer, "convert_ids_to_tokens", None)
        names = [token_text(self.tokenizer, i) if named is None else str(named(i)) for i in ids]
        return " ".join(map(repr, names))
