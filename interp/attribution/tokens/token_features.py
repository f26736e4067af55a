"""Groups of positions that are scored together: words, spans, sentences, superpixels, or any other that a user gives.

Every position of a prompt belongs to one group, also those that nobody named: then each by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from interp.attribution.tokens.patch_masks import grid_of, patch_groups
from interp.errors import MethodError, some, unknown
from interp.model.modules.calling import stack_input
from interp.parts.named_inputs import Example
from interp.parts.texts import token_text
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import Prompt, TokenPair
from interp.whole_numbers import is_whole

#: Sentences end behind these.
_ENDS: Final = re.compile(r"[.!?…。！？][\"'”’)\]]*\s*$|\n\s*$")


@dataclass(frozen=True)
class Groups:
    """The groups of one prompt: what each is called, and of which one each position is [pos]."""

    names: tuple[str, ...]
    places: tuple[int, ...]


@dataclass(frozen=True)
class Read:
    """One prompt to be grouped: its positions, those of the answer left out, with their texts or names, and where messages find it."""

    model: Any
    pair: Pair
    prompt: Prompt
    spans: Mapping[str, tuple[int, int]]
    texts: tuple[str, ...]
    row: str
    ids: tuple[int, ...] | None


def grouped(
    model: Any, rows: Sequence[tuple[Pair, TokenPair, str]], features: Any, *, answers: bool, stack: str = ""
) -> list[Groups]:
    """The groups of every clean prompt. rows: pair, its ids and its name in messages. features: a name of `NAMED`, or a user's groups: for each position the
    number of its group, groups by name with their positions, a picture's superpixels [row column] of patches or pixels, or a list of one of
    these for each pair. answers: whether the tokens of an answer of several are positions too. stack: whose positions, by its prefix.

    Raises: MethodError for an unknown name, groups that overlap or leave a position out, a mask of another size.
    """
    own = _each(features, len(rows))
    found = []
    for i, (pair, ids, row) in enumerate(rows):
        prompt = ids.clean if answers else ids.prompts[0]
        read = Read(
            model, pair, prompt, ids.spans, position_texts(model, prompt, stack), row, _ids_of(model, prompt, stack)
        )
        found.append(NAMED[own](read) if isinstance(own, str) else _given(read, own[i]))
    return found


def _ids_of(model: Any, prompt: Prompt, stack: str) -> tuple[int, ...] | None:
    """The token ids that a stack reads of a prompt; None where these are no ids."""
    if not isinstance(prompt, Example):
        return prompt
    found = prompt.tensors.get(stack_input(model.hf, stack))
    return tuple(found.tolist()) if found is not None and not found.is_floating_point() and found.ndim == 1 else None


def position_texts(model: Any, prompt: Prompt, stack: str = "") -> tuple[str, ...]:
    """The texts of a prompt's tokens, or the names of its positions where it is no text."""
    if isinstance(prompt, Example):
        return model.positions(prompt, stack)  # type: ignore[no-any-return]
    return tuple(token_text(model.tokenizer, i) for i in prompt)


def _each(features: Any, n: int) -> str | list[Any]:
    """The name, or what is given for each of the pairs. Raises: MethodError."""
    if isinstance(features, str):
        if features not in NAMED:
            raise MethodError(unknown("features", features, NAMED) + " Or give groups of positions.")
        return features
    several = isinstance(features, (list, tuple)) and features and not any(map(is_whole, features))
    if several and len(features) != n:
        raise MethodError(f"features: groups for {len(features)} prompts given; expected {n}, one for each pair.")
    return list(features) if several else [features] * n


# ---------------------------------------------------------------- by name


def _alone(read: Read) -> Groups:
    return Groups(read.texts, tuple(range(len(read.texts))))


def _patches(read: Read) -> Groups:
    """Raises: MethodError where positions are no patches."""
    grid_of(read.texts if isinstance(read.prompt, Example) else (), f"{read.row}: features='patches'")
    return _alone(read)


def _frames(read: Read) -> Groups:
    """Raises: MethodError where positions are no frames of sound, or patches of a spectrogram."""
    if not isinstance(read.prompt, Example) or read.prompt.main == "pixel_values":
        raise MethodError(f"{read.row}: features='frames', and its positions are no frames of sound; use 'tokens'.")
    return _alone(read)


def _words(read: Read) -> Groups:
    """The words that a fast tokeniser cuts before it makes tokens of them; of one that cuts none, a space begins a word."""
    ids, tokenizer = _text_ids(read, "words"), read.model.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise MethodError(
            f"{read.row}: features='words' needs a fast tokeniser; give the groups: for each position the number of its word."
        )
    start, words = _word_numbers(read, ids, tokenizer)
    places: list[Any] = [("alone", i) for i in range(len(ids))]
    for i, word in enumerate(words):
        places[start + i] = ("word", word)
    return _numbered(places, read.texts)


