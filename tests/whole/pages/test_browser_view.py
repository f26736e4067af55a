"""The interactive circuit, driven as people drive it: slider, pointer, keys, search, paths, tables; what it shows are the run's values."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from circuits.report.view.view_anatomy import direct_digits
from circuits.runs.record import Record
from circuits.runs.record_files import load_record
from interp.formatting.numbers import number, percent_interval, score
from interp.formatting.text import token
from tests.whole.pages.browser import Chrome, Reports, Tab, data_of

KINDS = ("heads", "edges", "features")
WINDOW = {"width": 1280, "height": 1000}

#: Cytoscape's own object, which it keeps on its container.
CY = "document.getElementById('view-drawing')._cyreg.cy"
DRAWN = f"{CY}.elements('[sign]').not('.hidden')"
#: Nothing is open, sought, faded or sorted, and the slider stands where it stood.
AT_REST = f"""(() => {{
  const text = (id) => document.getElementById(id).textContent, panel = document.querySelector("#view-panel h3").textContent;
  return document.getElementById("view-find").value === "" && text("view-size-words").includes("chosen circuit") && panel === "Look closer"
    && !document.querySelector("[aria-sort]") && !{CY}.elements(".faded, .match").length; }})()"""
FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def opened(chrome: Chrome, reports: Reports, kind: str) -> Iterator[Tab]:
    with chrome.open(reports(kind) / "report.html", viewport=WINDOW) as tab:
        yield tab


@pytest.fixture
def tab(opened: Tab) -> Iterator[Tab]:
    """The page as it was at first: one for all tests, loaded again where a test left something open."""
    opened.page.emulate_media(color_scheme="light", reduced_motion="no-preference")
    if not opened.page.evaluate(AT_REST):
        opened.page.reload()
    opened.page.mouse.move(5, 5)
    opened.page.locator("#view").scroll_into_view_if_needed()
    yield opened
    opened.page.keyboard.press("Escape")
    assert opened.trouble() == {}
    assert opened.wider_than_the_window() == 0


@pytest.fixture(scope="module")
def record(reports: Reports, kind: str) -> Record:
    return load_record(reports(kind))


def text(tab: Tab, name: str) -> str:
    return str(tab.page.locator(f"#{name}").text_content())


def spot(tab: Tab, node: str) -> tuple[float, float]:
    """Where a node is in the window, after scrolling it to the middle."""
    x, y = tab.page.evaluate(f"""async (name) => {{
        const node = {CY}.nodes().filter((n) => n.data("name") === name)[0], at = node.renderedPosition();
        const place = () => document.getElementById("view-drawing").getBoundingClientRect();
        scrollBy(0, place().y + at.y - innerHeight / 2);
        // Cytoscape learns of the scroll in the next frame.
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        const box = place();
        return [box.x + at.x, box.y + at.y]; }}""", node)  # fmt: skip
    return float(x), float(y)


def shown(tab: Tab, selector: str = "") -> set[str]:
    """Names of the nodes and edges drawn."""
    return set(tab.page.evaluate(f"{DRAWN}.filter({selector!r} || '*').map(e => e.data('name'))"))


def first_node(tab: Tab) -> str:
    """The most important node that is drawn with a box and is not where the circuit begins or ends."""
    boxes = shown(tab, "node") - shown(tab, "node.dot") - {"embed", "logits"}
    inner = [n for n in data_of(tab.page)["view"]["nodes"] if n["name"] in boxes]
    return str(min(inner, key=lambda n: (not n["chosen"], n["at"]))["name"])


# ------------------------------------------------------------ slider


def test_the_slider_shows_the_faithfulness_that_was_measured(tab: Tab, record: Record, kind: str) -> None:
    """Every size of the curve, by keyboard; the chosen circuit at its own."""
    found = record.evaluation
    assert found is not None and record.circuit is not None
    wanted = {p.size: p.faithfulness for p in found.curve} | {found.size: found.faithfulness}
    stops = data_of(tab.page)["view"]["stops"]
    assert {s["size"] for s in stops} == set(wanted) - {0}
    chosen = percent_interval(found.faithfulness.value, found.faithfulness.low, found.faithfulness.high)
    assert text(tab, "view-faithful") == chosen and "chosen circuit" in text(tab, "view-size-words")
    tab.page.locator("#view-size").focus()
    tab.page.keyboard.press("Home")
    sizes = []
    for stop in stops:
        value = wanted[stop["size"]]
        assert text(tab, "view-faithful") == percent_interval(value.value, value.low, value.high)
        spoken = tab.page.locator("#view-size").get_attribute("aria-valuetext")
        assert percent_interval(value.value, value.low, value.high) in spoken and stop["words"] in spoken
        assert text(tab, "view-random") == stop["random"]
        sizes.append(len(shown(tab)))
        if kind == "heads":
            # The embedding and the logits are drawn with every circuit of heads and not counted.
            found_nodes = re.findall(r"Drawn: (\d+) nodes?, the embedding and the logits,", text(tab, "view-count"))
            assert found_nodes == [str(stop["size"])]
        tab.page.keyboard.press("ArrowRight")
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    tab.page.locator("#view-chosen").click()
    assert text(tab, "view-faithful") == chosen


def test_the_slider_moves_under_the_mouse(tab: Tab) -> None:
    stops = data_of(tab.page)["view"]["stops"]
    box = tab.page.locator("#view-size").bounding_box()
    assert box is not None
    for share, stop in ((0.999, stops[-1]), (0.001, stops[0])):
        tab.page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        assert text(tab, "view-faithful") == stop["faithful"] and text(tab, "view-size-words") == stop["words"]
    tab.page.locator("#view-chosen").click()


# ------------------------------------------------------------ one node


def facts(tab: Tab) -> dict[str, str]:
    names, values = (tab.page.locator(f"#view-panel > dl {tag}").all_text_contents() for tag in ("dt", "dd"))
    return dict(zip(names, values, strict=True))


def test_a_click_opens_a_node_with_what_the_run_knows_of_it(tab: Tab, record: Record, kind: str) -> None:
    name = first_node(tab)
    tab.page.mouse.click(*spot(tab, name))
    assert tab.page.locator("#view-panel h3").text_content() == name
    tab.shot(f"{kind}-node")
    scores = record.scores[0]
    if kind == "edges":
        assert "score" not in facts(tab)
    else:
        i = [part.name for part in scores.parts].index(name)
        mean, half = float(scores.mean[i]), 1.96 * float(scores.stderr[i])
        assert rounded(facts(tab)["score"], mean)
        low, high = facts(tab)["95 % interval"].strip("[]").split(", ")
        assert rounded(low, mean - half) and rounded(high, mean + half)
    assert record.anatomy is not None
    own = [w for w in record.anatomy.writes if w.node == name]
    if own:
        average = tab.page.locator("#view-panel .two").last.locator("ul")
        for place, effects in enumerate((own[0].up, own[0].down)):
            raised = average.nth(place).locator(".tok").all_text_contents()
            assert raised == [token(e.token) for e in effects][: len(raised)] and len(raised) >= 2
        assert score(own[0].direct, direct_digits(record.anatomy.writes)) in str(
            tab.page.locator("#view-panel").text_content()
        )


def _float(text: str) -> float:
    return float(text.split()[0].replace("\u2212", "-").replace(",", ""))


def rounded(said: str, value: float) -> bool:
    """Whether a number is written with all digits that it is given right."""
    digits = said.split()[0].partition("e")[0].partition(".")[2]
    scale = 10.0 ** int((said.split()[0].replace("\u2212", "-").partition("e")[2]) or 0)
    return abs(_float(said) - value) <= 0.5001 * 10.0 ** -len(digits) * scale


def test_the_edges_of_a_node_are_those_of_the_run(tab: Tab, record: Record, kind: str) -> None:
    name = first_node(tab)
    tab.page.mouse.click(*spot(tab, name))
    known = {"heads": record.node_edges, "edges": record.scores[0], "features": record.feature_edges}[kind]
    assert known is not None
    values = dict(zip((part.name for part in known.parts), known.mean, strict=True))
    drawn = tab.page.evaluate(f"{DRAWN}.edges().map(e => [e.source().data('name'), e.target().data('name'), e.data('name'), e.data('score')])")  # fmt: skip
    assert {edge for _, _, edge, _ in drawn} <= set(values)
    for _, _, edge, said in drawn:
        assert rounded(said, float(values[edge]))
    links = tab.page.locator("#view-panel .links li")
    assert links.count() == sum(name in (source, target) for source, target, _, _ in drawn) > 0
    others = {end for source, target, _, _ in drawn if name in (source, target) for end in (source, target)} - {name}
    buttons = tab.page.locator("#view-panel .links button")
    assert set(buttons.all_text_contents()) == others
    wanted = buttons.first.text_content()
    buttons.first.click()
    assert tab.page.locator("#view-panel h3").text_content() == wanted


def test_pattern_of_a_head(chrome: Chrome, reports: Reports) -> None:
    """The weights that the page holds are the run's, one row per token, and are shown when the head is opened."""
    record = load_record(reports("heads"))
    assert record.anatomy is not None
    head = record.anatomy.examples[0].patterns[0]
    with chrome.open(reports("heads") / "report.html", viewport=WINDOW) as tab:
        held = data_of(tab.page)["view"]["examples"][0]["patterns"][head.head]
        assert [list(row) for row in head.rows] == [row[: len(head.rows[i])] for i, row in enumerate(held)]
        tab.page.locator("#view-find").fill(head.head)
        tab.page.keyboard.press("Enter")
        assert "Where it looks" in tab.page.locator("#view-panel").text_content()
        assert tab.page.locator("#view-panel svg, #view-panel canvas, #view-panel table").count() >= 1
        assert tab.trouble() == {}


