"""Pieces of text, some of them named, as a prompt: its text, and which tokens each name means; two of them as a pair; and
prompts of text as chats, with the same names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from interp.errors import TaskError
from interp.parts.texts import encode, leading_specials
from interp.tasks.pairs.pairs import Pair, as_text
from interp.tasks.reading.chats import answer_space
from interp.tasks.word_lists import Piece

#: What the source of a task says of prompts that were wrapped.
WRAPPED: Final = (
    "as chats: each prompt one message of the user, answers with the leading space of the template, if it has one"
)


def pair_of(
    clean: tuple[Piece, ...],
    corrupt: tuple[Piece, ...],
    answers: tuple[str, ...],
    wrong: tuple[str, ...],
    tokenizer: Any,
) -> Pair | None:
    """The pair, or None if its two prompts are the same, or differ in length or in where the spans lie."""
    texts, spans = (text_of(clean), text_of(corrupt)), spans_of(clean, tokenizer)
    if texts[0] == texts[1] or spans is None or spans != spans_of(corrupt, tokenizer):
        return None
    return Pair(*texts, answers, wrong, spans)


def text_of(pieces: tuple[Piece, ...]) -> str:
    """The prompt."""
    return "".join(text for text, _ in pieces)


def spans_of(pieces: tuple[Piece, ...], tokenizer: Any) -> dict[str, tuple[int, int]] | None:
    """Token ranges of the named pieces, and of `end` where no piece ends the prompt; None where a piece does not begin and
    end between tokens."""
    plain = tokenizer(text_of(pieces), add_special_tokens=False)["input_ids"]
    lead = leading_specials(tokenizer)
    spans: dict[str, tuple[int, int]] = {}
    prefix, start = "", 0
    for text, name in pieces:
        prefix += text
        ids = tokenizer(prefix, add_special_tokens=False)["input_ids"]
        if ids != plain[: len(ids)]:
            return None
        if name is not None:
            spans[name] = (lead + start, lead + len(ids))
        start = len(ids)
    last = lead + len(plain)
    return spans if any(end == last for _, end in spans.values()) else {**spans, "end": (last - 1, last)}


# ---------------------------------------------------------------- chats


def wrapped(pair: Pair, tokenizer: Any, where: str) -> Pair:
    """A pair of texts as chats of one message of the user, their answers with no leading space but the template's; chats by the
    template alone.

    Spans are moved to where their tokens are in the chat, and left out where the template cuts or joins these.
    Raises: TaskError for token ids, and as `rendered`.
    """
    if pair.messages is not None:
        return as_text(pair, tokenizer, where)
    if pair.ids is not None:
        raise TaskError(f"{where}: chat=True wraps prompts of text; this pair is token ids, which are run as they are.")
    asked = tuple((("user", text),) for text in (pair.clean, pair.corrupt))
    found = as_text(replace(pair, messages=asked), tokenizer, where)
    moves = {_moved(tokenizer, *texts) for texts in ((pair.clean, found.clean), (pair.corrupt, found.corrupt))}
    by = moves.pop() if len(moves) == 1 else None
    spans = {} if by is None else {name: (start + by, end + by) for name, (start, end) in pair.spans.items()}
    space = answer_space(tokenizer, asked[0], found.clean)
    right, wrong = (
        tuple(space + text if (text := answer.lstrip(" ")) else answer for answer in texts)
        for texts in (pair.answers, pair.wrong)
    )
    return replace(found, answers=right, wrong=wrong, spans=spans)


def _moved(tokenizer: Any, prompt: str, chat: str) -> int | None:
    """By how many places the tokens of a prompt stand later in a chat that holds it; None where they are not the same tokens."""
    if chat.count(prompt) != 1 or not prompt:
        return None
    whole, plain = encode(tokenizer, chat), encode(tokenizer, prompt, special=False)
    start = len(encode(tokenizer, before)) if (before := chat.partition(prompt)[0]) else leading_specials(tokenizer)
    return start - leading_specials(tokenizer) if whole[start : start + len(plain)] == plain else None
