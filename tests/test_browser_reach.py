"""Every kind of report is for everybody: the rules of axe-core, contrast of drawings too, keyboard, paper, no scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.browser import RUNS, Chrome, Reports, Tab

KINDS = tuple(RUNS)
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

#: Texts of drawings, with their colour and what is under their middle: the page, or the shapes drawn before them.
DRAWN = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const over = (top, alpha, under) => under.map((v, i) => alpha * top[i] + (1 - alpha) * v);
  const page = parts(getComputedStyle(document.body).backgroundColor).slice(0, 3);
  const found = [];
  for (const svg of document.querySelectorAll("main svg")) {
    const shapes = [...svg.querySelectorAll("rect, circle, text")];
    const boxes = new Map(shapes.map((s) => [s, s.getBoundingClientRect()]));
    shapes.forEach((text, at) => {
      if (text.tagName !== "text" || !text.textContent.trim() || !boxes.get(text).width) return;
      const b = boxes.get(text), x = b.x + b.width / 2, y = b.y + b.height / 2;
      let under = page;
      for (const shape of shapes.slice(0, at)) {
        const r = boxes.get(shape), style = getComputedStyle(shape);
        if (shape.tagName === "text" || style.fill === "none") continue;
        if (x < r.left || x > r.right || y < r.top || y > r.bottom) continue;
        const [red, green, blue, alpha = 1] = parts(style.fill);
        under = over([red, green, blue], alpha * Number(style.fillOpacity) * Number(style.opacity), under);
      }
      found.push([text.textContent, parts(getComputedStyle(text).fill).slice(0, 3), under]);
    });
  }
  return found;
}"""

#: All that must be reached by keyboard, in the order of the document, as `Tab.focused` names them.
REACHED = """() => {
  const all = [...document.querySelectorAll("*")];
  const wanted = "a[href], button, input, select, textarea, summary, [tabindex='0']";
  return all.filter((e) => e.matches(wanted) && !e.disabled && e.checkVisibility({ visibilityProperty: true }) && e.tabIndex >= 0
      && !(e.tagName === "INPUT" && e.type === "radio" && !e.checked))
    .map((e) => `${e.tagName.toLowerCase()}#${e.id}@${all.indexOf(e)}`);
}"""


def axe(tab: Tab, boxes: str = "", without: Sequence[str] = ()) -> dict[str, Any]:
    """What axe-core finds. `boxes`: style of boxes that scroll, as axe sees through no gradient and behind no edge."""
    from axe_playwright_python.base import AXE_SCRIPT

    tab.page.evaluate(AXE_SCRIPT)
    if boxes:
        tab.page.evaluate("rule => document.styleSheets[0].insertRule(rule, document.styleSheets[0].cssRules.length)", f".scroll {{ {boxes} }}")  # fmt: skip
    options = {
        "runOnly": {"type": "tag", "values": TAGS},
        "rules": {rule: {"enabled": False} for rule in without},
        "resultTypes": ["violations", "incomplete"],
    }
    found: dict[str, Any] = tab.page.evaluate(f"axe.run(document, {json.dumps(options)})")
    return found


def told(results: list[dict[str, Any]]) -> list[str]:
    """Each broken rule with the first places that break it."""
    return [f"{r['id']}: {[(n['target'], n['html'][:120]) for n in r['nodes'][:3]]}" for r in results]


