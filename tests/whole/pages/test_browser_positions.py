"""A circuit of edges at positions in the interactive view: one edge at several positions is one arrow, which tells of each."""

from __future__ import annotations

from collections import defaultdict

from circuits.runs.record_files import load_record
from tests.whole.pages.browser import Chrome, Reports
from tests.whole.pages.test_browser_view import CY, shown, text


def test_an_edge_at_several_positions_is_one_arrow(chrome: Chrome, reports: Reports) -> None:
    """Drawn is its strongest; the others are opened by their names, beside the same arrow."""
    record = load_record(reports("positions"))
    assert record.circuit is not None
    size = dict(zip([p.name for p in record.scores[0].parts], abs(record.scores[0].mean), strict=True))
    arrows = defaultdict(list)
    for edge in record.circuit.edges:
        arrows[edge.sender, edge.receiver].append(edge.name)
    strongest = {max(names, key=lambda name: size[name]) for names in arrows.values()}
    assert len(strongest) < len(record.circuit)
    with chrome.open(reports("positions") / "report.html", viewport={"width": 1280, "height": 1000}) as tab:
        assert shown(tab, "edge[name]") == strongest
        said = f"{len(record.circuit)} edges as {len(strongest)} arrows, one for all positions of an edge"
        assert said in text(tab, "view-count")
        several = max(arrows.values(), key=len)
        first = max(several, key=lambda name: size[name])
        weakest = min(several, key=lambda name: size[name])
        tab.page.locator("#view-find").fill(weakest)
        tab.page.locator("#view-find").press("Enter")
        assert text(tab, "view-panel").startswith(weakest)
        listed = tab.page.locator("#view-panel ul.links:last-child button").all_text_contents()
        assert sorted(listed) == sorted(set(several) - {weakest})
        marked = tab.page.evaluate(f"{CY}.edges('.selected').map((e) => [e.data('name'), e.style('label')])")
        ((name, label),) = marked
        assert name == first and sorted(label.split(", ")) == sorted(one.partition("@")[2] for one in several)
        assert shown(tab, "edge[name]") == strongest
        assert tab.trouble() == {}
