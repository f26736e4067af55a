"""Text from outside (tokens, names, paths, answers) made safe to show: nothing invisible, nothing that reorders."""

from __future__ import annotations

import unicodedata
from typing import Final

LONGEST: Final = 2000
LONGEST_TOKEN: Final = 80
# Invisible or blank although Unicode calls them letters, marks or symbols.
_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
# What a token's spaces and newlines are shown as; a token that really holds one of these shows its code instead.
_SPACE: Final = "·"
_NEWLINE: Final = "↵"
# No script puts more marks on one letter; a pile of them is drawn over the lines around.
_MOST_MARKS: Final = 6


def visible(text: str, longest: int = LONGEST) -> str:
    """`text` with every control, format, bidi, zero-width, private or unpaired character as its code, ⟨U+202E⟩, and piles of
    marks on one letter as the first few and codes."""
    shown, marks = "", 0
    for c in text[:longest]:
        marks = marks + 1 if unicodedata.category(c).startswith("M") else 0
        shown += _code(c) if _hidden(c) or marks > _MOST_MARKS else c
    if shown and unicodedata.category(shown[0]).startswith("M"):
        # A mark would otherwise sit on whatever the page puts before it.
        shown = "◌" + shown
    return shown + _rest(len(text) - longest)


def printed(text: str) -> str:
    """Lines made visible one by one, for what a value prints."""
    return "\n".join(map(visible, text.split("\n")))


def token(text: str) -> str:
    """A token with its spaces as middle dots and its newlines as ↵, so that one sees where it begins and ends."""
    if not text:
        return "⟨empty⟩"
    cut = text[:LONGEST_TOKEN]
    shown = "".join(_code(c) if c in (_SPACE, _NEWLINE) else c for c in cut)
    return visible(shown.replace(" ", _SPACE).replace("\n", _NEWLINE)) + _rest(len(text) - LONGEST_TOKEN)


def _hidden(character: str) -> bool:
    if character in _BLANK or 0xFE00 <= ord(character) <= 0xFE0F or 0xE0100 <= ord(character) <= 0xE01EF:
        return True
    category = unicodedata.category(character)
    return category[0] == "C" or (category[0] == "Z" and character != " ")


def _code(character: str) -> str:
    return f"⟨U+{ord(character):04X}⟩"


def _rest(left: int) -> str:
    return f"… ({left:,} more characters)" if left > 0 else ""
