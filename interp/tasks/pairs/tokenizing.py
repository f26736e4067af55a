"""How a pair becomes what is run: its texts as they are tokenised together, or its inputs as a model takes them, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from interp.errors import TaskError, some
from interp.parts.named_inputs import TEXT, Example
from interp.parts.outputs import Outputs
from interp.tasks.pairs.pair_checks import check_pair
from interp.tasks.pairs.pairs import Pair, as_text
from interp.tasks.pairs.token_pairs import Prompt, TokenPair, ids_of
from interp.tasks.reading.answers import SEVERAL, Reading


def token_pair(pair: Pair, reading: Reading, outputs: Outputs, row: str, several: bool) -> TokenPair:
    """The token ids of one pair, checked. `several`: an answer may be several tokens. Raises: TaskError, with `row` in it, where a rule of
    `TokenPair` is broken."""
    ids = pair.ids or _read(as_text(pair, reading.tokenizer, row), reading, row, several)
    if ids.forced and not several:
        raise TaskError(f"{row}: the answer is {ids.forced + 1} tokens; expected one. {SEVERAL}")
    check_pair(pair, ids, outputs, reading.tokenizer, row)
    return ids


def _read(pair: Pair, reading: Reading, row: str, several: bool) -> TokenPair:
    """The ids of a pair of texts, as they are tokenised together, or its inputs as a model takes them."""
    prompts = reading.before(pair)
    clean, corrupt = _sides(pair, reading, row)
    if isinstance(clean, tuple) and pair.inputs is not None and (pair.answers or pair.wrong) and not reading.of_classes:
        raise TaskError(
            f"{row}: its prompts are ids, and its answers text ({some(map(repr, pair.answers + pair.wrong))}); expected ids too."
        )
    if several:
        answers = [] if pair.answer_ids else [reading.tokens(prompts, text, row, "answer") for text in pair.answers]
        if any(len(tokens) > 1 for tokens in answers):
            return _continued(pair, TokenPair(clean, corrupt, (), (), pair.spans), answers, row)
        wrong = [] if pair.wrong_ids else [reading.tokens(prompts, text, row, "wrong") for text in pair.wrong]
        if any(len(tokens) > 1 for tokens in wrong):  # what takes several tokens reads no wrong ones
            return TokenPair(clean, corrupt, pair.answer_ids or tuple(t for (t,) in answers), (), pair.spans)
    return TokenPair(
        clean,
        corrupt,
        pair.answer_ids or tuple(reading.answer(prompts, answer, row, "answer") for answer in pair.answers),
        pair.wrong_ids or tuple(reading.answer(prompts, answer, row, "wrong") for answer in pair.wrong),
        pair.spans,
    )


def _sides(pair: Pair, reading: Reading, row: str) -> tuple[Prompt, Prompt]:
    """Clean and corrupt as what is run. Raises: TaskError for inputs that are no text where the model takes text."""
    if pair.inputs is not None and not reading.of_inputs:
        return _ids_of_input(pair.inputs[0], "clean", row), _ids_of_input(pair.inputs[1], "corrupt", row)
    given: tuple[Any, Any] = pair.inputs or (pair.clean, pair.corrupt)
    if reading.decodes:
        before = reading.before(pair)
        given = (given[0], before[0]), (given[1], before[1])
    elif pair.decoder is not None:
        raise TaskError(
            f"{row}: it says what a decoder has been given, and this model has none behind an encoder; leave that out."
        )
    if pair.second is not None:
        if not reading.of_segments or pair.inputs is not None:
            raise TaskError(
                f"{row}: it has a second text, and this model answers no question about two: expected one with classes. Write both as one text."
            )
        given = (given[0], pair.second[0]), (given[1], pair.second[1])
    return reading.prompt(given[0], row, "clean"), reading.prompt(given[1], row, "corrupt")


def _ids_of_input(given: Any, what: str, row: str) -> tuple[int, ...]:
    """The token ids that an input of a model of text is. Raises: TaskError for other inputs."""
    named = dict(given.tensors) if isinstance(given, Example) else {}
    ids: Any = named.pop("", named.pop(TEXT, None))
    mask = named.pop("attention_mask", None)
    one = isinstance(ids, Tensor) and ids.dtype in (torch.int64, torch.int32) and ids.numel() == ids.shape[-1] > 0
    if not one or named or (mask is not None and not bool(mask.all())):
        raise TaskError(
            f"{row}: its inputs are no text, which this model takes; give interp.Pair(...) with two texts, or the ids of one text as {what!r}, "
            f"whole numbers [pos] or [1 pos], alone or as {TEXT}."
        )
    return tuple(ids.flatten().tolist())


def _continued(pair: Pair, prompts: TokenPair, answers: Sequence[tuple[int, ...]], row: str) -> TokenPair:
    """The pair with all tokens of its answer but the last behind both prompts. Raises: TaskError for more than one answer."""
    if len(answers) > 1:
        n = next(len(tokens) for tokens in answers if len(tokens) > 1)
        raise TaskError(
            f"{row}: 'answer' has {len(answers)} answers, one of them of {n} tokens; expected one answer where it is several tokens, "
            "for those of a set would each need a run of their own."
        )
    if both := set(pair.answers) & set(pair.wrong):
        raise TaskError(f"{row}: {both.pop()!r} is both an answer and wrong.")
    *forced, last = answers[0]
    clean, corrupt = ((*ids_of(side), *forced) for side in (prompts.clean, prompts.corrupt))
    return TokenPair(clean, corrupt, (last,), (), pair.spans, len(forced))
