"""Pieces of text, some of them named, as a prompt: its text, and which tokens each name means; two of them as a pair."""

from __future__ import annotations

from typing import Any

from interp.parts.texts import leading_specials
from interp.tasks.task import Pair
from interp.tasks.word_lists import Piece


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
