"""The section on what the parts do: every value is there as text, hostile text changes nothing, what is missing says why."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from circuits.anatomy.anatomy import Anatomy, Effect, Example, LensRow, Missing, Neuron, Pattern, TopNeurons, Writes
from circuits.report.pages import render
from circuits.runs.record import Record

HOSTILE = ("</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\u202eabc", "\x00", '"><b onclick=x>')
VIEWS = ("patterns", "writes", "lens", "neurons")


def _lens(site: str, token: str, rank: int) -> LensRow:
    return LensRow(site, (token, " the"), (0.75, 0.25), -1.5, rank, rank + 3, 0.125, 0.0625)


def _anatomy(text: str = " Eric", tokens: tuple[str, ...] = ("<s>", "Then", " Eric")) -> Anatomy:
    n = len(tokens)
    rows = np.diag([950] * (n - 1) + [960])
    rows[-1, 0] = 40
    effects = (Effect(text, 2.5), Effect(" b", 1.25)), (Effect(" c", -3.5),)
    writes = (Writes("a1.h2", 4.5, *effects), Writes("m0", -0.5, (), ()))
    example = Example(
        tokens,
        (text,),
        (" wrong",),
        2,
        (Pattern("a1.h2", tuple(map(tuple, rows.tolist()))),),
        (_lens("embed", " x", 7), _lens("resid_post.0", text, 1)),
        writes,
    )
    neurons = (TopNeurons("m0", 512, (Neuron("m0.n3", 0.5), Neuron("m0.n9", -0.25))),)
    return Anatomy((example, example), writes, neurons, "relp", (), 3, 4, 30, total=5.0)


def _section(found: Anatomy | None) -> str:
    page = render(Record({}, (), anatomy=found))
    part = re.search(r'<section id="anatomy".*?</section>', page, re.DOTALL)
    return part[0] if part else ""


class _Text(HTMLParser):
    """The text of a page, and its tags and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes = "", list[str](), set[str]()
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.text += " " * (tag in ("td", "th"))
        self.attributes |= {name for name, _ in attrs}


def _words(page: str) -> str:
    return " ".join(_Text(page).text.split())


def test_every_view_is_there_as_text() -> None:
    words = _words(_section(_anatomy()))
    assert "a1.h2: the last token, ·Eric, looks at ·Eric 96 %." in words
    assert "<s> (position 2) looks at <s> (position 2): 0.95" in words
    assert "3 less important heads are not shown" in words and "4 less important nodes are not listed" in words
    assert "Mean over 30 clean prompts" in words and "a1.h2 +4.50 ·Eric +2.5 ·b +1.2 ·c −3.5" in words
    assert "m0 −0.50 none none none none" in words
    assert "embedding ·x 75 % ·the 25 % place 7, 12 % place 10, 6 % −1.50" in words
    assert "after layer 0 ·Eric 75 % right ·the 25 % place 1, 12 % place 4, 6 % −1.50" in words
    assert "m0 512 n3 +0.500 n9 −0.250" in words and "by relp on the scored pairs" in words


def test_headings_and_navigation() -> None:
    page = render(Record({}, (), anatomy=_anatomy()))
    assert '<a href="#anatomy">What the parts do</a>' in page
    assert re.findall(r"<(h\d)", _section(_anatomy())) == ["h2", "h3", "h3", "h3", "h3"]
    without = render(Record({}, ()))
    assert 'id="anatomy"' not in without and "#anatomy" not in re.search(r"<body>.*", without, re.DOTALL)[0]  # type: ignore[index]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_changes_nothing_of_the_page(text: str) -> None:
    plain, hostile = _anatomy(), _anatomy(text, (text, "Then", text))
    hostile = Anatomy(**{**vars(hostile), "missing": (Missing("edges", text),), "method": text})
    a, b = _section(plain), _section(hostile)
    seen = _Text(b)
    assert seen.tags == _Text(a).tags and seen.attributes <= _Text(a).attributes
    assert not re.search(r"[\x00\u202e]", b) and "onerror" not in seen.attributes and "style" not in seen.attributes


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_missing_says_why(view: str) -> None:
    reasons = tuple(Missing(v, f"there is no {v} in <this> model.") for v in VIEWS)
    words = _words(_section(Anatomy(missing=reasons)))
    assert f"there is no {view} in <this> model." in words
    assert words.count("there is no") == 4


def test_the_sum_is_stated_only_where_parts_are_disjoint() -> None:
    from circuits.circuit.circuit import Circuit
    from interp.parts.nodes import Node

    found = Anatomy(**{**vars(_anatomy()), "writes_left": 0})
    for level, parts, said in (("heads", (Node("mlp", 0),), True), ("edges", (), False)):
        record = Record({}, (), circuit=Circuit(parts, level, "m", "t", "relp", "n=1"), anatomy=found)
        words = _words(render(record))
        assert ("these together +4.00 of +5.00 that all parts of the model write" in words) == said
