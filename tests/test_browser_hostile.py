"""Hostile text in every place of every kind of report, in a real browser: the same page as with harmless text, and nothing happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from circuits.anatomy import Anatomy, Effect, Example, LensRow, Missing, Neuron, Pattern, TopNeurons, Writes
from circuits.circuit import Circuit
from circuits.record import Prompt, Record
from circuits.report import render
from circuits.report.page import as_json
from interp.display.text import token
from interp.nodes import Node
from tests import test_report, test_report_dictionary, test_report_edges, test_report_features
from tests.browser import Chrome, Tab
from tests.hostile import HOSTILE, Taking

Text = Callable[[str], str]
TOKENS = 36
HARMLESS = tuple(f" word{i}" for i in range(len(HOSTILE)))

#: Every element with its depth, the names of its attributes, and the values of those that no text goes into.
SKELETON = """() => {
  const fixed = ["id", "class", "href", "role", "type", "scope", "tabindex", "for", "colspan", "aria-labelledby", "viewBox"];
  const depth = (e) => e.parentElement ? 1 + depth(e.parentElement) : 0;
  return [...document.querySelectorAll("*")].map((e) => [depth(e), e.tagName,
    ...[...e.attributes].map((a) => a.name + (fixed.includes(a.name) && !e.closest("svg") ? "=" + a.value : ""))].join(" "));
}"""


def anatomy(text: Text, circuit: Circuit) -> Anatomy:
    """Two prompts with patterns, lens and writes, and the neurons of an MLP; every token, name and reason from outside."""

    def words(n: int) -> tuple[str, ...]:
        return tuple(text("") for _ in range(n))

    def writes(node: str) -> Writes:
        return Writes(node, 0.5, *(tuple(Effect(one, logit) for one in words(3)) for logit in (1.5, -0.5)))

    names = [part.name for part in circuit.parts if isinstance(part, Node)]
    heads = [part.name for part in circuit.parts if isinstance(part, Node) and part.kind == "head"]
    rows = tuple(tuple(1000 // (i + 1) * (j <= i) for j in range(6)) for i in range(6))
    lens = tuple(LensRow(f"resid_post.{i}", words(5), (0.5, 0.2, 0.1, 0.1, 0.1), 1.0, 1, 2, 0.5, 0.2) for i in range(2))
    examples = tuple(
        Example(words(6), (text(""),), (text(""),), 0, tuple(Pattern(head, rows) for head in heads), lens, tuple(map(writes, names)))
        for _ in range(2)
    )  # fmt: skip
    neurons = (TopNeurons("m0", 512, (Neuron("m0.n3", 0.5), Neuron("m0.n5", -0.25))),)
    return Anatomy(
        examples, tuple(map(writes, names)), neurons, text(""), (Missing("edges", text("") or "why"),),
        pairs=8, metric=text("") or "metric", unit=text("") or "unit", total=2.0,
    )  # fmt: skip


def node_record(text: Text) -> Record:
    """With edges between its nodes, and all that can be known of them."""
    record = test_report.a_record(text)
    assert record.circuit is not None
    edges = test_report_edges.edge_scores(test_report_edges.SMALL.edges, 1, "relp")
    return replace(record, anatomy=anatomy(text, record.circuit), node_edges=edges)


def edge_record(text: Text) -> Record:
    """Prompts and positions of their own for every edge."""
    record = test_report_edges.hostile(text(""))
    parts = tuple(replace(edge, position=text("")) for edge in test_report_edges.SMALL.edges)
    known = {name: text("") for name in ("model", "task", "unit", "metric")}
    scores = test_report_edges.edge_scores(parts, 1, text("") or "relp", positions="spans", **known)
    return replace(record, scores=(scores,), exact=None, prompts=test_report.some_prompts(text))


def feature_record(text: Text) -> Record:
    """The same name of a dictionary is the same text: scores of different dictionaries could not be compared."""
    same = cache(text)
    return test_report_features.a_record(lambda given: same(given) if given == "mine" else text(given))


def many_prompts(text: Text) -> Record:
    """As many prompts as a page shows, every token another text."""

    def words(n: int) -> tuple[str, ...]:
        return tuple(text("") for _ in range(n))

    prompts = tuple(Prompt(words(TOKENS), words(TOKENS), (" it",), (" me",), 1.0, -1.0) for _ in range(12))
    return replace(test_report.a_record(text), prompts=prompts)


KINDS: dict[str, Callable[[Text], str]] = {
    "nodes": lambda text: render(node_record(text)),
    "edges": lambda text: render(edge_record(text)),
    "features": lambda text: render(feature_record(text)),
    "prompts": lambda text: render(many_prompts(text)),
    "dictionary": test_report_dictionary.a_page,
}


def pages(kind: str, texts: tuple[str, ...]) -> Iterator[str]:
    """As many pages as it takes to use every text once; the next page goes on where one ends."""
    start = 0
    while start < len(texts):
        text = Taking(texts, start)
        yield KINDS[kind](text)
        start += text.used


def opened(chrome: Chrome, path: Path, page: str) -> Any:
    path.write_text(page, encoding="utf-8")
    return chrome.open(path, viewport={"width": 1000, "height": 800})


def different(one: list[str], other: list[str]) -> list[str]:
    """The first place where two skeletons differ."""
    apart = [f"{a!r} instead of {b!r}" for a, b in zip(one, other, strict=False) if a != b]
    return apart[:3] or ([] if len(one) == len(other) else [f"{len(one)} elements instead of {len(other)}"])


def test_there_are_enough_texts_of_every_sort() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 500
    for sort in ("<script>", "</script>", "\u202e", "\u200b", "\ud800", "\x00", "", "{{ 7*7 }}", "javascript:canary(1)", "../../etc/passwd"):  # fmt: skip
        assert sort in HOSTILE
    assert max(map(len, HOSTILE)) >= 5000


def test_the_watch_sees_what_it_is_there_for(chrome: Chrome, tmp_path: Path) -> None:
    """A page that does everything that a report must not."""
    policy = "<meta http-equiv='Content-Security-Policy' content=\"script-src 'unsafe-inline'; img-src 'none'\">"
    does = "<script>console.log('said'); canary(1); alert('asked'); fetch('http://x.invalid/'); new Image().src = 'http://y.invalid/'; setTimeout(() => { throw Error('broken') })</script><link rel=stylesheet href='http://z.invalid/a.css'>"
    with opened(chrome, tmp_path / "page.html", f"<!DOCTYPE html>{policy}<p>{'wide' * 999}</p>{does}") as tab:
        tab.page.wait_for_timeout(100)
        trouble = tab.trouble()
        assert trouble["sprung"] == ["1"] and trouble["dialogs"] == ["asked"]
        assert "log: said" in trouble["console"] and any("broken" in error for error in trouble["errors"])
        assert any("y.invalid" in one for one in trouble["refused"])
        assert {"http://x.invalid/", "http://z.invalid/a.css"} <= set(trouble["requests"])
        assert tab.wider_than_the_window() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_text_changes_nothing_and_does_nothing(chrome: Chrome, tmp_path: Path, kind: str) -> None:
    with opened(chrome, tmp_path / "plain.html", next(pages(kind, HARMLESS))) as tab:
        wanted = tab.page.evaluate(SKELETON)
        poke(tab)
        beside = tab.page.evaluate(SKELETON)
        assert tab.trouble() == {}
    for i, page in enumerate(pages(kind, HOSTILE)):
        with opened(chrome, tmp_path / f"{i}.html", page) as tab:
            assert different(tab.page.evaluate(SKELETON), wanted) == []
            poke(tab)
            assert different(tab.page.evaluate(SKELETON), beside) == []
            assert tab.wider_than_the_window() == 0
            assert tab.trouble() == {}
            if i == 0:
                tab.shot(f"hostile-{kind}", whole=True)


def poke(tab: Tab) -> None:
    """What would set off a handler: every fold open, pointer and focus on their way, nodes of the circuit opened one by one."""
    tab.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    for _ in range(4):
        tab.page.keyboard.press("Tab")
    tab.page.mouse.move(300, 300)
    tab.page.mouse.wheel(0, 2000)
    tab.page.mouse.move(500, 400)
    if tab.page.locator("#view").count():
        tab.page.locator("#view-find").fill("<")
        tab.page.locator("#view-drawing").focus()
        for key in ("ArrowDown", "Enter", "Escape", "ArrowUp", "Enter", "Escape", "ArrowUp", "ArrowUp", "Enter"):
            tab.page.keyboard.press(key)


def test_tokens_are_shown_whole_and_in_order(chrome: Chrome, tmp_path: Path) -> None:
    """What the browser shows of each token is what `token` says: nothing is lost, joined or read as markup."""
    record = many_prompts(Taking(HOSTILE))
    with opened(chrome, tmp_path / "page.html", render(record)) as tab:
        shown = tab.page.evaluate("[...document.querySelectorAll('#prompts td .tok')].map(e => e.textContent)")
    given = []
    for prompt in record.prompts:
        for start in range(0, TOKENS, 18):
            given += [*prompt.clean_tokens[start : start + 18], *prompt.corrupt_tokens[start : start + 18]]
    assert set(given) >= set(HOSTILE)
    assert shown == [token(one) for one in given]


def test_data_of_scripts_comes_back_as_it_went_in(chrome: Chrome, tmp_path: Path) -> None:
    """Keys and values of the block that scripts read."""
    data = {"texts": HOSTILE, **{f"key {one}": one for one in HOSTILE}}
    block = f'<!DOCTYPE html><title>x</title><script type="application/json" id="data">{as_json(data)}</script><p id="after">after</p>'
    with opened(chrome, tmp_path / "page.html", block) as tab:
        assert tab.page.locator("#after").text_content() == "after"
        assert tab.page.evaluate("document.querySelectorAll('body > *, head > *').length") == 3
        # Written as ASCII by the page itself, as half a pair cannot be sent.
        shown = tab.page.evaluate(
            "JSON.stringify(JSON.parse(document.getElementById('data').textContent)).replace(/[^ -~]/g, c => '\\\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'))"
        )
        assert json.loads(shown) == json.loads(json.dumps(data))
        assert tab.trouble() == {}
