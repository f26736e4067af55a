"""Words out of tokens: what a head sends from word to word.

The weight that a word gets is the sum over its tokens; that of a word as a query is the mean over its tokens (Clark et al. 2019, section 4.1). So rows
that sum to 1 still do.

Axis words: `q_pos k_pos q_word k_word`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from interp.errors import TaskError

#: Places of tokens that belong together.
Groups = tuple[tuple[int, ...], ...]


def over_words(weights: np.ndarray, groups: Groups) -> np.ndarray:
    """Weights between words [... q_word k_word] of those between tokens [... q_pos k_pos]: summed to a word, averaged from it."""
    member = np.zeros((len(groups), weights.shape[-1]))
    for word, tokens in enumerate(groups):
        member[word, list(tokens)] = 1
    return np.asarray((member / member.sum(1, keepdims=True)) @ weights @ member.T)


def words_of(tokenizer: Any, text: str, ids: Sequence[int]) -> tuple[Groups, tuple[str, ...]]:
    """The words of a text as its fast tokeniser cuts it, and what each is called; a special token is a word of its own.

    Raises: TaskError without a fast tokeniser, and for ids that are not those of the text.
    """
    encoded, start = _encoded(tokenizer, text, ids)
    words, spans = encoded.word_ids(), encoded["offset_mapping"]
    groups: dict[object, list[int]] = {}
    for place in range(len(ids)):
        word = words[start + place]
        groups.setdefault((word,) if word is not None else place, []).append(place)
    found = tuple(tuple(places) for places in groups.values())
    names = tuple(_name(tokenizer, text, ids, spans, start, places) for places in found)
    return found, names


def _name(tokenizer: Any, text: str, ids: Sequence[int], spans: Any, start: int, places: Sequence[int]) -> str:
    first, last = spans[start + places[0]][0], spans[start + places[-1]][1]
    return text[first:last] or str(tokenizer.decode([ids[places[0]]]))


def tokens_of_words(tokenizer: Any, words: Sequence[str], ids: Sequence[int]) -> Groups:
    """The tokens of each given word, in a text of these words with spaces between them. A token on two words belongs to the one that it has
    most of. Raises: TaskError as `words_of`, and for a word without a token of its own."""
    text, ends = " ".join(words), np.cumsum([len(word) + 1 for word in words])
    starts = np.concatenate([[0], ends[:-1]])
    encoded, start = _encoded(tokenizer, text, ids)
    found: list[list[int]] = [[] for _ in words]
    for place in range(len(ids)):
        first, last = encoded["offset_mapping"][start + place]
        shared = np.minimum(ends - 1, last) - np.maximum(starts, first)
        if shared.max() > 0:
            found[int(shared.argmax())].append(place)
    if empty := [word for word, places in zip(words, found, strict=True) if not places]:
        raise TaskError(
            f"the word {empty[0]!r:.60} has no token of its own in {text!r:.80}; join it with its neighbour."
        )
    return tuple(map(tuple, found))


def _encoded(tokenizer: Any, text: str, ids: Sequence[int]) -> tuple[Any, int]:
    """What a fast tokeniser makes of a text, and where `ids` begin in it."""
    if not getattr(tokenizer, "is_fast", False):
        raise TaskError(
            f"words need a fast tokeniser, which knows the word of a token; given {type(tokenizer).__name__}."
        )
    encoded = tokenizer(text, return_offsets_mapping=True)
    whole, part = list(encoded["input_ids"]), list(ids)
    for start in range(len(whole) - len(part) + 1):
        if whole[start : start + len(part)] == part:
            return encoded, start
    raise TaskError(f"the token ids are not those that the tokeniser makes of {text!r:.80}; give the text itself.")
