"""What is printed reaches a file or a terminal of any encoding: what the encoding lacks is written in ASCII instead."""

from __future__ import annotations

import codecs
import sys
from typing import Final, TextIO

#: What our own sentences and tables are made of, in ASCII; any other character is written as Python writes it, \u4e2d.
PLAIN: Final = {
    "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u2026": "...", "\u00b7": ".", "\u2022": "*", "\u21b5": "\\n", "\u25cc": "",
    "\u2192": "->", "\u2190": "<-", "\u27e8": "<", "\u27e9": ">", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
    "\u00d7": "x", "\u2264": "<=", "\u2265": ">=", "\u2260": "!=", "\u2248": "~", "\u00b1": "+-", "\u00a0": " ", "\u0394": "delta",
}  # fmt: skip
_READABLE: Final = "circuits.readable"
_TOLD: Final = "circuits.readable.told"


class Readable:
    """Lets standard output and standard error write whatever they are given; `told` says whether the output is in other words."""

    def __init__(self) -> None:
        self.lost = False
        codecs.register_error(_READABLE, _replaced)
        codecs.register_error(_TOLD, self._noted)
        _accept(sys.stdout, _TOLD)
        _accept(sys.stderr, _READABLE)

    def told(self) -> str:
        """A sentence where characters of standard output were written in ASCII, else nothing."""
        if not self.lost:
            return ""
        return (
            f"NOTE: standard output has the encoding {sys.stdout.encoding}: what it lacks was written in ASCII. "
            "With PYTHONIOENCODING=utf-8 it is written as it is."
        )

    def _noted(self, error: UnicodeError) -> tuple[str | bytes, int]:
        self.lost = True
        return _replaced(error)


def _accept(stream: TextIO | None, how: str) -> None:
    """Nothing where there is no stream, or one that cannot be told; a stream of UTF-8 keeps how it writes names of files."""
    reconfigure = getattr(stream, "reconfigure", None)
    unicode = str(getattr(stream, "encoding", "")).lower().startswith("utf")
    if reconfigure is not None and not (unicode and getattr(stream, "errors", "") != "strict"):
        reconfigure(errors=how)


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of `codecs`: the replacement, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(PLAIN[c] if c in PLAIN else _escaped(c) for c in lost), error.end


def _escaped(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode("ascii")
