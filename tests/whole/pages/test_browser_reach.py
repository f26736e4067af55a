"""Every kind of report is for everybody: silent, at any width, by the rules of axe-core, contrast of drawings too, by keyboard, on
paper, without scripts. One page of each kind stays open for all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.whole.pages.browser import BY_HAND, RUNS, Chrome, Reports, Tab

KINDS = (*RUNS, *BY_HAND)
#: The page of a circuit alone has no sections to go to.
ALONE = "circuit"
WIDTHS = (320, 400, 600, 768, 1024, 1400)
HEIGHT = 900
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
#: The rules of axe-core on colours, which alone change with the scheme.
COLOURS = ["color-contrast", "link-in-text-block"]
#: The rules on sizes and boxes that scroll, which alone change with the width: no width hides anything. On a narrow screen targets
#: are nearest.
SIZES = ["target-size", "scrollable-region-focusable", "region", "skip-link"]
#: Of what axe can tell only what is read here.
SHORT = {
    "resultTypes": ["violations", "incomplete"],
    "ancestry": False,
    "xpath": False,
    "iframes": False,
    "preload": False,
}

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


#: Writes down every element that the focus comes to, and whether that is seen.
FOLLOW = """() => {
  const all = [...document.querySelectorAll("*")];
  window.reached = [];
  window.unseen = [];
  document.addEventListener("focusin", (event) => {
    const e = event.target, place = `${e.tagName.toLowerCase()}#${e.id}@${all.indexOf(e)}`, style = getComputedStyle(e);
    window.reached.push(place);
    if (parseFloat(style.outlineWidth) < 2 || style.outlineStyle === "none") window.unseen.push(place);
  });
}"""

#: For the rules on colours: folds are open and boxes that scroll show all that they hold, without their shadow, as axe sees through
#: no gradient and behind no edge. Drawings are taken out, as DRAWN reads them, and so is what is not shown; of texts that look the
#: same, as all from the page down to them have the same names, classes and attributes, one stays.
ONE_OF_EACH = """() => {
  const sheet = document.styleSheets[0], seen = new Set(), looks = new Map(), fixed = ["class", "role", "scope"];
  sheet.insertRule(".scroll { overflow: visible !important; background: none !important }", sheet.cssRules.length);
  window.folds = [...document.querySelectorAll("details:not([open])")];
  for (const fold of window.folds) fold.open = true;
  const own = (e) => [...e.attributes].map((a) => fixed.includes(a.name) ? `${a.name}=${a.value}` : a.name).sort().join(" ");
  const again = [...document.querySelectorAll("body *:not(main svg *)")].filter((e) => {
    looks.set(e, `${looks.get(e.parentElement)} > ${e.tagName} ${own(e)}`);
    if (e.matches("main svg") || !e.checkVisibility()) return true;
    if (e.childElementCount || !e.textContent.trim()) return false;
    return seen.has(looks.get(e)) || !seen.add(looks.get(e));
  });
  window.out = again.map((e) => [e, document.createComment("")]);
  for (const [e, place] of window.out) e.replaceWith(place);
  return seen.size;
}"""
ALL_AGAIN = """() => {
  for (const [e, place] of window.out.reverse()) place.replaceWith(e);
  for (const fold of window.folds) fold.open = false;
  document.styleSheets[0].deleteRule(document.styleSheets[0].cssRules.length - 1);
}"""


def axe(tab: Tab, rules: Sequence[str] = (), without: Sequence[str] = ()) -> dict[str, Any]:
    """What axe-core finds, by these rules or by all that the tags name; `passes`: how many rules are kept."""
    if not tab.page.evaluate("'axe' in window"):
        from axe_playwright_python.base import AXE_SCRIPT

        tab.page.evaluate(AXE_SCRIPT)
    options = {
        "runOnly": {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": TAGS},
        "rules": {rule: {"enabled": False} for rule in without},
        **SHORT,
    }
    read = "({ violations, incomplete, passes }) => ({ violations, incomplete, passes: passes.length })"
    found: dict[str, Any] = tab.page.evaluate(f"axe.run(document, {json.dumps(options)}).then({read})")
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


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def opened(chrome: Chrome, reports: Reports, kind: str) -> Iterator[Tab]:
    with chrome.open(reports(kind) / "report.html", viewport={"width": 1400, "height": HEIGHT}) as tab:
        yield tab


@pytest.fixture
def tab(opened: Tab) -> Iterator[Tab]:
    """The page of a kind as it was at first, but for scripts of tests."""
    opened.page.emulate_media(media="screen", color_scheme="light")
    wide(opened, 1400)
    opened.page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
    yield opened
    assert opened.trouble() == {}


def wide(tab: Tab, width: int) -> None:
    tab.page.set_viewport_size({"width": width, "height": HEIGHT})


def test_a_report_opens_in_silence_and_fits_every_width(tab: Tab, kind: str) -> None:
    tab.shot(kind, whole=True)
    for width in WIDTHS:
        wide(tab, width)
        assert tab.wider_than_the_window() == 0, f"{kind} overflows at {width} pixels"


def test_no_rule_of_axe_is_broken(tab: Tab) -> None:
    """In light, dark, and on a narrow screen, whose colours are those of the wide one."""
    wide(tab, 1800)
    found = axe(tab, without=(*COLOURS, "target-size"))
    assert found["passes"] > 25 and told(found["violations"] + found["incomplete"]) == []
    drawn_texts_are_readable(tab)
    assert tab.page.evaluate(ONE_OF_EACH) > 20
    written_texts_are_readable(tab)
    tab.page.emulate_media(color_scheme="dark")
    written_texts_are_readable(tab)
    tab.page.evaluate(ALL_AGAIN)
    drawn_texts_are_readable(tab)
    wide(tab, 400)
    assert told(axe(tab, SIZES)["violations"]) == []


def of_signs(node: dict[str, Any]) -> bool:
    """Whether a text has no letter, such as a token that is a line break; axe judges its neighbours of the same style."""
    return any((check["data"] or {}).get("messageKey") == "nonBmp" for check in node["any"])


def written_texts_are_readable(tab: Tab) -> None:
    found = axe(tab, COLOURS)
    assert found["passes"] >= 1 and told(found["violations"]) == []
    for rule in found["incomplete"]:
        outside = [n for n in rule["nodes"] if not of_signs(n)]
        assert outside == [], told([{**rule, "nodes": outside}])


def drawn_texts_are_readable(tab: Tab) -> None:
    """What axe cannot tell is the contrast of text in drawings."""
    texts = tab.page.evaluate(DRAWN)
    assert texts
    assert [t for t, colour, under in texts if contrast(colour, under) < 4.5] == []


def test_the_keyboard_reaches_everything_in_order_and_is_seen_there(tab: Tab) -> None:
    wide(tab, 800)
    wanted = tab.page.evaluate(REACHED)
    tab.page.evaluate(FOLLOW)
    for _ in wanted:
        tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("window.reached") == wanted
    assert tab.page.evaluate("window.unseen") == []


def test_without_scripts_every_section_drawing_and_table_is_there(
    chrome: Chrome, reports: Reports, tab: Tab, kind: str
) -> None:
    sections = tab.page.locator("main > section").count()
    path = reports(kind) / "report.html"
    with chrome.open(path, java_script_enabled=False, viewport={"width": 1000, "height": HEIGHT}) as bare:
        assert bare.page.locator("main > section").count() == sections >= (1 if kind == ALONE else 3)
        svg, table = (bare.page.locator(f"main {name}:visible").count() for name in ("svg", "table"))
        assert svg >= 1 and svg + table >= 2 and bare.page.locator("#view:visible").count() == 0
        if kind == "heads":
            bare.shot(f"{kind}-no-scripts")


def test_on_paper_nothing_is_cut(tab: Tab, kind: str) -> None:
    """As wide as A4 with margins of 1 cm."""
    wide(tab, 718)
    tab.page.emulate_media(media="print")
    if kind == "heads":
        tab.shot(f"{kind}-print", whole=True)
    assert tab.page.locator("nav:visible").count() == 0
    assert tab.page.evaluate("[...document.querySelectorAll('main svg, main p, main figcaption')].filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1).length") == 0  # fmt: skip
    # The numbers of a map stay off the paper, on which the map itself is; all other folds are open.
    assert tab.page.evaluate("[...document.querySelectorAll('details')].filter(e => e.checkVisibility() ? e.getBoundingClientRect().height < 40 : !(e.matches('.numbers') && e.parentElement.querySelector('svg'))).length") == 0  # fmt: skip


def test_the_first_link_leads_past_the_sections(chrome: Chrome, reports: Reports) -> None:
    with chrome.open(reports("side") / "report.html") as tab:
        tab.page.keyboard.press("Tab")
        link = tab.page.locator(":focus")
        assert link.text_content() == "Skip to the content"
        box = link.bounding_box()
        assert box is not None and box["width"] > 50 and box["height"] > 15
        tab.page.keyboard.press("Enter")
        tab.page.keyboard.press("Tab")
        assert tab.page.evaluate("document.activeElement.closest('main') !== null")
        assert tab.trouble() == {}
