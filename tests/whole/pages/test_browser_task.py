"""A real run whose task file, task name, folder and prompts are hostile: what the tokenizer takes is scored, shown and harmless."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from circuits.runs.record_files import load_record
from interp.formatting.text import token
from tests.interp.formatting.hostile import HOSTILE
from tests.whole.pages.browser import Chrome, Reports, Tab, command

NAME = "<img src=x onerror=canary(1)>"
FILE = "\"><svg onload=canary(1)> '{{7*7}}' \u202e.json"
#: Room is short: a prompt of the embedded model holds 64 tokens.
LONGEST = 24
PAIRS = 24


def pairs() -> list[dict[str, str]]:
    """Texts of every sort that are short enough, one or two in each prompt."""
    texts = [one for one in HOSTILE if 1 < len(one.encode("utf-8", "ignore")) <= LONGEST and _whole(one)]
    chosen = texts[:: len(texts) // PAIRS][:PAIRS]
    names = [("Tom", "Anna"), ("Mary", "John")]
    made = []
    for i, one in enumerate(chosen):
        first, second = names[i % 2]
        start = f"When {first} and {second} met near {one} the store,"
        made.append({
            "clean": f"{start} {first} gave a ring to", "corrupt": f"{start} {second} gave a ring to",
            "answer": f" {second}", "wrong": f" {first}",
        })  # fmt: skip
    return made


def _whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / FILE).write_text(json.dumps({"task": NAME, "description": NAME, "pairs": pairs()}), encoding="utf-8")
    out = folder / "run <b>canary(1)<!-- %2e #x ?y=1"
    asked = ("--task", str(folder / FILE), "--method", "relp", "--n", "4", "--random", "1")
    command(folder / "work", "discover", *asked, "--quiet", "--out", str(out))
    return out


def ids(tab: Tab) -> list[Any]:
    return list(tab.page.evaluate("[...document.querySelectorAll('main > section')].map(e => e.id)"))


def test_a_hostile_task_makes_a_report_like_any_other(chrome: Chrome, reports: Reports, run: Path) -> None:
    record = load_record(run)
    assert len(pairs()) == PAIRS and len({pair["clean"] for pair in pairs()}) == PAIRS
    with chrome.open(reports("heads") / "report.html") as tab:
        wanted = [one for one in ids(tab) if one != "search"]
    with chrome.open(run / "report.html", viewport={"width": 1000, "height": 900}) as tab:
        assert ids(tab) == wanted
        assert NAME in tab.page.title() and NAME in tab.page.locator("h1").text_content()
        assert "onload=canary(1)" in tab.page.locator("#reproduce pre").text_content()
        shown = tab.page.evaluate("[...document.querySelectorAll('#prompts td .tok')].map(e => e.textContent)")
        for prompt in record.prompts[:12]:
            assert {token(one) for one in (*prompt.clean_tokens, *prompt.corrupt_tokens)} <= set(shown)
        tab.page.locator("#view-drawing").focus()
        for key in ("ArrowUp", "Enter", "Escape", "ArrowUp", "Enter"):
            tab.page.keyboard.press(key)
        assert tab.wider_than_the_window() == 0
        tab.shot("hostile-task", whole=True)
        assert tab.trouble() == {}
