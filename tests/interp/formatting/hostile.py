"""Texts that break pages: each a token, name, label or path that somebody could put into a model, a task or a file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Final

#: Springs the trap of `tests.whole.pages.browser` where it runs.
RUN: Final = "canary(1)"

# ------------------------------------------------------------ markup

_ELEMENTS: Final = (
    "script style iframe frame frameset object embed applet base link meta form input textarea select option button "
    "template noscript noembed noframes xmp plaintext listing title head body html table caption tbody tr td th dl dd dt ul li "
    "bdi bdo svg g text path use image foreignObject animate set desc math mi mtext annotation-xml mglyph malignmark video audio "
    "source track img picture canvas details summary dialog marquee isindex keygen portal slot main section header footer nav h1 "
    "p div span a"
)

_HANDLERS: Final = (
    "<img src=x onerror={}>", "<svg onload={}>", "<body onload={}>", "<details open ontoggle={}>", "<input autofocus onfocus={}>",
    "<video src=x onerror={}>", "<audio src=x onerror={}>", "<marquee onstart={}>", "<iframe srcdoc='<script>parent.{}</script>'>",
    "<object data='data:text/html,<script>{}</script>'>", "<select autofocus onfocus={}>", "<a href='javascript:{}'>x</a>",
    "<form action='javascript:{}'><button>x</button></form>", "<button formaction='javascript:{}'>x</button>",
    "<svg><script>{}</script></svg>", "<svg><animate onbegin={} attributeName=x dur=1s>", "<svg><a xlink:href='javascript:{}'><text>x",
    "<svg><use href='data:image/svg+xml,<svg onload={}>#x'>", "<svg><foreignObject><img src=x onerror={}></foreignObject></svg>",
    "<svg><style><img src=x onerror={}></style>", "<svg><title><img src=x onerror={}></title>", "<svg><desc><img src=x onerror={}>",
    "<math><mtext><table><mglyph><style><img src=x onerror={}>", "<math href='javascript:{}'>x</math>", "<math><annotation-xml encoding='text/html'><script>{}</script>",
    "<script>{}</script>", "<script>{}//", "<script src=//x.invalid/a.js></script><script>{}</script>", "<script type=module>{}</script>",
    "<link rel=stylesheet href=//x.invalid/a.css onload={}>", "<style onload={}></style>", "<meta http-equiv=refresh content='0;url=javascript:{}'>",
    "<embed src='javascript:{}'>", "<img src='x'onerror='{}'>", "<img/src=x/onerror={}>", "<img src=x onerror\n=\n{}>", "<IMG SRC=X ONERROR={}>",
    "<img src=x onerror=&#99;anary(1)><!--{}-->", "<p style='animation-name:x' onanimationstart={}>", "<div onpointerenter={} style='position:fixed;inset:0'>",
    "<noscript><p title='</noscript><img src=x onerror={}>'>", "<template><script>{}</script></template>", "<x onclick={}>", "<xss autofocus tabindex=1 onfocus={}></xss>",
)  # fmt: skip

_BEFORE: Final = ('"', "'", "`", '">', "'>", '"/>', "-->", "]]>", "</title>", "</script>", "</style>", "</textarea>", "</svg>", "</bdi>", "\n", "\\")  # fmt: skip
_INSIDE: Final = (" onmouseover={} ", " autofocus onfocus={} x=", "<img src=x onerror={}>", "<svg onload={}>")

_COMMENTS: Final = (
    "<!--", "-->", "--!>", "<!-->", "<!--->", "<!--><script>", "<!--<script>", "<!--<script></script>-->", "<![CDATA[", "]]>", "<!DOCTYPE html>", "<!ENTITY x 'y'>",
    "<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>", "<?xml version='1.0'?>", "<?xml-stylesheet href='//x.invalid'?>", "<?php", "<%", "%>", "</", "<", ">", "</>", "< >", "<a", "<a ",
    "<a href", '<a href="', "</a", "<!", "<?",
)  # fmt: skip

_ENTITIES: Final = (
    "&", "&amp;", "&amp;lt;", "&lt;script&gt;", "&#60;img&#62;", "&#x3c;img&#x3e;", "&#0;", "&#x202e;", "&#xd800;", "&#x110000;", "&lt", "&notit;", "&NewLine;", "&Tab;", "&colon;", "&zwj;",
    "&bsol;", "&lpar;", "&ThickSpace;", "&#", "&#x", "&#9999999999;",
)  # fmt: skip

# ------------------------------------------------------------ scripts, templates, styles, addresses

_SCRIPTS: Final = (
    "</script><script>{}</script>", "</SCRIPT ><script>{}</script>", "</script\t>", "</script\n>", "</script/x>", "\\u003c/script\\u003e", "\\x3cscript\\x3e", '"}}];{}//', "'}}];{}//", "`;{}//", "${{{}}}",
    "\\", "\\\\", '\\"', "\\'", "\\n", "\\u2028", '";{};"', "*/{}/*", "//", "/*", "*/", "null", "undefined", "NaN", "Infinity", "-0", "true", "[]", "{{}}", '{{"a":1}}', "__proto__", "constructor",
    "prototype", "toString", "valueOf", "hasOwnProperty", "length", "then", "document", "window", "location", "innerHTML", "__defineGetter__", "constructor.constructor('{}')()", "0", "1e999",
)  # fmt: skip

_TEMPLATES: Final = (
    "{{ 7*7 }}", "{{{ 7*7 }}}", "{% raw %}", "{% endraw %}", "{% include '/etc/passwd' %}", "{# x #}", "{{ page.__class__ }}", "{{ ''.__class__.__mro__ }}", "{%- set x = 1 -%}", "${7*7}", "#{7*7}",
    "<%= 7*7 %>", "{{constructor.constructor('canary(1)')()}}", "[[${7*7}]]", "{0}", "{x}", "{0.__class__}", "{", "}", "{{", "}}", "%s", "%(x)s", "%n", "%d%d%d", "$x", "$(id)", "`id`", "; id", "| id",
    "&& id", "$IFS", "!x", "~", "*", "?", "[bold red]x[/]", "[/]", "[link=http://x.invalid]x[/link]", "\\[x", "**x**", "![x](http://x.invalid/a.png)", "[x](javascript:canary(1))", "<http://x.invalid>", "$$x$$",
)  # fmt: skip

_STYLES: Final = (
    "}*{display:none}", "</style><img src=x onerror=canary(1)>", "<style>*{display:none}</style>", "@import '//x.invalid'", "url(//x.invalid)", "expression(canary(1))", "-moz-binding:url(x)", "/*", "\\9",
    "content:attr(x)", ";color:red", "style=display:none", "#id", ".class", "node[name = 'x']", "edge[", "a > b", "a:hover", "[data-x='", "*", ":root", "::before", "var(--bg)", "!important",
)  # fmt: skip

_ADDRESSES: Final = (
    "javascript:canary(1)", "JaVaScRiPt:canary(1)", "java\tscript:canary(1)", "java\nscript:canary(1)", " javascript:canary(1)", "\x01javascript:canary(1)", "data:text/html,<script>canary(1)</script>",
    "data:text/html;base64,PHNjcmlwdD4=", "vbscript:x", "file:///etc/passwd", "http://x.invalid/", "https://x.invalid/a.js", "//x.invalid", "\\\\x.invalid\\share", "blob:null/x", "about:blank", "view-source:x",
    "chrome://settings", "ws://x.invalid", "mailto:x@x.invalid", "http://x.invalid@y.invalid", "http://[::1]/", "#", "#main", "#h-summary", "?x=1", "../../etc/passwd", "..\\..\\windows", "/etc/passwd", "C:\\x", "~/.ssh/id_rsa",
    "%2e%2e%2f", "..%c0%af", "a/../b", "./.", "..", ".", "CON", "NUL", "aux.txt", "x:y", "x|y", "-rf", "--help", "x\x00.html", "/dev/null", "file.html?x#y",
)  # fmt: skip

# ------------------------------------------------------------ characters

_INVISIBLE: Final = "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\u206a\u206b\u206c\u206d\u206e\u206f\u2800\u3164\uffa0\ufeff\ufff9\ufffa\ufffb"
_SPACES: Final = (
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_BIDI: Final = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_STRANGE: Final = (
    "\ufffe", "\uffff", "\ufdd0", "\ufffd", "\ufffc", "\ue000", "\uf8ff", "\U000f0000", "\U0010ffff", "\U0001fffe", "\U000e0001", "\U000e0041\U000e007f", "\U000e0100", "\ufe00", "\ufe0f", "x\ufe0e",
    "\ud800", "\udbff", "\udc00", "\udfff", "\udc80<b>", "\ud83d", "\ude00", "\ud83dx", "x\ude00\ud83d", "\udcff\udcfe",
)  # fmt: skip
_MARKS: Final = (
    "\u0300",
    "\u0308",
    "\u0336",
    "\u0488",
    "\u0489",
    "\u20dd",
    "\u20e0",
    "\u0f39",
    "\u0e47",
    "\u1ab0",
    "\u0610",
    "\u05bf",
)
_SCRIPTS_OF_THE_WORLD: Final = (
    "עברית", "العربية", "فارسی", "ܣܘܪܝܝܐ", "ދިވެހި", "日本語", "中文", "한국어", "ไทย", "हिन्दी", "বাংলা", "தமிழ்", "ελληνικά", "русский", "ქართული", "հայերեն", "አማርኛ", "ᠮᠣᠩᠭᠣᠯ", "ᚠᚢᚦ", "𓀀", "𝔘𝔫𝔦", "ﷺ", "꧅", "𒐫",
    "é", "é", "ß", "İ", "ı", "ﬁ", "Å", "ΐ", "ǅ", "Ω", "аpple", "ⅻ", "①", "½", "ａ", "＜script＞", "‹script›", "﹤img﹥", "ʺ", "＇", "′", "․․∕", "⁄", "∕",
)  # fmt: skip
_EMOJI: Final = ("😀", "👩‍👩‍👧", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🇩🇪", "👍🏽", "❤️", "1️⃣", "🫠" * 20, "🏳️‍⚧️", "☠︎")
_OURS: Final = ("·", "↵", "⟨U+202E⟩", "⟨empty⟩", "… (5 more characters)", "–", "−", "always", "yes", "a0.h0", "a0.h0->logits", "embed", "logits", "m0@5", "a0.h0<q>", "resid_post.0.f1")  # fmt: skip


def _long() -> Iterator[str]:
    yield from (
        "x" * 79,
        "x" * 80,
        "x" * 81,
        "a" * 2001,
        "W" * 5000,
        "a " * 3000,
        "<" * 3000,
        "&" * 3000,
        "\n" * 500,
        "\u202e" * 500,
    )
    yield from (
        '"' * 2500,
        "ا" * 2500,
        "漢" * 2500,
        "\u0308" * 2500,
        "👩‍👩‍👧" * 400,
        "\ud800" * 400,
        "-" * 400,
        "/" * 400,
        " " * 400,
        "." * 400,
    )


def _characters() -> Iterator[str]:
    yield from map(chr, (*range(0x20), *range(0x7F, 0xA0)))
    yield from itertools.chain(_INVISIBLE, _SPACES, (f"a{c}b" for c in _INVISIBLE + _SPACES))
    yield from itertools.chain(_BIDI, (f"{c}abc" for c in _BIDI), (f"<b>{c}txt.exe" for c in _BIDI))
    yield from ("\u202e" * 5 + "x", "\u2067\u2066" * 40, "(\u202e<b>\u202c)", "\u200fא1\u200e", "א" + "\u202d1\u202c")
    yield from itertools.chain(_MARKS, (f"o{mark * 200}" for mark in _MARKS), (mark * 30 + "<b>" for mark in _MARKS))
    yield from (
        "\x1b[31mred",
        "\x1b]0;title\x07",
        "\x1b[2J",
        "\x1b]8;;http://x.invalid\x07x",
        "\x9b31m",
        "\r\n",
        "\r",
        "a\tb",
        "a\vb",
        "a\fb",
        "\b\b\b",
        "\x00" * 9,
    )


def _all() -> Iterator[str]:
    yield from (f"<{tag}>" for tag in _ELEMENTS.split())
    yield from (f"</{tag}>" for tag in _ELEMENTS.split())
    yield from (one.format(RUN) for one in _HANDLERS)
    yield from (before + inside.format(RUN) for before, inside in itertools.product(_BEFORE, _INSIDE))
    yield from (*_COMMENTS, *_ENTITIES, *_TEMPLATES, *_STYLES, *_ADDRESSES)
    yield from (one.format(RUN) for one in _SCRIPTS)
    yield from ("", " ", "   ", '"', "'", "`", *_STRANGE, *_SCRIPTS_OF_THE_WORLD, *_EMOJI, *_OURS)
    yield from _characters()
    yield from _long()


HOSTILE: Final = tuple(dict.fromkeys(_all()))
#: As many that break nothing, no two the same: a page marks tokens that differ.
HARMLESS: Final = tuple(f" word{i}" for i in range(len(HOSTILE)))


class Taking:
    """Puts the next of some texts, round and round, in the place of every text that it is given."""

    def __init__(self, texts: Sequence[str], start: int = 0) -> None:
        self.texts, self.start, self.used = texts, start, 0

    def __call__(self, _: str) -> str:
        self.used += 1
        return self.texts[(self.start + self.used - 1) % len(self.texts)]


def filled(page: Callable[[Callable[[str], str]], str], texts: Sequence[str], rounds: int = 1) -> Iterator[str]:
    """As many pages as it takes to use every text so often, each time in another place: the next page goes on where one ends."""
    start = 0
    while start < rounds * len(texts):
        text = Taking(texts, start)
        yield page(text)
        start += max(1, text.used)
