"""Can a pair be run and scored: its prompts, its answers and its spans against the model's outputs and the tokeniser."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from interp.errors import TaskError
from interp.parts.named_inputs import Example
from interp.parts.outputs import AtMask, Classes, NextToken, Outputs
from interp.parts.text_pairs import check_segments
from interp.parts.texts import encode, token_text
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import Prompt, TokenPair, ids_of
from interp.whole_numbers import is_whole


def check_pair(pair: Pair, ids: TokenPair, outputs: Outputs, tokenizer: Any, row: str) -> None:
    """Raises: TaskError, with `row` in it, where a rule of `TokenPair` is broken, or a token or class is not one of this model."""
    _check_prompts(pair, ids, tokenizer, row)
    _check_read(ids, outputs, row)
    for name, found in (("clean", ids.clean), ("corrupt", ids.corrupt), ("answer", ids.answers), ("wrong", ids.wrong)):
        if not found and name != "wrong":
            raise TaskError(f"{row}: {name!r} is empty; expected at least one token.")
        _check_range(name, found, outputs, row)
    _check_sets(ids, outputs, tokenizer, row)
    _check_spans(ids, row)
    _check_tokeniser(pair, ids, tokenizer, row, 0 if isinstance(outputs, NextToken) else 2)


def _check_sets(ids: TokenPair, outputs: Outputs, tokenizer: Any, row: str) -> None:
    """Raises: TaskError for an answer that is given twice, or that is both right and wrong."""
    what = "class" if isinstance(outputs, Classes) else "token"
    shown = partial(_shown_outputs, outputs=outputs, tokenizer=tokenizer)
    for name, found in (("answer", ids.answers), ("wrong", ids.wrong)):
        if len(set(found)) < len(found):
            raise TaskError(f"{row}: {name!r} names a {what} twice: {shown(found)}.")
    if both := set(ids.answers) & set(ids.wrong):
        raise TaskError(f"{row}: {what} {shown(sorted(both))} is both an answer and wrong.")


def _check_spans(ids: TokenPair, row: str) -> None:
    """Raises: TaskError for spans that are no ranges of the prompt's tokens."""
    length = ids.length - ids.forced
    for name, span in ids.spans.items():
        if not (isinstance(span, (tuple, list)) and len(span) == 2 and all(map(is_whole, span))):
            raise TaskError(f"{row}: span {name!r} is {span!r:.80}; expected (start, end), two whole numbers.")
        start, end = span
        if not 0 <= start < end <= length:
            raise TaskError(f"{row}: span {name!r} is [{start}, {end}), outside the prompt of {length} tokens.")


def _check_prompts(pair: Pair, ids: TokenPair, tokenizer: Any, row: str) -> None:
    """Two prompts of as many tokens, which are others where their texts are."""
    clean, corrupt = ids.prompts
    if isinstance(clean, Example) or isinstance(corrupt, Example):
        _check_examples(pair, clean, corrupt, row)
    elif len(clean) != len(corrupt):
        raise TaskError(
            f"{row}: clean has {len(clean)} tokens and corrupt {len(corrupt)}; patching needs equal lengths. "
            f"clean: {_shown(clean, tokenizer)} corrupt: {_shown(corrupt, tokenizer)}"
        )
    elif clean == corrupt and pair.clean != pair.corrupt:
        raise TaskError(
            f"{row}: 'clean' and 'corrupt' are other texts and the same tokens {_shown(clean, tokenizer)}: to this tokeniser "
            "they do not differ; there is nothing to patch."
        )


def _check_examples(pair: Pair, clean: Prompt, corrupt: Prompt, row: str) -> None:
    """Two inputs of one shape, which are others where their names are."""
    shapes = [
        {name: list(x.shape) for name, x in side.tensors.items()}
        for side in (clean, corrupt)
        if isinstance(side, Example)
    ]
    if pair.second is not None and isinstance(clean, Example) and isinstance(corrupt, Example):
        check_segments(clean, corrupt, row)
    if len(shapes) < 2 or shapes[0] != shapes[1]:
        raise TaskError(f"{row}: clean is {clean} and corrupt {corrupt}; patching needs inputs of one shape.")
    if clean == corrupt and (pair.clean != pair.corrupt or len({*(pair.second or ())}) > 1):
        raise TaskError(
            f"{row}: 'clean' {pair.clean!r} and 'corrupt' {pair.corrupt!r} are the same numbers; there is nothing to patch."
        )


def _check_read(ids: TokenPair, outputs: Outputs, row: str) -> None:
    """Raises: TaskError where the answer of a model that continues nothing would be read at the wrong place."""
    if ids.forced and not isinstance(outputs, NextToken):
        raise TaskError(
            f"{row}: the answer is {ids.forced + 1} tokens behind the prompts; this model continues none, so expected one answer."
        )
    if not isinstance(outputs, AtMask):
        return
    places = [[i for i, token in enumerate(ids_of(side)) if token == outputs.mask] for side in (ids.clean, ids.corrupt)]
    if [len(found) for found in places] != [1, 1] or places[0] != places[1]:
        raise TaskError(
            f"{row}: masks (token {outputs.mask}) at {places[0]} of the clean prompt and at {places[1]} of the corrupt one; expected one in each, "
            "at the same place, where the answer stands."
        )


def _check_range(name: str, found: Sequence[int] | Example, outputs: Outputs, row: str) -> None:
    """Raises: TaskError for a token or a class that the model does not have. The prompts of classifiers are checked where they are run."""
    if isinstance(found, Example):
        return
    classes, answering = isinstance(outputs, Classes), name in ("answer", "wrong")
    n = outputs.n if answering or not isinstance(outputs, NextToken | AtMask) else outputs.reads or outputs.n
    outside = [i for i in found if not 0 <= i < n]
    if outside and classes and answering:
        raise TaskError(f"{row}: {name!r} has class {outside[0]}; this model has classes 0 to {outputs.n - 1}.")
    if outside and not classes:
        raise TaskError(f"{row}: {name!r} has token id {outside[0]}, but the model's vocabulary is 0 to {n - 1}.")


def _check_tokeniser(pair: Pair, ids: TokenPair, tokenizer: Any, row: str, behind: int) -> None:
    """Ids that come with their text must be this tokeniser's, give or take the special tokens at the start, and so many behind it."""
    if isinstance(ids.clean, Example):
        return
    clean, corrupt = map(ids_of, ids.prompts)
    for name, text, found in (("clean", pair.clean, clean), ("corrupt", pair.corrupt, corrupt)):
        if pair.ids is None or tokenizer is None or not text:
            continue
        plain = encode(tokenizer, text, special=False)
        ends = next((n for n in range(1 + behind) if list(found[: len(found) - n][-len(plain) :]) == plain), None)
        if ends is None or len(found) > len(plain) + 2:
            raise TaskError(
                f"{row}: the token ids of {name!r} are not this tokeniser's for its text: {_shown(found, tokenizer)} "
                f"given, {_shown(plain, tokenizer)} expected. The file belongs to another model."
            )


def _shown_outputs(ids: Sequence[int], outputs: Outputs, tokenizer: Any) -> str:
    return str([outputs.names[i] for i in ids]) if isinstance(outputs, Classes) else _shown(ids, tokenizer)


def _shown(ids: Sequence[int], tokenizer: Any) -> str:
    """Token ids with their text, for messages."""
    if tokenizer is None:
        return str(list(ids))
    return str([token_text(tokenizer, i) for i in ids])
