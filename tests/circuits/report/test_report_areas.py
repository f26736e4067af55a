"""The areas in a report: shown with what is missing, and never under another name."""

from __future__ import annotations

from typing import Any

from circuits.evaluation.areas import ranking_areas_on
from circuits.evaluation.assessment import Assessment
from circuits.evaluation.hypotheses import hypothesis_on
from circuits.evaluation.minimality import leave_one_out_on
from circuits.report.page.page import html
from circuits.report.pages import render_assessment
from circuits.report.payload import payload
from tests.circuits.evaluation.running.hand import Hand, additive, weighted
from tests.circuits.report.sections.test_area_curves import WEIGHTS, a_run
from tests.circuits.runs.records import a_record


def test_the_page_shows_them_and_says_what_is_missing() -> None:
    page = html(payload(a_record()))
    assert 'id="areas-table"' in page and page.count("CMD, ") == 2 and "CPR (signed ranking)" in page


def test_an_assessment_is_a_page_with_both_measures() -> None:
    record = a_run()
    assert record.circuit is not None and record.evaluation is not None
    runner = Hand(additive(weighted(WEIGHTS)))
    common: Any = {"n_random": 3, "show_progress": False}
    found = Assessment(
        record.evaluation,
        hypothesis_on(runner, record.circuit, "sufficient", **common),
        hypothesis_on(runner, record.circuit, "necessary", **common),
        leave_one_out_on(runner, record.circuit, show_progress=False),
        ranking_areas_on(runner, record.scores[0], **common),
        ("<b>this</b>",),
    )
    page = render_assessment(found, record.circuit)
    assert page == render_assessment(found, record.circuit) and page.count("<script>") == 1
    assert page.count("CPR, ") == 2 and page.count("CMD, ") == 2 and "&lt;b&gt;this" in page
    for part in record.circuit.parts:
        assert str(part.name).replace(">", "&gt;").replace("<", "&lt;") in page
