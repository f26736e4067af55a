"""Every kind of report in a real browser: no message, no request, readable at any width, on paper, in the dark, without scripts."""

from __future__ import annotations

import pytest

from tests.browser import RUNS, Chrome, Reports

WIDTHS = (320, 400, 600, 768, 1024, 1400)
KINDS = tuple(RUNS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_opens_in_silence_and_fits_every_width(chrome: Chrome, reports: Reports, kind: str) -> None:
    with chrome.open(reports(kind) / "report.html", viewport={"width": 1400, "height": 900}) as tab:
        tab.shot(kind, whole=True)
        for width in WIDTHS:
            tab.page.set_viewport_size({"width": width, "height": 900})
            assert tab.wider_than_the_window() == 0, f"{kind} overflows at {width} pixels"
        assert tab.trouble() == {}
