"""Ways between two nodes, by shift and click and by the button; fingers and the wheel: what scrolls the page, and what moves the drawing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.whole.pages.browser import Chrome, Reports, Tab
from tests.whole.pages.test_browser_view import CY, DRAWN, WINDOW, reach, shown, spot

PHONE: dict[str, Any] = {"viewport": {"width": 400, "height": 800}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def tab(chrome: Chrome, reports: Reports) -> Iterator[Tab]:
    with chrome.open(reports("edges") / "report.html", viewport=WINDOW) as opened:
        opened.page.locator("#view").scroll_into_view_if_needed()
        yield opened
        assert opened.trouble() == {}


def ends(tab: Tab) -> set[tuple[str, str]]:
    found = tab.page.evaluate(f"{DRAWN}.edges().map(e => [e.source().data('name'), e.target().data('name')])")
    return {(a, b) for a, b in found}


def bright(tab: Tab) -> set[str]:
    return set(tab.page.evaluate(f"{DRAWN}.nodes().not('.faded').map(n => n.data('name'))"))


def two_ends(tab: Tab) -> tuple[str, str, set[str]]:
    """Two nodes with another between them, and all that lies between; by the edges alone."""
    edges = ends(tab)
    back = {(b, a) for a, b in edges}
    for a in sorted(shown(tab, "node") - {"embed"}):
        for b in sorted(reach(edges, a) - {a, "logits"}):
            between = reach(edges, a) & reach(back, b)
            if len(between) > 2:
                return a, b, between
    raise AssertionError("no two nodes with a third between them")


def test_shift_and_a_click_show_the_paths_between_two_nodes(tab: Tab) -> None:
    a, b, between = two_ends(tab)
    tab.page.mouse.click(*spot(tab, a))
    tab.page.keyboard.down("Shift")
    tab.page.mouse.click(*spot(tab, b))
    tab.page.keyboard.up("Shift")
    assert bright(tab) == between != shown(tab, "node")
    assert f"Paths between {a} and this node" in str(tab.page.locator("#view-panel").text_content())
    tab.page.get_by_role("button", name="All paths through this node").click()
    assert bright(tab) > between


def test_the_button_shows_the_same_paths_by_keyboard(tab: Tab) -> None:
    a, b, between = two_ends(tab)
    for name in (b, a):
        tab.page.locator("#view-find").fill(name)
        tab.page.get_by_role("button", name=name, exact=True).first.click()
        if name == b:
            tab.page.get_by_role("button", name="Paths to another node").press("Enter")
    assert bright(tab) == between


def test_one_finger_scrolls_the_page_until_the_drawing_was_tapped(chrome: Chrome, reports: Reports) -> None:
    with chrome.open(reports("heads") / "report.html", **PHONE) as tab:
        page, finger = tab.page, tab.page.context.new_cdp_session(tab.page)
        page.evaluate("document.getElementById('view-drawing').scrollIntoView({ block: 'center' })")

        def place() -> tuple[float, float]:
            box = page.locator("#view-drawing").bounding_box()
            return box["x"] + 20, box["y"] + box["height"] / 2

        def swipe(by: float) -> tuple[float, float]:
            """How far page and drawing went."""
            state = f"[scrollY, {CY}.pan().y]"
            (x, y), before = place(), page.evaluate(state)
            finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
            for i in range(1, 9):
                point = {"x": x, "y": y + by * i / 8}
                finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
            finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
            page.wait_for_timeout(300)
            after = page.evaluate(state)
            return after[0] - before[0], after[1] - before[1]

        page.wait_for_timeout(100)
        scrolled, moved = swipe(-120)
        assert scrolled > 30 and moved == 0
        page.touchscreen.tap(*place())
        page.wait_for_timeout(400)
        for by in (-120, 60):
            scrolled, moved = swipe(by)
            assert scrolled == 0 and moved * by > 0
        assert tab.trouble() == {}


def test_more_of_a_feature_is_its_own_card(chrome: Chrome, reports: Reports) -> None:
    with chrome.open(reports("features") / "report.html", viewport=WINDOW) as tab:
        page = tab.page
        names = page.locator("article.look h4").all_text_contents()
        for name in (names[0], names[-1]):
            page.locator("#view-find").fill(name)
            page.get_by_role("button", name=name, exact=True).first.click()
            page.get_by_role("link", name="More in the section of features").click()
            assert page.locator("article.look:target h4").text_content() == name
        assert tab.trouble() == {}


def test_the_wheel_zooms_with_ctrl_or_after_a_click_and_else_scrolls(chrome: Chrome, reports: Reports) -> None:
    with chrome.open(reports("heads") / "report.html", viewport=WINDOW) as tab:
        page = tab.page
        page.locator("#view-drawing").scroll_into_view_if_needed()
        page.locator("#view-drawing").hover(position={"x": 30, "y": 60})

        def wheel(by: float) -> tuple[float, float]:
            """How far the page went, and how many times closer the drawing came."""
            # Right after a scroll the drawing waits.
            page.wait_for_function(f"() => !{CY}.renderer().scrollingPage")
            before = page.evaluate(f"[scrollY, {CY}.zoom()]")
            page.mouse.wheel(0, by)
            page.wait_for_function(f"([y, zoom]) => scrollY !== y || {CY}.zoom() !== zoom", arg=before)
            # What must not move too had time to.
            page.wait_for_timeout(100)
            after = page.evaluate(f"[scrollY, {CY}.zoom()]")
            return after[0] - before[0], after[1] / before[1]

        scrolled, closer = wheel(60)
        assert scrolled > 0 and closer == 1
        page.keyboard.down("Control")
        scrolled, closer = wheel(-60)
        assert scrolled == 0 and closer > 1
        page.keyboard.up("Control")
        page.locator("#view-drawing").click(position={"x": 30, "y": 60})
        scrolled, closer = wheel(-60)
        assert scrolled == 0 and closer > 1
        assert tab.trouble() == {}
