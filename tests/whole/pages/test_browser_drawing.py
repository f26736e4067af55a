"""Pages of made records in a browser: all edges on demand, tables that sort numbers, and search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from circuits.report.drawing.view_picture import chosen
from circuits.report.pages import render
from circuits.runs.record import Record
from tests.circuits.report.view.test_report_view import seen
from tests.circuits.runs.edge_records import SMALL, edge_record, node_record
from tests.whole.pages.browser import Chrome, Tab


def write(folder: Path, name: str, record: Record) -> Path:
    path = folder / f"{name}.html"
    path.write_text(render(record), encoding="utf-8")
    return path


def shown(page: Any, id_: str) -> str:
    return str(page.locator(f"#{id_}").inner_text())


def test_all_edges_are_drawn_when_one_asks(chrome: Chrome, tmp_path: Path) -> None:
    with chrome.open(write(tmp_path, "many", edge_record(SMALL, 360, pairs=4))) as tab:
        assert "the strongest 300 edges; 60 weaker edges of this circuit not drawn" in shown(tab.page, "view-count")
        tab.page.locator("#view-all").click()
        assert "360 edges." in shown(tab.page, "view-count") and not tab.page.locator("#view-all").is_visible()
        assert not tab.trouble()


@pytest.fixture(scope="module")
def tab(chrome: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A run over heads, open for the tests that leave it as it was but for what each of them looks at."""
    with chrome.open(write(tmp_path_factory.mktemp("view"), "heads", node_record())) as opened:
        yield opened
        assert not opened.trouble()


def test_tables_sort_numbers_as_numbers_with_what_is_missing_last(tab: Tab) -> None:
    scores, table = node_record().scores[0], tab.page.locator("#ranking-table")
    header = table.locator("thead th").nth(4)
    mean = {p.name: float(m) for p, m in zip(scores.parts, scores.mean, strict=True)}
    for direction, sign in (("ascending", 1), ("descending", -1)):
        header.locator("button").press("Enter")
        assert header.get_attribute("aria-sort") == direction
        names = table.locator("tbody th").all_inner_texts()
        assert [sign * round(mean[n], 3) for n in names] == sorted(sign * round(mean[n], 3) for n in names)
    layers = table.locator("thead th").nth(3)
    for _ in range(2):
        layers.locator("button").click()
        assert table.locator("tbody th").all_inner_texts()[-1] == "embed"


def test_find_finds_edges_and_all_edges_clears_the_selection(tab: Tab) -> None:
    name = chosen(seen(node_record()))[1][0]["name"]
    faded = "document.getElementById('view-drawing')._cyreg.cy.elements('.faded').length"
    tab.page.locator("#view-find").fill(name)
    tab.page.locator("#view-found button", has_text=name).first.click()
    assert tab.page.locator("#view-panel h3").text_content() == name and tab.page.evaluate(faded)
    tab.page.locator("#view-all").click()
    assert tab.page.evaluate(faded) == 0 and "weaker" not in shown(tab.page, "view-count")
