"""Formulas of the pages: LaTeX between dollars becomes MathML when the site is built, so no script runs in the browser."""

from __future__ import annotations

import re
import xml.etree.ElementTree as etree

import latex2mathml.converter
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

#: A dollar is a formula's only where no space follows the first and none stands before the last.
_INLINE = r"(?<![\\$\w])\$(?![\s$])([^$\n]+?)(?<![\s\\])\$(?![\w$])"
_DISPLAY = r"\$\$(.+?)\$\$"
#: After code (190), which may hold dollars, and before escapes (180), which would eat backslashes.
_PRIORITY = 185
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_MATHML = "http://www.w3.org/1998/Math/MathML"


class FormulaError(Exception):
    """LaTeX that cannot be turned into MathML."""


def mathml(latex: str, display: str) -> str:
    """The MathML of LaTeX; `display` is `inline` or `block`. Raises: FormulaError where a command is not known."""
    try:
        text = latex2mathml.converter.convert(latex, display=display)
        etree.fromstring(text)
    except Exception as error:
        raise FormulaError(
            f"formula {latex!r}: {type(error).__name__} {error}; expected LaTeX of latex2mathml."
        ) from error
    # The converter writes a command that it does not know as a name, with its backslash.
    unknown = _COMMAND.search(re.sub(r"&#x0*5C;", r"\\", text))
    if unknown:
        raise FormulaError(f"formula {latex!r}: command {unknown[0]} is not known to latex2mathml; write it otherwise.")
    return text


class _Formula(InlineProcessor):
    def __init__(self, pattern: str, md: Markdown, display: str) -> None:
        super().__init__(pattern, md)
        self.display = display

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # type: ignore[override]
        made = mathml(" ".join(m.group(1).split()), self.display)
        return self.md.htmlStash.store(made), m.start(0), m.end(0)


class Formulas(Extension):
    """The Markdown extension; the site's hook adds it."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.inlinePatterns.register(_Formula(_DISPLAY, md, "block"), "formula_block", _PRIORITY + 1)
        md.inlinePatterns.register(_Formula(_INLINE, md, "inline"), "formula_inline", _PRIORITY)
