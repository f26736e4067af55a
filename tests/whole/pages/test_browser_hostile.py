"""Hostile text in every place of every kind of page, in a real browser: the same page as with harmless text, and nothing happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from circuits.report.pages import render
from interp.formatting.self_contained import as_json
from interp.formatting.text import token
from tests.interp.formatting.hostile import HARMLESS, HOSTILE, Taking, filled
from tests.whole.pages.browser import Chrome, Tab
from tests.whole.pages.browser_pages import KINDS, TOKENS, many_prompts

#: Pages of each kind that are read: as many as hold every text, but for those that hold nine. The first is opened too.
MOST = {"circuit": 4, "picture": 4}
LONGEST = 20

#: Every element with its depth, the names of its attributes, and the values of those that no text goes into.
SKELETON = """
window.skeleton = (page) => {
  const fixed = ["id", "class", "href", "role", "type", "scope", "tabindex", "for", "colspan", "aria-labelledby", "viewBox"];
  const depths = new Map([[null, -1]]);
  return [...page.querySelectorAll("*")].map((e) => {
    const depth = depths.get(e.parentElement) + 1, drawn = e.closest("svg");
    depths.set(e, depth);
    return [depth, e.tagName, ...[...e.attributes].map((a) => a.name + (!drawn && fixed.includes(a.name) ? "=" + a.value : ""))].join(" ");
  });
};"""
#: The first places where what the browser reads differs from what it read first.
APART = """(source) => {
  const page = new DOMParser().parseFromString(source, source.startsWith("<?xml") ? "image/svg+xml" : "text/html");
  const found = skeleton(page), wanted = (window.wanted ??= found);
  const apart = found.map((one, i) => one === wanted[i] ? "" : `${one} instead of ${wanted[i]}`).filter(Boolean);
  return apart.length || found.length === wanted.length ? apart.slice(0, 3) : [`${found.length} elements instead of ${wanted.length}`];
}"""


def texts_of(kind: str) -> tuple[str, ...]:
    """All texts, the longest first, then from another place for each kind: pages that are opened hold different ones."""
    long = tuple(sorted(HOSTILE, key=len)[-LONGEST:])
    start = list(KINDS).index(kind) * len(HOSTILE) // len(KINDS)
    return tuple(dict.fromkeys((*long, *HOSTILE[start:], *HOSTILE[:start])))


@pytest.fixture(scope="module")
def reader(chrome: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """An empty page, in which the browser reads others without opening them."""
    with opened(chrome, tmp_path_factory.mktemp("reader") / "page.html", "<!DOCTYPE html><title>x</title>") as tab:
        yield tab


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
        # What a page does is heard a little later.
        for _ in range(100):
            if {"console", "errors", "requests", "dialogs", "refused", "sprung"} <= (trouble := tab.trouble()).keys():
                break
            tab.page.wait_for_timeout(50)
        assert trouble["sprung"] == ["1"] and trouble["dialogs"] == ["asked"]
        assert "log: said" in trouble["console"] and any("broken" in error for error in trouble["errors"])
        assert any("y.invalid" in one for one in trouble["refused"])
        assert {"http://x.invalid/", "http://z.invalid/a.css"} <= set(trouble["requests"])
        assert tab.wider_than_the_window() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_text_changes_nothing_and_does_nothing(chrome: Chrome, tmp_path: Path, reader: Tab, kind: str) -> None:
    suffix, (plain,) = "svg" if kind == "picture" else "html", islice(filled(KINDS[kind], HARMLESS), 1)
    with opened(chrome, tmp_path / f"plain.{suffix}", plain) as tab:
        poke(tab)
        beside = skeleton(tab)
        assert tab.trouble() == {}
    reader.page.evaluate(f"() => {{ {SKELETON} delete window.wanted; }}")
    assert reader.page.evaluate(APART, plain) == []
    for i, page in enumerate(islice(filled(KINDS[kind], texts_of(kind)), MOST.get(kind))):
        assert reader.page.evaluate(APART, page) == []
        if i == 0:
            with opened(chrome, tmp_path / f"hostile.{suffix}", page) as tab:
                poke(tab)
                assert different(skeleton(tab), beside) == []
                assert kind == "picture" or tab.wider_than_the_window() == 0
                assert tab.trouble() == {}
                if kind in ("nodes", "side"):
                    tab.shot("hostile-" + kind, whole=True)


def skeleton(tab: Tab) -> list[str]:
    return list(tab.page.evaluate(f"() => {{ {SKELETON} return skeleton(document); }}"))


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
