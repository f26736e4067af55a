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
from tests.circuits.report.view.test_view_layouts import deep_record
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


def test_of_a_deep_model_the_first_view_is_read_and_slider_and_search_bring_the_rest(
    chrome: Chrome, tmp_path: Path
) -> None:
    cy = "document.getElementById('view-drawing')._cyreg.cy"
    size = f"12.5 * {cy}.zoom()"
    drawn = f"{cy}.nodes('[kind]').not('.hidden').map(n => n.data('name'))"
    record = deep_record()
    assert record.circuit is not None
    names = [part.name for part in record.circuit.parts]
    with chrome.open(write(tmp_path, "deep", record)) as tab:
        page = tab.page
        first = set(page.evaluate(drawn)) & set(names)
        assert page.evaluate(size) >= 11 and first == set(names[: len(first)]) and 6 < len(first) < 53
        assert shown(page, "view-cut-words") == f"the {len(first)} strongest of 53 nodes"
        in_frame = f"{cy}.nodes('[kind]').not('.hidden').every(n => {{ const b = n.renderedBoundingBox(); return b.x1 >= 0 && b.y1 >= 0 && b.x2 <= {cy}.width() && b.y2 <= {cy}.height(); }})"
        assert page.evaluate(in_frame)
        hidden = names[-1]
        page.locator("#view-find").fill(hidden)
        assert "not drawn" in shown(page, "view-found-words")
        page.keyboard.press("Enter")
        assert page.locator("#view-panel h3").text_content() == hidden
        assert set(names) <= set(page.evaluate(drawn)) and shown(page, "view-cut-words") == "all 53 nodes"
        box = page.evaluate(
            f"(name => {{ const b = {cy}.nodes().filter(n => n.data('name') === name).renderedBoundingBox(); return [b.x1, b.y1, {cy}.width() - b.x2, {cy}.height() - b.y2]; }})",
            hidden,
        )
        assert min(box) >= 0 and page.evaluate(size) >= 11
        page.locator("#view-first").click()
        assert set(page.evaluate(drawn)) & set(names) == first
        page.locator("#view-cut").focus()
        page.keyboard.press("ArrowRight")
        assert set(page.evaluate(drawn)) & set(names) == set(names[: len(first) + 1])
        page.keyboard.press("End")
        assert set(names) <= set(page.evaluate(drawn)) and page.evaluate(size) >= 11
        assert not tab.trouble()