def luminance(colour: list[float]) -> float:
    """WCAG 2.2, relative luminance."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: list[float], other: list[float]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_rule_of_axe_is_broken(chrome: Chrome, reports: Reports, kind: str, scheme: str) -> None:
    path = reports(kind) / "report.html"
    with chrome.open(path, color_scheme=scheme, viewport={"width": 1800, "height": 900}) as tab:
        found = axe(tab, "overflow: visible !important; background: none !important")
        assert told(found["violations"]) == []
        assert len(found["passes"]) > 25
        # What axe cannot tell is the contrast of text in drawings; that is computed here.
        for rule in found["incomplete"]:
            assert rule["id"] == "color-contrast", told([rule])
            outside = [n for n in rule["nodes"] if not n["html"].startswith(("<text", "<tspan"))]
            assert outside == [], told([{**rule, "nodes": outside}])
        texts = tab.page.evaluate(DRAWN)
        assert texts
        assert [t for t, colour, under in texts if contrast(colour, under) < 4.5] == []
        assert tab.trouble() == {}


@pytest.mark.parametrize("kind", ["heads", "edges", "features", "eval"])
def test_no_rule_of_axe_is_broken_on_a_narrow_screen(chrome: Chrome, reports: Reports, kind: str) -> None:
    """Colours are those of the wide page."""
    with chrome.open(reports(kind) / "report.html", viewport={"width": 400, "height": 900}) as tab:
        assert told(axe(tab, without=("color-contrast",))["violations"]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_keyboard_reaches_everything_in_order_and_is_seen_there(
    chrome: Chrome, reports: Reports, kind: str
) -> None:
    with chrome.open(reports(kind) / "report.html", viewport={"width": 800, "height": 900}) as tab:
        wanted, reached, unseen = tab.page.evaluate(REACHED), [], []
        for _ in range(len(wanted) + 5):
            tab.page.keyboard.press("Tab")
            if not (place := tab.focused()) or place in reached:
                break
            reached.append(place)
            if not tab.page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2 && getComputedStyle(document.activeElement).outlineStyle !== 'none'"):  # fmt: skip
                unseen.append(place)
        assert reached == wanted
        assert unseen == []


def test_the_first_link_leads_past_the_sections(chrome: Chrome, reports: Reports) -> None:
    with chrome.open(reports("heads") / "report.html") as tab:
        tab.page.keyboard.press("Tab")
        link = tab.page.locator(":focus")
        assert link.text_content() == "Skip to the content"
        box = link.bounding_box()
        assert box is not None and box["width"] > 50 and box["height"] > 15
        tab.page.keyboard.press("Enter")
        tab.page.keyboard.press("Tab")
        assert tab.page.evaluate("document.activeElement.closest('main') !== null")
        assert tab.trouble() == {}


@pytest.mark.parametrize("kind", KINDS)
def test_without_scripts_every_section_drawing_and_table_is_there(chrome: Chrome, reports: Reports, kind: str) -> None:
    path, sizes = reports(kind) / "report.html", []
    for scripts in (True, False):
        with chrome.open(path, java_script_enabled=scripts, viewport={"width": 1000, "height": 900}) as tab:
            found = tab.page.locator("main > section")
            shown = {name: [one for one in tab.page.locator(f"main {name}").all() if one.is_visible()] for name in ("svg", "table")}  # fmt: skip
            sizes.append((found.count(), {name: len(all_) for name, all_ in shown.items()}))
            if not scripts:
                tab.shot(f"{kind}-no-scripts")
    with_, without = sizes
    assert with_[0] == without[0] > 2
    assert without[1]["svg"] >= 1 and without[1]["table"] + without[1]["svg"] >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_on_paper_nothing_is_cut(chrome: Chrome, reports: Reports, kind: str) -> None:
    """As wide as A4 with margins of 1 cm."""
    with chrome.open(reports(kind) / "report.html", viewport={"width": 718, "height": 1000}) as tab:
        tab.page.emulate_media(media="print")
        tab.shot(f"{kind}-print", whole=True)
        assert not tab.page.locator("nav").is_visible()
        assert tab.page.evaluate("[...document.querySelectorAll('main svg, main p, main figcaption')].filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1).length") == 0  # fmt: skip
        assert tab.page.evaluate("[...document.querySelectorAll('details')].filter(e => e.getBoundingClientRect().height < 40).length") == 0  # fmt: skip
        assert tab.trouble() == {}