def _word_numbers(read: Read, ids: tuple[int, ...], tokenizer: Any) -> tuple[int, list[int]]:
    """Where the text begins in the ids, and the number of each of its tokens' words. Raises: MethodError where no text gives these ids."""
    special = set(tokenizer.all_special_ids)
    bare = [i for i, token in enumerate(ids) if token not in special]
    inside = ids[bare[0] : bare[-1] + 1] if bare else ()
    for text in (read.pair.clean, tokenizer.decode(inside)):
        found = tokenizer(text, add_special_tokens=False) if text else None
        if found is None or tuple(found["input_ids"]) != inside:
            continue
        words = found.word_ids()
        if None not in words and (len(set(words)) > 1 or " " not in text.strip()):
            return bare[0], words
        begins = [read.model.text_of(i)[:1].isspace() for i in inside]
        return bare[0], np.cumsum(begins).tolist()
    raise MethodError(
        f"{read.row}: features='words', and its token ids are those of no text; give the groups: for each position the number of its word."
    )


def _sentences(read: Read) -> Groups:
    """A sentence ends behind a full stop, a question or exclamation mark, or a new line. Special tokens are alone."""
    ids = _text_ids(read, "sentences")
    special = set(getattr(read.model.tokenizer, "all_special_ids", ()))
    places: list[Any] = []
    number, before = 0, ""
    for i, token in enumerate(ids):
        text = read.model.text_of(token)
        if token in special:
            places.append(("alone", i))
            continue
        if _ENDS.search(before) and text.strip(" \"'”’)]"):
            number, before = number + 1, ""
        before += text
        places.append(("sentence", number))
    return _numbered(places, read.texts)


def _text_ids(read: Read, features: str) -> tuple[int, ...]:
    """Raises: MethodError for what is no text, and without a tokeniser."""
    if read.ids is None or read.model.tokenizer is None:
        raise MethodError(
            f"{read.row}: features={features!r} is of text with its tokeniser; use 'tokens', or give groups of positions."
        )
    return read.ids


def _spans(read: Read) -> Groups:
    """The named ranges of the task, and each stretch between them."""
    if not read.spans:
        raise MethodError(f"{read.row}: features='spans', and the pair names none; use 'tokens' or 'words'.")
    named = {name: range(*span) for name, span in read.spans.items()}
    places: list[Any] = [None] * len(read.texts)
    _put(read, named, places)
    number = 0
    for i, place in enumerate(places):
        number += i > 0 and place is None and isinstance(places[i - 1], str)
        places[i] = place if place is not None else ("between", number)
    return _numbered(places, read.texts)


#: The groups that have a name.
NAMED: Final[Mapping[str, Callable[[Read], Groups]]] = {
    "tokens": _alone,
    "words": _words,
    "spans": _spans,
    "sentences": _sentences,
    "patches": _patches,
    "frames": _frames,
}


# ---------------------------------------------------------------- given


def _given(read: Read, own: Any) -> Groups:
    """A user's groups of one prompt. Raises: MethodError."""
    if isinstance(own, Mapping):
        places: list[Any] = [None] * len(read.texts)
        _put(read, own, places)
        if missing := [i for i, place in enumerate(places) if place is None]:
            raise MethodError(
                f"{read.row}: features leave out position {some(map(str, missing))} ({read.texts[missing[0]]!r}); expected every position of 0 "
                f"to {len(places) - 1} in one group."
            )
        return _numbered(places, read.texts)
    array = np.asarray(own)
    if array.ndim == 2 and array.dtype.kind in "iu" and isinstance(read.prompt, Example):
        return Groups(*patch_groups(array, read.texts, read.prompt, read.row))
    if array.shape != (len(read.texts),) or array.dtype.kind not in "iu":
        raise MethodError(
            f"{read.row}: features of shape {list(array.shape)} and type {array.dtype}; expected a whole number for each of its {len(read.texts)} "
            "positions, groups by name, or of a picture whole numbers [row, column]."
        )
    return _numbered([("group", int(i)) for i in array], read.texts)


def _put(read: Read, named: Mapping[Any, Any], places: list[Any]) -> None:
    """Write the groups into the places. Raises: MethodError for positions that are none, or of two groups."""
    for name, positions in named.items():
        for at in [positions] if is_whole(positions) else list(positions):
            if not is_whole(at) or not 0 <= at < len(places):
                raise MethodError(f"{read.row}: feature {name!r} has position {at!r}; expected 0 to {len(places) - 1}.")
            if places[at] is not None:
                raise MethodError(
                    f"{read.row}: features {places[at]!r} and {name!r} overlap at position {at} ({read.texts[at]!r}); expected every position in one "
                    "group."
                )
            places[at] = str(name)


def _numbered(places: Sequence[Any], texts: Sequence[str]) -> Groups:
    """Groups in the order of their first positions: those with a name keep it, others have the text of their positions."""
    order = {key: i for i, key in enumerate(dict.fromkeys(places))}
    joined = {key: "".join(t for t, p in zip(texts, places, strict=True) if p == key) for key in order}
    names = tuple(key if isinstance(key, str) else joined[key] for key in order)
    return Groups(names, tuple(order[place] for place in places))
