"""The report of a circuit of features: sums, tables, the drawing and the cards say what the values say; text stays text."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from circuits.report.pages import render
from circuits.report.payload import payload
from circuits.report.sections.features_section import MOST_DRAWN, edge_graph, features
from circuits.runs.finding import finding
from circuits.runs.record import Record
from circuits.runs.record_files import load_record, save_record
from circuits.terms.words import kind_name
from interp.formatting.numbers import number, percent, percent_interval, score
from interp.scores.agreement import agreement
from interp.scores.scores import Scores
from tests.circuits.report.test_report import SECTIONS, bare
from tests.circuits.runs.feature_records import SITES, SIZES, a_record, one_name, scored
from tests.interp.formatting.hostile import HARMLESS, Taking, filled
from tests.interp.formatting.tags import FORBIDDEN, NASTY, Tags, around, every_tag_closed


@pytest.fixture(scope="module")
def record() -> Record:
    return a_record()


@pytest.fixture(scope="module")
def page(record: Record) -> str:
    return render(record)


# ------------------------------------------------------------ page


def test_it_is_a_section_of_its_own(page: str) -> None:
    sections = [SECTIONS[0], "features", *SECTIONS[1:]]
    assert [i for i in Tags(page).ids if i in sections] == sections
    assert 'href="#features"' in page
    without = render(replace(a_record(), features=None, feature_edges=None))
    assert "Circuits of neurons and heads of the same size: not measured in this run" in without
    assert "Where the scores are" in without and "mine, sha256 0a1b" in without


def test_every_tag_is_closed_and_nothing_is_loaded(page: str) -> None:
    assert every_tag_closed(page)
    assert not re.search(r"https?:|url\(|<script>|@import|\ssrc=", bare(page))


def test_hostile_text_stays_text() -> None:
    """The page has the same tags and attributes whatever names and tokens hold."""
    wanted = Tags(render(a_record(one_name(Taking(HARMLESS))))).tags
    for page in filled(lambda nasty: render(a_record(one_name(around(nasty)))), NASTY, 3):
        assert not FORBIDDEN.search(bare(page))
        assert Tags(page).tags == wanted


# ------------------------------------------------------------ numbers


def test_bars_are_the_sums_of_the_sizes(record: Record) -> None:
    found = features(record)
    assert found is not None
    relp, total, errors = record.scores[0], 0.0, 0.0
    for row in found["shares"]["rows"]:
        kind, layer = row["site"].split(".")
        own = {p.kind.split(".")[1]: 0.0 for p in relp.parts}
        for part, mean in zip(relp.parts, relp.mean, strict=True):
            if part.kind.split(".")[0] == kind and part.layer == int(layer):
                own[part.kind.split(".")[1]] += abs(float(mean))
        assert row["features"] == pytest.approx(own["feature"]) and row["error"] == pytest.approx(own["error"])
        assert row["share"] == pytest.approx(own["error"] / sum(own.values()))
        total, errors = total + sum(own.values()), errors + own["error"]
    assert [row["site"] for row in found["shares"]["rows"]] == list(SITES)
    assert found["shares"]["errors"] == pytest.approx(errors / total)


def test_bars_are_as_long_as_their_sums(record: Record, page: str) -> None:
    picture = next(s for s in re.findall(r"<svg .*?</svg>", page, re.DOTALL) if "Scores by site" in s)
    found = [
        (float(r.get("width", "0")), r.findtext("title") or "") for r in ElementTree.fromstring(picture).iter("rect")
    ]
    data = features(record)
    assert data is not None
    rows = data["shares"]["rows"]
    sizes = [row[key] for row in reversed(rows) for key in ("features", "error")]
    assert len(found) == len(sizes)
    ratio = found[0][0] / sizes[0]
    for (width, title), size in zip(found, sizes, strict=True):
        assert width == pytest.approx(size * ratio, abs=0.2) and f"{number(size)} logits" in title


def test_the_table_of_circuits_of_the_same_size(page: str) -> None:
    head, *rows = Tags(page).rows["beside-table"]
    assert head == ["size", "features, errors kept", "features, errors removed", "neurons, of 2,048", "heads, of 10"]
    assert [row[0] for row in rows] == [str(s) for s in SIZES]
    for size, row in zip(SIZES, rows, strict=True):
        wanted = [size / 20, size / 20 - 0.1, size / 40] + ([size / 10] if size <= 5 else [])
        told = [percent_interval(v, v - 0.02, v + 0.03) for v in wanted]
        assert row[1:] == told + ["–"] * (4 - len(told))
    assert re.search(r'<tr class="in"><th scope="row" class="n">5</th>', page)
    assert "the metric with all of them ablated is −1.1" in page


def test_dictionaries_and_the_circuit_without_errors(page: str) -> None:
    _, *rows = Tags(page).rows["dictionary-table"]
    assert [row[0] for row in rows] == list(SITES)
    assert rows[0] == ["resid_post.0", "resid_post.0", "64", "TopK", "7", number(8.25, 1), percent(0.87), "mine"]
    section = page[page.index("<h3>Errors removed") : page.index("<h3>Edges between")]
    assert percent_interval(0.15, 0.13, 0.18) in section and "removed in every circuit" in section
    assert "kept in every circuit" in page[page.index('<section id="faithfulness"') :]


def test_what_a_feature_reacts_to(record: Record, page: str) -> None:
    section = page[page.index("<h3>What the first") : page.index('<section id="agreement"')]
    cards = section.split("<article")[1:]
    assert record.circuit is not None and record.exact is not None and len(cards) == 5
    for part, card in zip(record.circuit.parts, cards, strict=True):
        assert f"<bdi>{part.name}</bdi>" in card
        assert f"Score {score(record.scores[0][part.name])}, exact {score(record.exact[part.name])}" in card
        assert "active on 25 % of the tokens, largest 4.000" in card
        assert re.findall(r'class="shade pos a(\d+)( peak)?" title="([^"]+)"', card)[:2] == [
            ("100", " peak", "4.000"), ("25", "", "1.000"),
        ]  # fmt: skip
        assert [f"up{i}" in card for i in range(3)] == [f"down{i}" in card for i in range(3)] == [True] * 3


# ------------------------------------------------------------ drawing


def test_the_strongest_edges_are_drawn_from_below_to_above(record: Record, page: str) -> None:
    own = record.feature_edges
    assert own is not None and record.features is not None
    section = page[page.index("<h3>Edges between") : page.index("<h3>What the first")]
    picture = ElementTree.fromstring(max(re.findall(r"<svg .*?</svg>", section, re.DOTALL), key=len))
    titles = {(g.findtext("title") or "").partition(": ")[0] for g in picture.iter("g")} - {""}
    strongest = {own.parts[i].name for i in np.argsort(-np.abs(own.mean))[:MOST_DRAWN]}
    assert titles == strongest and f"The {MOST_DRAWN} strongest of {len(own.parts)} edges" in section
    data = edge_graph(own, record.features)
    height = {box["name"]: box["y"] for box in data["boxes"]}
    assert all(height[link["sender"]] < height[link["receiver"]] for link in data["links"])
    assert height["logits"] == max(height.values())
    for y in set(height.values()):
        places = sorted(box["x"] for box in data["boxes"] if box["y"] == y)
        assert all(b - a >= 1 - 1e-9 for a, b in itertools.pairwise(places))
    labels = {rect.findtext("title"): g.findtext("text") for g in picture.iter("g") for rect in g.findall("rect")}
    assert labels["logits"] == "metric"
    assert all(
        text == ("error" if name.endswith("error") else name.split(".")[-1])
        for name, text in labels.items()
        if name != "logits"
    )


def test_no_edges_are_said_to_be_none() -> None:
    record = a_record()
    assert record.features is not None
    why = "metric 'kl_base' is flat at the base run"
    shown = render(replace(record, feature_edges=None, features=replace(record.features, edges_reason=why)))
    assert "Edges between features: <bdi>metric" in shown and "flat at the base run" in shown


# ------------------------------------------------------------ words, files, terminal


def test_words_are_those_of_features(record: Record) -> None:
    told = finding(record)
    assert told.startswith(
        "Five of 21 features carry only 25 % [23, 28] of the logit difference with errors kept (15 % [13, 18] with errors removed)"
    )
    assert "; with the errors kept too, those carry 0 to 10 %)" in told
    assert record.evaluation is not None
    assert "too, those" not in finding(replace(record, evaluation=replace(record.evaluation, errors="removed")))
    assert kind_name("resid_post.feature") == "features of the stream after the block"
    assert kind_name("mlp_out.error", one=True) == "error of MLP outputs"
    data = payload(record)
    assert data["graph"] is None and data["maps"][0]["maps"][0]["form"] == "bars"
    assert "features and errors" in data["maps"][0]["maps"][0]["note"]
    rows = data["ranking"]["rows"]
    assert {row["in_circuit"] for row in rows if row["name"].endswith("error")} == {"no"}
    assert sum(row["in_circuit"] == "yes" for row in rows) == 5


def test_agreement_over_all_features_is_called_that(record: Record) -> None:
    """Neither errors nor an embedding are in that row."""
    (found,) = payload(record)["agreement"]
    assert found["rows"][0]["kind"] == "all features"


def test_a_record_comes_back_from_its_files(record: Record, tmp_path: Path) -> None:
    save_record(tmp_path, record)
    (tmp_path / "manifest.json").write_text('{"format": 1, "status": "complete"}')
    found = load_record(tmp_path)
    assert (
        found.features == record.features and found.circuit == record.circuit and found.evaluation == record.evaluation
    )
    assert found.feature_edges is not None and record.feature_edges is not None
    assert found.feature_edges.parts == record.feature_edges.parts
    assert (found.feature_edges.per_example == record.feature_edges.per_example).all()
    assert render(replace(found, manifest=record.manifest)) == render(record)


def test_three_counts_of_features_are_told_apart(record: Record) -> None:
    """21 features and 3 errors are scored; a feature may be active on held-out pairs only; places are no other features."""
    assert "<p>21 features and 3 errors were scored.</p>" in render(record)
    assert record.evaluation is not None
    more = replace(record, evaluation=replace(record.evaluation, n_nodes=25))
    assert "judged among 25 features: with the 4 that are active on none of the scored pairs" in render(more)
    scores = record.scores[0]
    placed = replace(scores, parts=tuple(replace(part, position=i % 2) for i, part in enumerate(scores.parts)))
    assert "<p>21 features and 3 errors were scored.</p>" in render(replace(record, scores=(placed,)))


def test_a_correlation_over_a_sample_says_so(record: Record) -> None:
    """Nine of the 14 features of the stream, and none of the others, are patched exactly."""
    scores = record.scores[0]
    chosen = [i for i, part in enumerate(scores.parts) if part.kind == "resid_post.feature"][:9]
    exact = scored("exact", 0)
    part = Scores(tuple(exact.parts[i] for i in chosen), exact.per_example[:, chosen], exact.provenance)
    sampled = replace(record, exact=part, agreements=(agreement(scores, part, sampled="some"),))
    assert "over a sample of 9 of 14 features of the stream after the block" in finding(sampled)
    assert "over a sample of 9 of 21 features, best first" in finding(replace(sampled, circuit=None, evaluation=None))
    assert "over 14 features of the stream" in finding(record) and "a sample" not in finding(record)


def test_a_comparison_has_no_empty_headings(record: Record) -> None:
    """What belongs to a circuit is left out, from the menu too; a run with a circuit keeps every heading."""
    left = ("circuit", "evaluation", "features", "feature_edges")
    compared = replace(record, **dict.fromkeys(left), prompts=())
    page, ids = render(compared), Tags(render(compared)).ids
    assert "Where the scores are" in page and "<h3>Edges between" not in page and "<h3>What the first" not in page
    assert not {"faithfulness", "prompts"} & set(ids) and set(re.findall('href="#([a-z]+)"', page)) <= set(ids)
    kept = render(replace(record, evaluation=None, prompts=(), features=None))
    assert {"faithfulness", "prompts"} <= set(Tags(kept).ids) and "<h3>Edges between" in kept
    assert "prompts" in Tags(render(replace(compared, prompts=record.prompts))).ids
