"""How tasks show themselves in notebooks: pairs with the words that differ, and their answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import Markup

from interp.formatting import showing
from interp.formatting.html import block, caption, element, joined, left_out, table, text
from interp.formatting.numbers import count, several
from interp.formatting.text import token
from interp.tasks.pairs.pairs import Pair
from interp.tasks.task import Task

MOST_PAIRS: Final = 3
MOST_WORDS: Final = 48
MOST_ANSWERS: Final = 6
_BEFORE: Final = 16


@showing.card.register
def task_card(found: Task) -> Markup:
    """The first pairs, the words in which clean and corrupt differ marked, and their answers."""
    rows = [row for i, pair in enumerate(found.pairs[:MOST_PAIRS], 1) for row in _pair_rows(i, pair)]
    shown = min(MOST_PAIRS, len(found))
    left = left_out(len(found), shown, "pairs")
    about = [text(line) for line in (found.description, found.source) if line]
    said = joined(text(found.name), several(len(found), "pair"))
    grid = table(("", "prompt", "right after it"), rows, left=left)
    told = [caption(joined(*about))] if about else []
    return block("Task", said, grid, caption("Words that differ are bold and underlined."), *told)


def _pair_rows(number: int, pair: Pair) -> Iterator[tuple[str | Markup, ...]]:
    clean, corrupt = (_words(pair, name) for name in ("clean", "corrupt"))
    yield f"{number} clean", _marked(clean, _differs(clean, corrupt)), _answers(pair.answers, pair.answer_ids)
    yield f"{number} corrupt", _marked(corrupt, _differs(corrupt, clean)), _answers(pair.wrong, pair.wrong_ids)


def _differs(words: Sequence[str], others: Sequence[str]) -> list[bool]:
    """Which words differ: place by place; where one has more, all between what both begin and end with."""
    if len(words) == len(others):
        return [a != b for a, b in zip(words, others, strict=True)]
    most = min(len(words), len(others))
    before = next((i for i in range(most) if words[i] != others[i]), most)
    after = next((i for i in range(most - before) if words[-1 - i] != others[-1 - i]), most - before)
    return [before <= i < len(words) - after for i in range(len(words))]


def _words(pair: Pair, name: str) -> list[str]:
    """The words of a prompt, each with the space before it; its ids where it has no text."""
    if not (said := getattr(pair, name)) and pair.ids is not None:
        return [f" {i}" for i in getattr(pair.ids, name)]
    return re.findall(r"\s*\S+|\s+$", said)


def _marked(words: Sequence[str], differs: Sequence[bool]) -> Markup:
    """The words around the first that differs, in runs of the same kind."""
    first = differs.index(True) if True in differs else 0
    start = max(0, min(first - _BEFORE, len(words) - MOST_WORDS))
    stop = min(len(words), start + MOST_WORDS)
    parts: list[str | Markup] = [Markup("… ({} words) ").format(count(start))] if start else []
    while start < stop:
        end = start
        while end < stop and differs[end] == differs[start]:
            end += 1
        run = "".join(words[start:end])
        bare = run.lstrip(" ")
        parts += [" " * (len(run) - len(bare)), _told_apart(bare)] if differs[start] else [text(run, 600)]
        start = end
    rest = [Markup(" … ({} words)").format(count(len(words) - stop))] if len(words) > stop else []
    return element("span", *parts, *rest, style="white-space: pre-wrap; overflow-wrap: anywhere")


def _told_apart(run: str) -> Markup:
    return element("b", text(run, 600), style="text-decoration: underline")


def _answers(answers: Sequence[str], ids: Sequence[int]) -> Markup:
    shown = [Markup("<bdi>{}</bdi>").format(token(a)) for a in answers] or [Markup("id {}").format(i) for i in ids]
    more = f"{count(len(shown) - MOST_ANSWERS)} more" if len(shown) > MOST_ANSWERS else ""
    return joined(*shown[:MOST_ANSWERS], more, by=", ")