def test_the_pointer_shows_a_tip(tab: Tab) -> None:
    name = first_node(tab)
    x, y = spot(tab, name)
    tab.page.mouse.move(x - 2, y - 2)
    tab.page.mouse.move(x, y)
    assert tab.page.locator("#view-tip").is_visible()
    assert name in text(tab, "view-tip")
    tab.page.mouse.move(5, 5)
    assert not tab.page.locator("#view-tip").is_visible()


def test_no_arrow_passes_a_box_that_is_not_its_own(tab: Tab) -> None:
    """Points along every curve, from the ends and control points that Cytoscape tells, against all boxes that are drawn."""
    inside, n = tab.page.evaluate(f"""() => {{
        const drawn = {DRAWN}, boxes = drawn.nodes().toArray(), edges = drawn.edges().filter((e) => e.data("name")).toArray();
        const within = (node, x, y) => Math.abs(x - node.position("x")) < node.width() / 2 && Math.abs(y - node.position("y")) < node.height() / 2;
        const mid = (p, q) => ({{ x: (p.x + q.x) / 2, y: (p.y + q.y) / 2 }});
        const found = [];
        for (const edge of edges) {{
            const through = edge.controlPoints(), last = through.length - 1;
            const others = boxes.filter((node) => node.id() !== edge.data("source") && node.id() !== edge.data("target"));
            through.forEach((c, i) => {{
                const a = i ? mid(through[i - 1], c) : edge.sourceEndpoint(), b = i < last ? mid(c, through[i + 1]) : edge.targetEndpoint();
                if (![a.x, a.y, b.x, b.y].every(Number.isFinite)) found.push([edge.data("name"), "not drawn"]);
                for (let t = 0; t <= 1; t += 0.02) {{
                    const at = (k) => (1 - t) ** 2 * a[k] + 2 * t * (1 - t) * c[k] + t * t * b[k];
                    for (const node of others) if (within(node, at("x"), at("y"))) found.push([edge.data("name"), node.data("name")]);
                }}
            }});
        }}
        return [found, edges.length]; }}""")  # fmt: skip
    assert n > 5 and inside == []


