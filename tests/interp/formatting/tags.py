"""What tests read of a page: its tags and tables; and text that a page must hold without harm."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser


class Tags(HTMLParser):
    """The sequence of tags with the names of their attributes, the text by place, and the cells of tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.ids: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.table = ""
        self.cell = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _ in attrs)))
        given = dict(attrs)
        self.ids.append(given.get("id") or "")
        if tag == "table":
            self.table = given.get("id") or "other"
        elif tag == "tr":
            self.rows.setdefault(self.table, []).append([])
        elif tag in ("td", "th") and self.table in self.rows:
            self.rows[self.table][-1].append("")
            self.cell = True

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}",))
        if tag == "table":
            self.table = ""
        if tag in ("td", "th"):
            self.cell = False

    def handle_data(self, data: str) -> None:
        if self.cell and self.table:
            self.rows[self.table][-1][-1] += data

    def handle_comment(self, data: str) -> None:
        self.tags.append(("comment",))


def every_tag_closed(page: str) -> bool:
    """Whether each tag that has an end is closed, the last opened first."""
    opened = [""]
    for tag, *_ in Tags(page).tags:
        if tag.startswith("/"):
            if opened.pop() != tag[1:]:
                return False
        elif tag not in ENDLESS:
            opened.append(tag)
    return opened == [""]


ENDLESS = ("meta", "input", "br")
NASTY = [
    "</script>", "<script>alert(1)</script>", "<!--<script>", "]]>", "<![CDATA[", "-->", '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>", "</title>", "</svg>", "</style>", "</bdi></td></tr></table>", "<plaintext>", "{{ 7*7 }}", "{% raw %}",
    "&lt;", "&", "&#0;", "&#x202e;", "<", ">", '"', "'", "`", "\\", "javascript:alert(1)", "<a href=javascript:x>", "<base href=//x>",
    "<meta http-equiv=refresh>", "<?php", "<%", "${x}", "\\u003cscript", "<style>*{display:none}</style>", "url(x)", "\r\n", "\n", "\t",
    "\x00", "\x1b[31m", "\x7f", "\x85", "\x9b", "\u2028", "\u2029", "\ufeff", "\u200b", "\u200c", "\u200d", "\u2060", "\u00ad", "\u034f",
    "\u061c", "\u180e", "\u115f", "\u3164", "\u2800", "\u00a0", "\u3000", "\ufe0f", "\ufffe", "\uffff", "\ufffd", "\U000e0041",
    "\U000e0100", "\ue000", "\U0010ffff", "\ud800", "\udfff", "\udc80<b>", "̈̈̈", "é", "日本", "עברית", "العربية", "😀", "👩‍👩‍👧", "a" * 5000, "",
    " ", "   ", "·", "↵", "⟨U+202E⟩", "%s", "%(x)s", "{0}", "{x}", "../../etc/passwd", "C:\\x", "<bdo dir=rtl>", "<math>", "<xmp>",
    "<iframe src=x>", "<noscript>", "<textarea>", "<select>", "<template>", "<frameset>",
] + [chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F)]  # fmt: skip

FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00a0\u00ad\u034f\u061c\u115f\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\u2800\u3000\u3164"
    "\ud800-\udfff\ue000\ufe00-\ufe0f\ufeff\ufffe\uffff\U000e0000-\U000e0fff]"
)


def around(nasty: Text) -> Text:
    """Text from outside with a hostile text before and after it."""

    def mixed(text: str) -> str:
        given = nasty(text)
        return f"{given}{text}{given}"

    return mixed


Text = Callable[[str], str]


def same(text: str) -> str:
    return text
