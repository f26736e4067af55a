"""The report of a dictionary: the numbers of the values, links that lead somewhere, hostile text, pictures to scale."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from circuits.report.dictionary.dashboard_page import finding, payload
from circuits.report.pages import render_dictionary, render_training
from interp.dictionaries.evaluation.dashboard_values import (
    Band,
    Dashboard,
    Example,
    Histogram,
    LogitEffects,
    Neighbour,
    TokenEffect,
)
from interp.dictionaries.evaluation.measured import CrossEntropies
from interp.dictionaries.evaluation.probing import ProbeResult, ProbeRow
from interp.formatting.numbers import number, score
from interp.probes.classifier import Interval, Quality
from tests.circuits.report.drawing.test_dashboard_figures import an_evaluation
from tests.interp.formatting.hostile import HARMLESS, Taking, filled
from tests.interp.formatting.tags import FORBIDDEN, NASTY, Tags, Text, around, every_tag_closed, same

SECTIONS = ["summary", "fidelity", "densities", "probes", "features", "settings"]


def an_example(text: Text, document: int, activations: tuple[float | None, ...], peak: int) -> Example:
    words = ("<s>", " the", " boat", "\n", "waited")
    return Example(document, peak, peak, tuple(map(text, words)), activations)


def a_dashboard(feature: int, text: Text = same, **changes: Any) -> Dashboard:
    effects = LogitEffects(
        (TokenEffect(7, text(" sea"), 0.5), TokenEffect(9, text(" ship"), 0.25)), (TokenEffect(2, text(" dry"), -0.4),)
    )
    made = Dashboard(
        feature=feature, chosen=text("drawn at random"), n_tokens=10000, n_active=25, mean=1.5, maximum=4.0,
        histogram=Histogram(0.5, (10, 5, 4, 3, 0, 1, 1, 1)),
        top=(an_example(text, 3, (None, 0.0, 4.0, 0.0, 1.0), 2), an_example(text, 8, (None, 0.0, 3.0, 2.0, 0.0), 2)),
        bands=(Band(1.0, 2.0, (an_example(text, 5, (None, 0.0, 1.5, 0.0, 0.0), 2),)),),
        effects=effects, nearest=(Neighbour(4, 0.7), Neighbour(11, -0.2)), heads=(0.1, 0.6, 0.3, 0.0),
    )  # fmt: skip
    return replace(made, **changes)


def a_probe(text: Text = same) -> ProbeResult:
    quality = Quality(Interval(0.8, 0.7, 0.9), Interval(0.75, 0.65, 0.85), Interval(0.9, 0.8, 0.95))
    rows = (
        ProbeRow("features", 1, (4,), quality),
        ProbeRow("features", 7, (4, 5, 6, 7, 8, 9, 10), quality),
        ProbeRow("dimensions", 1, (4,), quality),
        ProbeRow("majority label", 0, (), quality),
    )
    return ProbeResult(text("gender"), "resid_post.1", 60, 61, 0.5, 0, rows)


def a_page(text: Text = same) -> str:
    dead = a_dashboard(
        0, text, n_active=0, mean=0.0, maximum=0.0, histogram=Histogram(0.0, ()), top=(), bands=(), nearest=(), heads=(),
        effects=LogitEffects(reason=text("its decoder row is zero.")),
    )  # fmt: skip
    return render_dictionary(
        an_evaluation(text), (a_dashboard(4, text), a_dashboard(1234, text), dead), [a_probe(text)]
    )


@pytest.fixture(scope="module")
def page() -> str:
    return a_page()


def plain(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", page.split("</style>")[1]))


# ---------------------------------------------------------------- sections, numbers, links


def test_every_section_in_order_and_every_tag_closed(page: str) -> None:
    given = Tags(page)
    assert [i for i in given.ids if i in SECTIONS] == SECTIONS
    levels = [int(tag[0][1]) for tag in given.tags if re.fullmatch(r"h[1-6]", tag[0])]
    assert levels.count(1) == 1 and all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert every_tag_closed(page)


def test_the_headline_says_what_the_values_say() -> None:
    said = finding(an_evaluation())
    assert said == (
        "12 features explain 91 % of the variance at resid_post.1 with 3.2 active per token, where as many principal components "
        "explain 50 %. With the dictionary's output in its place the model recovers 98 % of the loss that zero ablation costs. Three of the features are never active."
    )
    harmless = an_evaluation(cross_entropies=CrossEntropies(1.0, 1.1, 0.9, 1.2, 10), pca=())
    assert "there is no loss to recover" in finding(harmless) and "principal" not in finding(harmless)
    assert "One of the features is never active." in finding(an_evaluation(counts=np.array([0, 5])))
    assert "Every feature is active somewhere." in finding(an_evaluation(counts=np.array([3, 5])))
    # (11 - 1.001) / (11 - 1) is less than all, and more than one digit tells.
    almost = finding(an_evaluation(cross_entropies=CrossEntropies(1.0, 1.001, 11.0, 6.0, 10)))
    assert "the model recovers > 99.9 % of the loss" in almost


def test_the_tables_have_the_numbers_of_the_values(page: str) -> None:
    e, rows = an_evaluation(), Tags(page).rows
    assert rows["fidelity-table"][1] == ["the dictionary", "3.2 of 12 features", "0.912", "0.953", number(0.125)]
    assert [row[2] for row in rows["fidelity-table"][2:]] == ["0.500", "0.800"]
    ce = e.cross_entropies
    assert [row[1] for row in rows["cost-table"][1:]] == [
        number(x, 4) for x in (ce.clean, ce.spliced, ce.mean, ce.zero)
    ]
    assert rows["cost-table"][3][2] == number((6.25 - 1.41) / (6.25 - 1.25), 4) and rows["cost-table"][1][2] == ""
    features = rows["feature-table"]
    assert features[1] == ["4", "drawn at random", "0.25 %", "1.50", "4.00", "·boat", "·sea", "1 (60 %)"]
    assert features[2][0] == "1,234" and features[3][2:7] == ["0 %", "0", "0", "–", "–"]
    assert "0.800 [0.700, 0.900]" in plain(page) and "gender: 60 examples to fit on, 61 held out" in plain(page)


def test_links_lead_to_the_cards_that_are_there_and_to_no_other(page: str) -> None:
    ids = set(Tags(page).ids)
    links = set(re.findall(r'href="#([^"]*)"', page))
    assert links <= ids and {"f4", "f1234", "f0"} <= links
    assert re.search(r'<td class="note"><a href="#f4">4</a>, 5, 6, 7, 8 and 2 more</td>', page)
    assert len(re.findall(r'<td class="note">4</td>', page)) == 1  # a dimension is no feature
    assert "Nearest by cosine of decoder rows: 4 (0.70), 11 (−0.20)." in plain(page)


def test_a_card_shows_examples_effects_and_heads(page: str) -> None:
    card = page.split('id="f1234"')[1].split("</article>")[0]
    lines = re.findall(r'<li>.*?title="(document[^"]*)">([^<]*)</span>.*?dir="ltr">(.*?)</span></li>', card)
    assert [(where, value) for where, value, _ in lines] == [
        ("document 3, position 2", "4.00"), ("document 8, position 2", "3.00"), ("document 5, position 2", "1.50"),
    ]  # fmt: skip
    assert lines[0][2] == (
        '<bdi>&lt;s&gt; the</bdi><bdi class="shade pos a100 peak" title="4.000"> boat</bdi><bdi>↵</bdi>'
        '<bdi class="shade pos a25" title="1.000">waited</bdi>'
    )
    assert "Drawn at random from activations of 1.00 to 2.00" in card and card.count("<details>") == 1
    cells = re.findall(
        r'<bdi class="tok">([^<]*)</bdi></td><td class="n"><span class="shade (\w+) a(\d+)">([^<]*)', card
    )
    assert cells == [
        ("·sea", "pos", "100", score(0.5, 3)), ("·ship", "pos", "50", score(0.25, 3)), ("·dry", "neg", "80", score(-0.4, 3))
    ]  # fmt: skip
    assert "head 1 60 %, head 2 30 %, head 0 10 %" in plain(page)
    assert re.findall(r'fill-opacity="([^"]*)"><title>head (\d)', card) == [
        ("0.167", "0"),
        ("1.0", "1"),
        ("0.5", "2"),
        ("0", "3"),
    ]


def test_a_feature_that_was_never_active_says_so(page: str) -> None:
    card = page.split('id="f0"')[1].split("</article>")[0]
    assert "never active on this text" in card and "its decoder row is zero." in card and "<svg" not in card


def test_what_is_missing_is_named() -> None:
    bare = render_dictionary(an_evaluation(cross_entropies=CrossEntropies(1.0, 1.1, 0.9, 1.2, 10), pca=(), pca_fit=""))
    said = plain(bare)
    assert "Probes: no labelled texts were given." in said and "Dashboards of features: none were made." in said
    assert Tags(bare).rows["cost-table"][4] == ["zero in its place", "0.9000", "–"]
    transcoder = payload(an_evaluation(site="mlp_normed.1", target="mlp_out.1", d_out=64), (), ())
    assert {"name": "makes up", "value": "mlp_out.1, 64 numbers per token"} in transcoder["facts"]


# ---------------------------------------------------------------- safety


@pytest.fixture(scope="module")
def benign() -> list[tuple[str, ...]]:
    return Tags(a_page(Taking(HARMLESS))).tags


def test_hostile_text_changes_no_tag(benign: list[tuple[str, ...]]) -> None:
    for page in filled(lambda nasty: a_page(around(nasty)), NASTY, 8):
        assert Tags(page).tags == benign
        assert not FORBIDDEN.search(page) and "\t" not in page
        page.encode("utf-8")


def test_nothing_is_loaded_and_only_the_sorting_of_tables_is_run(page: str) -> None:
    given = Tags(page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert [tag[0] for tag in given.tags].count("script") == 1 and "table.sortable" in script
    assert page.count('class="sortable"') + page.count("oneline sortable") == page.count('aria-label="Table of')
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & {tag[0] for tag in given.tags}
    assert not [n for tag in given.tags for n in tag[1:] if n.startswith("on") or n in ("src", "srcset", "xlink:href")]
    assert not re.search(r"https?:|url\(|@import|javascript:", page)
    assert f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'sha256-" in page
    assert "base-uri 'none'; form-action 'none'\"" in page
    assert " style=" not in page


def test_the_same_values_give_the_same_bytes(page: str) -> None:
    assert a_page() == page


def test_several_dictionaries_stand_in_one_table_that_can_be_sorted() -> None:
    """Held-out numbers where there are some, else those of the last batch."""
    asked = {"site": "z.0", "target": "z.0", "architecture": "topk", "d_sae": 64, "options": {}}
    last = {"tokens": 10.0, "loss": 1.0, "explained_variance": 0.5, "l0": 8.0, "dead": 0.25}
    log = {
        "a": [last],
        "b": [{**last, "held_out_explained_variance": 0.996, "held_out_l0": 7.0, "held_out_silent": 0.1}],
    }
    identity = {
        "dictionaries": dict.fromkeys(log, asked), "model": {"name": "m", "dtype": "float32"}, "data": {"name": "text"},
        "batch_tokens": 10, "context": 5, "keep_bos": False, "hold_out": 0.05, "held_out_tokens": 5, "buffer_tokens": 20,
    }  # fmt: skip
    spent = {"steps": 1, "seconds": 1.0, "tokens_per_second": 10.0, "peak_memory_bytes": 1, "buffer_bytes": 1}
    record = {"identity": identity, "log": log, "source": {}, "environment": {"threads": 1}, **spent}
    page = render_training(record)
    table = page[page.index('<table id="reached-table" class="oneline sortable">') :].partition("</table>")[0]
    rows = [re.findall(r">([^<>]+)<", line) for line in re.findall(r"<tr>.*?</tr>", table)][1:]
    assert rows == [["a", "z.0", "64", "50.0 %", "8.0", "25 %"], ["b", "z.0", "64", "99.6 %", "7.0", "25 %"]]
    assert "reached-table" not in render_training(record | {"log": {"a": [last]}})