# ------------------------------------------------------------ search, keys, paths


def test_search_lists_marks_opens_and_gives_the_focus_back(tab: Tab) -> None:
    name = first_node(tab)
    tab.page.locator("#view-find").fill(name)
    listed = tab.page.locator("#view-found li").all_text_contents()
    assert name in listed
    marked = set(tab.page.evaluate(f"{CY}.nodes('.match').map(n => n.data('name'))"))
    assert marked == {node for node in shown(tab, "node") if name in node}
    tab.page.keyboard.press("Enter")
    assert tab.page.locator("#view-panel h3").text_content() == listed[0]
    assert tab.page.evaluate("document.activeElement.closest('#view-panel') !== null")
    tab.page.keyboard.press("Escape")
    assert tab.focused().startswith("input#view-find")
    assert tab.page.locator("#view-panel h3").text_content() == "Look closer"
    tab.page.locator("#view-find").fill("no such node")
    assert text(tab, "view-found-words").startswith("0 found")
    tab.page.keyboard.press("Escape")
    assert tab.page.locator("#view-find").input_value() == ""


def test_the_drawing_is_walked_by_keys(tab: Tab) -> None:
    tab.page.locator("#view-drawing").focus()
    said = set()
    for key in ("ArrowUp", "ArrowUp", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowUp"):
        tab.page.keyboard.press(key)
        said.add(text(tab, "view-says").split(",")[0])
    assert len(said) > 1 and said <= shown(tab, "node")
    last = text(tab, "view-says").split(",")[0]
    tab.page.keyboard.press("Enter")
    assert tab.page.locator("#view-panel h3").text_content() == last
    assert tab.page.evaluate("document.activeElement.closest('#view-panel') !== null")
    tab.page.keyboard.press("Escape")
    assert tab.focused().startswith("div#view-drawing")


def reach(edges: set[tuple[str, str]], start: str) -> set[str]:
    found, todo = {start}, [start]
    while todo:
        at = todo.pop()
        new = {b for a, b in edges if a == at} - found
        found |= new
        todo += new
    return found


def test_the_paths_through_a_node_stand_out(tab: Tab) -> None:
    """Bright are the edges from which it is reached, and those that are reached from it; all others are pale."""
    name = first_node(tab)
    ends = {(a, b) for a, b in tab.page.evaluate(f"{DRAWN}.edges().map(e => [e.source().data('name'), e.target().data('name')])")}  # fmt: skip
    before = reach({(b, a) for a, b in ends}, name)
    after = reach(ends, name)
    wanted = {(a, b) for a, b in ends if (a in before and b in before) or (a in after and b in after)}
    tab.page.mouse.click(*spot(tab, name))
    bright = {(a, b) for a, b in tab.page.evaluate(f"{DRAWN}.edges().not('.faded').map(e => [e.source().data('name'), e.target().data('name')])")}  # fmt: skip
    assert bright == wanted and wanted
    tab.page.keyboard.press("Escape")
    tab.page.locator("#view-panel").press("Escape")
    assert tab.page.evaluate(f"{CY}.elements('.faded').length") == 0


# ------------------------------------------------------------ table, looks


def test_tables_are_sorted_by_keyboard(tab: Tab) -> None:
    table = tab.page.locator("#ranking-table")
    head = [cell.strip() for cell in table.locator("thead th").all_text_contents()]
    column = head.index("standard error")

    def values() -> list[float | None]:
        cells = table.locator(f"tbody tr > :nth-child({column + 1})").all_text_contents()
        return [None if cell == "–" else _float(cell) for cell in cells]

    before = values()
    button = table.locator("thead th").nth(column).locator("button")
    button.focus()
    for direction, turn in (("ascending", 1), ("descending", -1)):
        tab.page.keyboard.press("Enter")
        assert table.locator("thead th").nth(column).get_attribute("aria-sort") == direction
        known = [v for v in values() if v is not None]
        assert known == sorted(known, key=lambda v: turn * v) and len(set(known)) > 1
        assert sorted(map(str, values())) == sorted(map(str, before))
    assert table.locator("thead th[aria-sort]").count() == 1
    rows = table.locator("tbody tr").all_text_contents()
    assert len(rows) == len(set(rows))


def test_dark_mode_and_no_motion(tab: Tab, kind: str) -> None:
    """Names in boxes stay readable when the scheme changes; nothing moves by itself."""
    from tests.whole.pages.test_browser_reach import contrast

    for scheme in ("light", "dark", "light"):
        tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        tab.page.evaluate(FRAMES)
        page = tab.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number)")
        nodes = tab.page.evaluate(f"""{CY}.nodes('[kind]').not('.hidden').filter(n => n.style('label')).map(n => [
            n.data('name'), n.style('color').match(/[\\d.]+/g).map(Number), n.style('background-color').match(/[\\d.]+/g).map(Number), Number(n.style('background-opacity'))])""")  # fmt: skip
        assert nodes
        for name, colour, fill, alpha in nodes:
            under = [alpha * f + (1 - alpha) * p for f, p in zip(fill, page, strict=False)]
            assert contrast(colour[:3], under) >= 4.5, f"{name} in {scheme}"
        if scheme == "dark":
            tab.page.locator("#view-drawing").scroll_into_view_if_needed()
            tab.shot(f"{kind}-view-dark")
    tab.page.locator("#view-size").focus()
    tab.page.keyboard.press("End")
    assert tab.page.evaluate("document.getAnimations().length") == 0
    assert not tab.page.evaluate(f"{CY}.animated() || {CY}.elements().some(e => e.animated())")
    tab.page.locator("#view-chosen").click()


def test_the_view_fits_a_narrow_screen_with_a_node_open(chrome: Chrome, reports: Reports, kind: str) -> None:
    """Opened on the narrowest, and on a screen that grows."""
    with chrome.open(reports(kind) / "report.html", viewport={"width": 320, "height": 800}) as tab:
        tab.page.locator("#view-find").fill(first_node(tab))
        tab.page.keyboard.press("Enter")
        assert tab.page.locator("#view-panel h3").text_content() != "Look closer"
        for width in (320, 400, 700):
            tab.page.set_viewport_size({"width": width, "height": 800})
            assert tab.wider_than_the_window() == 0
            if width == 400:
                tab.shot(f"{kind}-narrow")
        assert tab.trouble() == {}


def test_numbers_are_read_as_they_are_written() -> None:
    for value in (1234.5, -0.02, 3e-9, -7.25e8, 0.79725):
        assert _float(f"{number(value)} logits") == pytest.approx(value, rel=1e-3)
        assert rounded(score(value), value) and not rounded(score(value), value * 1.01)
