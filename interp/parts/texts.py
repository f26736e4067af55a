"""How a text becomes token ids, and what an id says: every question to a tokeniser that has a wrong answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from interp.errors import TaskError
from interp.whole_numbers import whole

#: A character that no vocabulary has: what a tokeniser makes of it is the token for what it does not know.
_NEVER_SEEN: Final = "\U0010fffd"


class TokenWarning(UserWarning):
    """Token ids that may not mean what their text says."""


def encode(tokenizer: Any, text: str, *, special: bool = True) -> list[int]:
    """Token ids of one text, with the special tokens that the tokeniser itself puts before a prompt.

    A BOS that the text begins with is not put there twice, and what the tokeniser puts behind a text (`</s>`, `[SEP]`) is
    left out: what follows a prompt is read behind its last word. `special=False`: the text alone.
    """
    plain = ids_of(tokenizer, text, False)
    ids = _behind_one_bos(tokenizer, text, ids_of(tokenizer, text, True), plain) if special else plain
    if not ids:
        raise TaskError(f"text {text!r} has no tokens.")
    return ids


def encode_document(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a whole document: with the end that the tokeniser puts behind it, as a model in training sees it."""
    ids = ids_of(tokenizer, text, True)
    if ids[:1] == ids[1:2] and _begins_with(tokenizer, text, ids[0]) and ids_of(tokenizer, text, False) != ids:
        ids = ids[1:]
    if not ids:
        raise TaskError(f"text {text!r} has no tokens.")
    return ids


def ids_of(tokenizer: Any, text: str, special: bool) -> list[int]:
    """What the tokeniser makes of a text. Raises: TaskError where there is none, or one that gives no list of ids."""
    if tokenizer is None:
        raise TaskError(
            f"text {text!r} given, but the model has no tokeniser: pass tokenizer=... to interp.load, or token ids."
        )
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise TaskError(f"text {text!r:.80} has half of a surrogate pair, which is no letter; write the whole one.")
    try:
        ids = tokenizer.encode(text, add_special_tokens=special)
    except Exception as error:  # of a library below, such as one without a token for what its vocabulary lacks
        raise TaskError(
            f"text {text!r:.80}: the tokeniser fails: {str(error) or type(error).__name__:.200}."
        ) from error
    if hasattr(ids, "ids"):
        raise TaskError(
            f"the tokeniser is a {type(tokenizer).__name__} of the library tokenizers; expected one of transformers: wrap it, "
            "transformers.PreTrainedTokenizerFast(tokenizer_object=...)."
        )
    return [int(i) for i in ids]


def encode_target(tokenizer: Any, text: str) -> list[int]:
    """Token ids of what a decoder writes, which some tokenisers cut otherwise than what its encoder reads; without special tokens that the
    text does not have. Raises: TaskError."""
    if not callable(tokenizer):
        return ids_of(tokenizer, text, False)
    try:
        return [int(i) for i in tokenizer(text_target=text, add_special_tokens=False)["input_ids"]]
    except Exception as error:  # of a library below
        raise TaskError(
            f"text {text!r:.80}: the tokeniser fails: {str(error) or type(error).__name__:.200}."
        ) from error


def _behind_one_bos(tokenizer: Any, text: str, ids: list[int], plain: list[int]) -> list[int]:
    """`plain` behind the special tokens that stand before it in `ids`; alone where the text begins with the first of them."""
    if not plain:
        return ids[: leading_specials(tokenizer)]
    start = _place(ids, plain)
    if start is None:
        return ids[: len(ids) - _ends(tokenizer, ids, plain)]
    if start and plain[0] == ids[0] and _begins_with(tokenizer, text, ids[0]):
        return plain
    return ids[: start + len(plain)]


def _place(ids: list[int], part: list[int]) -> int | None:
    """Where `part` begins in `ids`; None where it does not stand there."""
    return next((i for i in range(len(ids) - len(part) + 1) if ids[i : i + len(part)] == part), None)


def _ends(tokenizer: Any, ids: list[int], plain: list[int]) -> int:
    """1 where a token that ends texts stands behind one that is cut otherwise without special tokens, else 0."""
    known = {getattr(tokenizer, name, None) for name in ("eos_token_id", "sep_token_id")}
    return int(ids[-1:] != plain[-1:] and ids[-1] in known)


def leading_specials(tokenizer: Any) -> int:
    """How many special tokens the tokeniser itself puts before a text."""
    ids, plain = (ids_of(tokenizer, "a", special) for special in (True, False))
    return (_place(ids, plain) or 0) if plain else len(ids)


def _begins_with(tokenizer: Any, text: str, token: int) -> bool:
    return text.lstrip().startswith(str(tokenizer.decode([token])).strip())


def token_text(tokenizer: Any, token: Any) -> str:
    """The text of one token id as the tokeniser decodes it; `<id>` of an id that it has no token for, as models with more
    logits than tokens do; the id itself without a tokeniser. Raises: TaskError for what is no whole number."""
    i = whole(token, "token id", TaskError)
    if tokenizer is None:
        return str(i)
    return str(tokenizer.decode([i])) if has_token(tokenizer, i) else f"<{i}>"


def has_token(tokenizer: Any, i: int) -> bool:
    """Whether an id has a token. Where it has none, fast tokenisers say None, and slow ones the unknown token, or fail."""
    named = getattr(tokenizer, "convert_ids_to_tokens", None)
    if named is None:
        return True
    try:
        found = named(i) if i >= 0 else None
    except (IndexError, KeyError, ValueError, OverflowError):
        return False
    unknown = getattr(tokenizer, "unk_token", None)
    return found is not None and (found != unknown or i == getattr(tokenizer, "unk_token_id", None))


def unknown_id(tokenizer: Any) -> int | None:
    """The token that stands for what the vocabulary lacks; None where every text has tokens of its own."""
    found = getattr(tokenizer, "unk_token_id", None)
    if found is not None or tokenizer is None:
        return None if found is None else int(found)
    try:
        ids = ids_of(tokenizer, _NEVER_SEEN, False)
    except TaskError:  # one that refuses what it does not know needs no token for it
        return None
    return None if not ids or _NEVER_SEEN in str(tokenizer.decode(ids)) else ids[-1]


def n_unknown(tokenizer: Any, text: str, ids: Sequence[int]) -> int:
    """How many of a text's tokens stand for what the vocabulary lacks; those that the text itself writes do not count."""
    unknown = unknown_id(tokenizer)
    if unknown is None or unknown not in ids:
        return 0
    written = str(tokenizer.decode([unknown])).strip()
    return max(0, list(ids).count(unknown) - (text.count(written) if written else 0))


def pad_id(tokenizer: Any) -> int:
    """An id to pad with; its value never matters, because padding is masked."""
    for name in ("pad_token_id", "eos_token_id"):
        if (found := getattr(tokenizer, name, None)) is not None:
            return int(found)
    return 0
