"""From a row of a task file to a pair, with all that may stand in its columns: answers, ids, spans, chats, second texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from interp.errors import TaskError
from interp.tasks.files.columns import COLUMNS
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.reading.chats import Messages, in_words, messages_of


def pair_of(row: Mapping[str, Any], where: str) -> Pair:
    """One row as a pair, ids included where it has them."""
    found = _found(row, where)
    texts = {name: _texts(found.get(name, ()), f"{where}: {name!r}") for name in ("answer", "wrong")}
    messages = _messages(found, where)
    clean, corrupt = (
        in_words(messages[name]) if messages else _text(found[name], f"{where}: {name!r}")
        for name in ("clean", "corrupt")
    )
    pair = Pair(
        clean,
        corrupt,
        texts["answer"],
        texts["wrong"],
        _spans(row.get("spans") or {}, where),
        messages=tuple(messages.values()) if messages else None,
        decoder=_of_both("decoder", row, where),
        second=_second(row, where),
    )
    beside = [texts for texts in (pair.decoder, pair.second) if texts is not None]
    if pair.clean == pair.corrupt and pair.clean and all(len(set(texts)) == 1 for texts in beside):
        raise TaskError(f"{where}: 'clean' and 'corrupt' are the same text; there is nothing to patch.")
    return _with_ids(pair, row, found, where)


def _found(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What a row says, by our names. Raises: TaskError where a prompt or an answer is missing."""
    found = {ours: row[name] for ours, names in COLUMNS.items() for name in names if row.get(name) not in (None, "")}
    if "label" in row and "answer" not in found:
        found |= _greater_than(str(row["label"]), where)
    missing = [name for name in ("clean", "corrupt") if name not in found]
    missing += [
        n for n in ("answer", "wrong") if not {n, f"{n}_id"} & {*found} and (n == "answer" or _is_named(n, row))
    ]
    if missing:
        raise TaskError(f"{where}: {', '.join(map(repr, missing))} missing; given columns: {', '.join(map(str, row))}.")
    return found


def _of_both(what: str, row: Mapping[str, Any], where: str) -> tuple[str, str] | None:
    """A text that stands beside both prompts, of each or one for both; None where there is none, as in an empty cell. Raises: TaskError for
    one of two alone."""
    own = (f"clean_{what}", f"corrupt_{what}")
    said = [name for name in (*own, what) if row.get(name) not in (None, "")]
    both = [name for name in said if name in own]
    if both and len(said) != 2:
        raise TaskError(f"{where}: {both[0]!r} given; expected {own[0]!r} and {own[1]!r}, or {what!r} for both.")
    if not said:
        return None
    clean, corrupt = both or (what, what)
    return _text(row[clean], f"{where}: {clean!r}"), _text(row[corrupt], f"{where}: {corrupt!r}")


def _second(row: Mapping[str, Any], where: str) -> tuple[str, str] | None:
    """The second texts of a model that reads two. Raises: TaskError where the row has token ids too."""
    found = _of_both("second", row, where)
    if found is not None and "clean_ids" in row:
        raise TaskError(f"{where}: second texts with 'clean_ids'; expected texts, or ids of both texts together.")
    return found


def _messages(found: Mapping[str, Any], where: str) -> dict[str, Messages] | None:
    """Both prompts as chats; None where they are texts. Raises: TaskError where one is a chat and the other is not."""
    given = {name: found[name] for name in ("clean", "corrupt")}
    chats = [isinstance(prompt, list) and all(isinstance(m, Mapping) for m in prompt) for prompt in given.values()]
    if not any(chats):
        return None
    if not all(chats):
        raise TaskError(f"{where}: one of 'clean' and 'corrupt' is a list of messages; expected both, or two texts.")
    return {name: messages_of(prompt, f"{where}: {name!r}") for name, prompt in given.items()}


def _is_named(name: str, row: Mapping[str, Any]) -> bool:
    """Whether a row has a column of this kind, be it empty: a pair without wrong answers has none."""
    return any(column in row for column in (*COLUMNS[name], *COLUMNS[f"{name}_id"]))


def _with_ids(pair: Pair, row: Mapping[str, Any], found: Mapping[str, Any], where: str) -> Pair:
    """Token ids go with the pair: of prompts and answers, or of answers beside prompts as text, where both have them or a text is missing."""
    ids = {name: _ids(found[f"{name}_id"], where) for name in ("answer", "wrong") if f"{name}_id" in found}
    if not ("clean_ids" in row and "corrupt_ids" in row):
        both = len(ids) == 2
        texts = (("answer", pair.answers), ("wrong", pair.wrong))
        answers, wrong = (ids.get(name, ()) if both or not text else () for name, text in texts)
        return replace(pair, answer_ids=answers, wrong_ids=wrong)
    if "answer" not in ids or (pair.wrong and "wrong" not in ids):
        raise TaskError(f"{where}: 'clean_ids' given; expected 'answer_id' and 'wrong_id' with them.")
    clean, corrupt = _ids(row["clean_ids"], where), _ids(row["corrupt_ids"], where)
    if clean == corrupt and clean:
        raise TaskError(f"{where}: 'clean_ids' and 'corrupt_ids' are the same; there is nothing to patch.")
    return replace(pair, ids=TokenPair(clean, corrupt, ids["answer"], ids.get("wrong", ()), pair.spans))


def _greater_than(label: str, where: str) -> dict[str, list[str]]:
    """Two-digit endings above the label are right, the others wrong."""
    if not (len(label) in (1, 2) and label.isdecimal()):  # that table drops the zero of a label below 10
        raise TaskError(f"{where}: 'label' is {label!r}; expected two digits, as in EAP-IG's greater-than table.")
    label, endings = label.zfill(2), [f"{i:02d}" for i in range(100)]
    return {"answer": [e for e in endings if e > label], "wrong": [e for e in endings if e <= label]}


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TaskError(f"{what} is {value!r:.80}; expected text.")
    return value


def _texts(value: Any, what: str) -> tuple[str, ...]:
    return tuple(_text(v, what) for v in (value if isinstance(value, (list, tuple)) else [value]))


def _ids(value: Any, where: str) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    if any(isinstance(v, (bool, float)) for v in values):
        raise TaskError(f"{where}: token ids {value!r:.80}; expected integers.")
    try:
        return tuple(int(v) for v in values)
    except (TypeError, ValueError):
        raise TaskError(f"{where}: token ids {value!r:.80}; expected integers.") from None


def _spans(value: Any, where: str) -> dict[str, tuple[int, int]]:
    """`{name: [start, end]}`, or `{name: index}` for one token."""
    spans = {}
    items = value.items() if isinstance(value, Mapping) else [("spans", value)]
    for name, span in items:
        span = [span, span + 1] if isinstance(span, int) else span
        if not (isinstance(span, list) and len(span) == 2 and all(isinstance(i, int) for i in span)):
            raise TaskError(f"{where}: span {name!r} is {span!r:.80}; expected [start, end] in tokens.")
        spans[str(name)] = (span[0], span[1])
    return spans
