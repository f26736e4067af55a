"""How a tokeniser writes years, and so which form `greater-than` takes: by two-digit endings, or by first digits.

`1742` as ` 17` and `42` asks for an ending above 42. A tokeniser that writes every digit apart is asked for the first digit
of the ending only: after `17` those above 4 are right and those below 4 wrong. The digit 4 itself is neither, as 1741 and 1749
both begin with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from interp.errors import TaskError
from interp.tasks import word_lists as w

EARLIEST: Final = "01"
#: Fewer years than this are too few to ask about.
LEAST: Final = 20
FIRST_DIGITS: Final = "by the first digit of the later year's ending, as the tokenizer writes years digit by digit"


@dataclass(frozen=True)
class Years:
    """What can be asked of a tokeniser: starts as (century, ending), and the tokens that may follow a century.

    `by_digit`: these are digits, the first of an ending; else whole endings.
    """

    starts: tuple[tuple[str, str], ...]
    next: tuple[str, ...]
    by_digit: bool

    def later(self, start: str) -> tuple[str, ...]:
        """What is right after the century, for an event that began in the year of this ending."""
        return tuple(token for token in self.next if token > start[: len(token)])

    def rest(self, start: str) -> tuple[str, ...]:
        """What is wrong: every other ending; of digits those that are smaller."""
        return tuple(token for token in self.next if token < start[: len(token)] or token == start)


def years(lexicon: w.Lexicon) -> Years:
    """The years that `greater-than` can ask about: by endings where the tokeniser has them, else by first digits.

    Raises: TaskError where it writes too few years in either way.
    """
    endings = tuple(ending for ending in w.ENDINGS if lexicon.whole(ending))
    starts = _with_earliest((c, e) for c in w.CENTURIES for e in endings if lexicon.whole(w.spaced(c), e))
    starts = tuple((c, e) for c, e in starts if "02" <= e < max(endings))
    if len(endings) >= LEAST and len(starts) >= LEAST:
        return Years(starts, endings, by_digit=False)
    apart = _with_earliest((c, e) for c in w.CENTURIES for e in w.ENDINGS if _digit_by_digit(lexicon, c, e))
    apart = tuple((c, e) for c, e in apart if w.DIGITS[0] < e[0] < w.DIGITS[-1])
    if len(apart) >= LEAST:
        return Years(apart, w.DIGITS, by_digit=True)
    if len(endings) < LEAST:
        lexicon.keep("two-digit endings", w.ENDINGS, LEAST, lambda ending: (ending,))
    raise TaskError(
        f"task {lexicon.task!r}: {len(starts)} years are two tokens, ' 17' and '32', with this tokenizer, and {len(apart)} "
        f"are written digit by digit; at least {LEAST} of either are needed; use a tokenizer that splits years in two such "
        "as GPT-2's or into digits, or choose another task"
    )


def form(lexicon: w.Lexicon) -> str:
    """What to say of the form that is taken: nothing of whole endings."""
    return FIRST_DIGITS if years(lexicon).by_digit else ""


def _with_earliest(found: Iterator[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The starts of centuries whose earliest year, that of the corrupt prompts, is written in the same way."""
    starts = tuple(found)
    early = {c for c, ending in starts if ending == EARLIEST}
    return tuple((c, ending) for c, ending in starts if c in early)


def _digit_by_digit(lexicon: w.Lexicon, century: str, ending: str) -> bool:
    """Whether the ending is two tokens behind the tokens of the century, whatever these are."""
    return all(map(lexicon.whole, ending)) and lexicon.apart(w.spaced(century), *ending)
