"""The report of a run of method `auto`: what was tried, which scores are exact, and what may be said of the top."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from circuits.report.pages import render
from circuits.report.payload import payload
from circuits.runs.finding import finding
from circuits.runs.record import Record
from circuits.terms.words import kind_name
from interp.attribution.auto.budget import Budget, Cost, Plan
from interp.attribution.auto.search import run_search
from interp.formatting.numbers import number
from interp.scores.agreement import agreement
from interp.scores.certificate import Certificate
from interp.scores.scores import Scores
from interp.scores.trail import Search
from tests.circuits.report.test_report import SECTIONS, bare
from tests.circuits.runs.records import a_record, compare_record
from tests.interp.formatting.hostile import HARMLESS, Taking, filled
from tests.interp.formatting.tags import FORBIDDEN, NASTY, Tags, around, same
from tests.interp.scores.random_scores import head_nodes, some_scores


def searched(budget: float, text: Any = same) -> Record:
    """A run of `auto` over made-up scores; what is left out and why goes through `text`."""
    nodes = head_nodes()
    known = {"model": text("stories260K"), "task": text("they_plural"), "unit": text("logits"), "rules": text("frozen")}
    exact = some_scores(nodes, 0, method="exact", **known)
    tried = {m: some_scores(nodes, i, method=m, **known) for i, m in enumerate(("atp", "relp"), 1)}
    place = {node.name: i for i, node in enumerate(nodes)}
    found = run_search(
        nodes,
        {m: s.per_example for m, s in tried.items()},
        lambda names: (exact.per_example[:, [place[n] for n in names]], Cost(2 + 0.5 * len(names), 0, 0.25)),
        lambda places: 2 + 0.5 * len(places),
        lambda most: None,
        Plan(4, 0.01, Budget(budget)),
        "nodes",
    )
    search = replace(found.search, left_out=((text("relp-ah"), text("h.3.mlp has no rule")),), estimates_cost=7.0)
    provenance = replace(tried["atp"].provenance, method="auto")
    auto = Scores(nodes, found.table, provenance, found.exact, found.error, search)
    own = auto.known()
    agreements = tuple(agreement(s, own, sampled="some") for s in tried.values())
    return replace(a_record(text), scores=(auto, *tried.values()), exact=own, agreements=agreements)


@pytest.fixture(scope="module")
def some() -> Record:
    return searched(24.0)


@pytest.fixture(scope="module")
def page(some: Record) -> str:
    return render(some)


def trail(record: Record) -> Search:
    assert record.scores[0].search is not None
    return record.scores[0].search


def test_the_section_is_there_after_agreement_and_only_for_auto(page: str) -> None:
    at = SECTIONS.index("agreement") + 1
    expected = [*SECTIONS[:at], "search", *SECTIONS[at:]]
    assert [i for i in Tags(page).ids if i in expected] == expected
    for other in (a_record(), compare_record()):
        assert 'id="search"' not in render(other) and payload(other)["search"] is None


def test_it_says_what_the_certificate_says(some: Record, page: str) -> None:
    certificate = trail(some).certificate
    assert certificate.outside and str(certificate) in page
    assert certificate.headline in finding(some) and finding(some) in page
    assert ("uncertified" in page.partition("<body>")[2]) != certificate.certified


def test_a_top_that_is_checked_is_not_shown_as_certified(some: Record) -> None:
    """99 of 900 drawn at random, and none of them belongs."""
    checked = Certificate.of(10, 1000, 199, 900, 99, 0, 0, 0.01, "nodes")
    auto = some.scores[0]
    shown = replace(trail(some), certificate=checked)
    other = Scores(auto.parts, auto.per_example, auto.provenance, auto.exact, auto.error, shown)
    record = replace(some, scores=(other, *some.scores[1:]))
    page = render(record)
    assert str(checked) in page and "The top 10 is checked" in page
    assert '<p class="checked uncertified">' in page and '<p class="certified">' not in page
    assert "as a whole not certified" in finding(record) and "is certified" not in page


def test_every_fit_is_a_row_with_its_numbers(some: Record, page: str) -> None:
    rows = Tags(page).rows["search-table"][1:]
    fits = trail(some).fits
    assert len(rows) == len(fits)
    for row, fit in zip(rows, fits, strict=True):
        assert row[:3] == [kind_name(fit.kind), fit.method, str(fit.n)]
        assert row[3] == number(fit.pearson, 3) and row[5] == number(fit.slope, 3)
        assert fit.weights is not None and row[6:] == [number(weight, 3) for weight in fit.weights]
        assert float(row[4].replace("\u2212", "-")) == pytest.approx(fit.error, abs=0.01)


def test_a_search_of_before_shows_the_slope_of_the_method_that_it_took(some: Record) -> None:
    """Its files have no weights, and its certificate says nothing of where the parts found stand."""
    data = trail(some).to_dict()
    for fit in data["fits"]:
        del fit["weights"]
    for later in ("sure", "within", "near", "off_at_most", "off_chance"):
        del data["certificate"][later]
    old = Search.from_dict(json.loads(json.dumps(data)))
    auto = some.scores[0]
    scores = Scores(auto.parts, auto.per_example, auto.provenance, auto.exact, auto.error, old)
    page = render(replace(some, scores=(scores, *some.scores[1:])))
    for row, fit in zip(Tags(page).rows["search-table"][1:], old.fits, strict=True):
        assert row[6:] == [number(fit.slope if fit.chosen else 0.0, 3)] * 2
    assert "among the true first" not in page and "among the true first" in render(some)
    assert old.to_dict() == data


def test_every_step_is_a_row_and_the_parts_add_up(some: Record, page: str) -> None:
    rows = Tags(page).rows["search-steps"][1:]
    assert [r[0] for r in rows] == [r.what for r in trail(some).rounds]
    assert sum(int(r[1]) for r in rows) == some.scores[0].exact.sum()  # type: ignore[union-attr]
    assert sum(float(r[2]) for r in rows) == pytest.approx(trail(some).spent, abs=0.3)


def test_the_ranking_marks_exact_and_estimated_scores(some: Record, page: str) -> None:
    auto = some.scores[0]
    assert auto.exact is not None and auto.error is not None
    head, *rows = Tags(page).rows["ranking-table"]
    at = head.index("score is")
    names = [part.name for part in auto.parts]
    assert {row[at] == "exact" for row in rows} == {True, False}
    for row in rows:
        i = names.index(row[1])
        assert row[at] == (
            "exact" if auto.exact[i] else f"estimated, ± {number(float(auto.error[i]))} for a node drawn at random"
        )
    assert "score is" not in Tags(render(a_record())).rows["ranking-table"][0]


def test_the_picture_has_a_mark_for_every_part_that_was_judged(some: Record, page: str) -> None:
    section = page[page.index('<section id="search"') : page.index('<section id="maps"')]
    picture = next(s for s in re.findall(r"<svg .*?</svg>", section, re.DOTALL) if 'role="img"' in s)
    titles = [t.text for t in ElementTree.fromstring(picture).iter() if t.tag.endswith("title")]
    shown = [p for p in trail(some).points if p.kind != "embed"]
    assert len(shown) > 10 and sorted(t.partition(":")[0] for t in titles if t) == sorted(p.name for p in shown)
    roles = {p.role for p in shown}
    assert {"top", "random", "check"} >= roles and len(re.findall("<li>", section)) == len(roles)


def test_the_search_does_not_judge_itself(some: Record) -> None:
    shown = payload(some)
    assert [s["method"] for s in shown["scatters"]] == ["atp", "relp"]
    assert {m["method"] for m in shown["maps"]} == {"auto"}


def test_what_was_spent_is_in_the_unit_of_the_budget(some: Record, page: str) -> None:
    auto, seconds = some.scores[0], sum(r.seconds for r in trail(some).rounds)
    timed = Scores(
        auto.parts,
        auto.per_example,
        auto.provenance,
        auto.exact,
        auto.error,
        replace(trail(some), budget=str(Budget(9, "seconds"))),
    )
    assert f"{number(seconds, 2)} s (" in render(replace(some, scores=(timed, *some.scores[1:])))
    assert f"{number(seconds, 2)} s (" not in page


def test_a_sweep_is_said_to_be_one() -> None:
    record = searched(400.0)
    assert "all 45 nodes were scored exactly" in finding(record)
    page = render(record)
    assert "with no chance of error" in page
    marks = Tags(page).rows["ranking-table"]
    at = marks[0].index("score is")
    assert {row[at] for row in marks[1:]} == {"exact"}


def test_a_long_table_is_folded(some: Record) -> None:
    many = replace(trail(some), fits=trail(some).fits * 20)
    auto = some.scores[0]
    longer = Scores(auto.parts, auto.per_example, auto.provenance, auto.exact, auto.error, many)
    assert payload(replace(some, scores=(longer, *some.scores[1:])))["search"]["folded"]
    assert not payload(some)["search"]["folded"]


@pytest.fixture(scope="module")
def benign() -> list[tuple[str, ...]]:
    return Tags(render(searched(24.0, Taking(HARMLESS)))).tags


def test_hostile_text_changes_no_tag(benign: list[tuple[str, ...]]) -> None:
    for page in filled(lambda nasty: render(searched(24.0, around(nasty))), NASTY, 3):
        assert Tags(page).tags == benign and not FORBIDDEN.search(bare(page)) and "\t" not in bare(page)
