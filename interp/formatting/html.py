"""Small pieces of HTML that values show themselves with in notebooks: text made visible and escaped, tables, bars.

Colours are taken from the page around or stand on both light and dark; a sign is told by direction and number too.
Styles stand at the elements: a notebook's other outputs are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from markupsafe import Markup, escape

from interp.formatting.numbers import count
from interp.formatting.text import visible

#: Characters of one text, and rows of one table, that are shown.
LONGEST: Final = 160
MOST_ROWS: Final = 12
POSITIVE: Final = "226, 104, 12"
NEGATIVE: Final = "58, 132, 205"
_RULE: Final = "1px solid rgba(128, 128, 128, .4)"
_CELL: Final = "padding: 2px 10px 2px 0; vertical-align: baseline; white-space: normal; max-width: 44em; "
_HALF: Final = 56


def element(tag: str, *children: str | Markup, style: str = "", **attributes: str) -> Markup:
    """One element; strings among the children are text, made visible and escaped, as the attributes are."""
    given = {**attributes, **({"style": style} if style else {})}
    named = "".join(f' {key}="{escape(visible(value))}"' for key, value in given.items())
    return Markup(f"<{tag}{named}>{''.join(_markup(child) for child in children)}</{tag}>")


def text(value: object, longest: int = LONGEST) -> Markup:
    """Text from outside, whose direction does not leak into what is around it."""
    return Markup("<bdi>{}</bdi>").format(escape(visible(str(value), longest)))


def joined(*parts: str | Markup, by: str = " · ") -> Markup:
    """Pieces that are not empty, in one line."""
    return Markup(escape(by)).join(Markup(_markup(part)) for part in parts if part)


def block(kind: str, said: str | Markup, *parts: Markup) -> Markup:
    """A value: what it is, what is said of it, and what it holds."""
    head = element("div", element("b", kind), " ", said, style="margin-bottom: 3px")
    return element("div", head, *parts, style="line-height: 1.45; max-width: 62em; overflow-x: auto; padding: 2px 0")


def caption(*sentences: str | Markup) -> Markup:
    """What is said below: units, conventions, what was left out."""
    return element("div", joined(*sentences, by=" "), style="opacity: .8; font-size: .9em; margin-top: 3px")


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Markup]], *, numeric: Sequence[int] = (), left: str = ""
) -> Markup:
    """Rows under the names of their columns. `numeric`: columns that end at the right. `left`: what is not among the rows."""
    head = element("tr", *(_cell("th", name, i in numeric) for i, name in enumerate(columns)))
    lines = [element("tr", *(_cell("td", cell, i in numeric, i == 0) for i, cell in enumerate(row))) for row in rows]
    found = element(
        "table",
        element("thead", head),
        element("tbody", *lines),
        style="border-collapse: collapse; margin: 2px 0; font-size: .95em",
    )
    return found + caption(left) if left else found


def facts(found: Iterable[tuple[str, str | Markup]]) -> Markup:
    """Names and what they stand for, a line each; those that stand for nothing are left out."""
    rows = [
        element(
            "tr",
            element("th", name, style=f"{_CELL}text-align: left; font-weight: normal; opacity: .8"),
            _cell("td", value),
        )
        for name, value in found
        if value
    ]
    return element("table", element("tbody", *rows), style="border-collapse: collapse; margin: 2px 0; font-size: .95em")


def left_out(n: int, shown: int, what: str) -> str:
    """The line that says how many are not shown; empty where all are."""
    return f"Not shown: {count(n - shown)} of {count(n)} {what}." if n > shown else ""


def bar(value: float, limit: float) -> Markup:
    """A bar from the middle, to the right for a positive value and to the left for a negative one, of at most `limit`."""
    wide = round(min(1.0, abs(value) / limit) * _HALF) if limit > 0 else 0
    start, colour = (_HALF - wide, NEGATIVE) if value < 0 else (_HALF, POSITIVE)
    inner = element(
        "span",
        style=f"position: absolute; left: {start}px; width: {wide}px; top: 2px; bottom: 2px; background: rgb({colour})",
    )
    line = element(
        "span",
        style=f"position: absolute; left: {_HALF}px; top: 0; bottom: 0; border-left: 1px solid currentColor; opacity: .6",
    )
    return element(
        "span",
        inner,
        line,
        style=f"position: relative; display: inline-block; width: {2 * _HALF}px; height: 1em; vertical-align: middle",
    )


def shaded(content: str | Markup, value: float, limit: float, title: str = "") -> Markup:
    """A piece of text whose background shows a value; `title` says it in words."""
    share = min(1.0, abs(value) / limit) if limit > 0 else 0.0
    colour = NEGATIVE if value < 0 else POSITIVE
    style = f"background: rgba({colour}, {0.55 * share:.2f}); padding: 0 2px; border-radius: 2px"
    return element("span", content, style=style, **({"title": title} if title else {}))


def _cell(tag: str, content: str | Markup, numeric: bool = False, first: bool = False) -> Markup:
    style = f"{_CELL}{'white-space: nowrap; ' if first else ''}text-align: {'right' if numeric else 'left'}; "
    style += f"border-bottom: {_RULE}; font-weight: 600" if tag == "th" else "font-variant-numeric: tabular-nums"
    return element(tag, content, style=style)


def _markup(child: str | Markup) -> str:
    return child if isinstance(child, Markup) else str(escape(visible(child)))
