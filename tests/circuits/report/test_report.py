"""The report: every section, the same numbers as the values, hostile text."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuits.report import page as page_room
from circuits.report.pages import render
from circuits.report.payload import payload
from circuits.report.sections.agreements import note
from circuits.report.sections.map_numbers import map_numbers
from circuits.runs.finding import finding
from circuits.runs.record import Record
from interp.formatting.numbers import decimals, number, percent, percent_interval, score, share_digits
from interp.parts.nodes import Node
from interp.scores.agreement import Row
from interp.scores.scores import Scores
from tests.circuits.runs.records import a_record, an_evaluation, compare_record, searched_record
from tests.circuits.runs.test_finding import EVALUATIONS, one_row, with_rows
from tests.interp.formatting.hostile import HARMLESS, Taking, filled
from tests.interp.formatting.tags import FORBIDDEN, NASTY, Tags, around, every_tag_closed
from tests.interp.scores.random_scores import head_nodes, provenance, some_scores

SECTIONS = ["summary", "agreement", "maps", "ranking", "faithfulness", "prompts", "conventions", "reproduce"]


def bare(page: str) -> str:
    """The page without the scripts of the package, each taken out where it stands word for word: what else there is stays."""
    folder = Path(page_room.__file__).parent
    for path in [*sorted(folder.glob("scripts/*.js")), *sorted(folder.glob("vendor/*.js"))]:
        page = page.replace(f"<script>{path.read_text(encoding='utf-8')}</script>\n", "")
    return page


def script_hashes(page: str) -> list[str]:
    """SHA-256 of each script that runs, base64, as a browser takes it."""
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    return [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]


@pytest.fixture(scope="module")
def page() -> str:
    return render(a_record())


# ------------------------------------------------------------ sections and numbers


def test_every_section_in_order(page: str) -> None:
    ids = Tags(page).ids
    assert [i for i in ids if i in SECTIONS] == SECTIONS
    assert finding(a_record()) in page
    assert "not measured in this run" not in page


def test_searches_stand_apart_from_approximations() -> None:
    """Each in a table of its own, and nowhere on an axis of effects."""
    data = payload(searched_record())
    assert [a["method"] for a in data["orders"]] == ["learned", "iterated"]
    assert (
        {a["method"] for a in data["agreement"]} == {s["method"] for s in data["scatters"]} == {"relp", "atp", "random"}
    )
    page = render(searched_record())
    (table,) = re.findall(r'<table id="search-table".*?</table>', page, re.DOTALL)
    assert "learned" in table and "rounds kept" in table and "relp" not in table
    (table,) = re.findall(r'<table id="agreement-table".*?</table>', page, re.DOTALL)
    assert "relp" in table and "learned" not in table
    assert {row["known"] for row in data["ranking"]["rows"]} == {"an order, no estimate"}
    assert data["ranking"]["others"][:2] == ["iterated (rounds kept)", "relp (logits)"]


def test_headings_descend_without_gaps(page: str) -> None:
    levels = [int(tag[0][1]) for tag in Tags(page).tags if re.fullmatch(r"h[1-6]", tag[0])]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_every_tag_is_closed(page: str) -> None:
    assert every_tag_closed(page)


def test_ranking_table_holds_the_scores(page: str) -> None:
    record = a_record()
    scores, exact = record.scores[0], record.exact
    order = scores.rank()
    rows = Tags(page).rows["ranking-table"][1:]
    assert len(rows) == len(order) == 46
    digits = decimals(scores.mean)
    for row, i in zip(rows, order, strict=True):
        m, e = scores.mean[i], scores.stderr[i]
        chosen = (
            "always" if scores.parts[i].kind == "embed" else "yes" if scores.parts[i].name in record.circuit else "no"
        )
        assert row[1] == scores.parts[i].name
        assert row[4:9] == [
            score(m, digits),
            number(e, digits),
            f"[{number(m - 1.96 * e, digits)}, {number(m + 1.96 * e, digits)}]",
            score(m, digits),
            chosen,
        ]
        assert row[9] == score(exact[scores.parts[i].name], digits)


def test_ranking_stops_at_fifty_and_counts_the_rest() -> None:
    nodes = tuple(Node("neuron", layer, unit) for layer in range(3) for unit in range(40))
    record = Record({}, (some_scores(nodes, 1, method="relp", level="neurons"),))
    page = render(record)
    assert len(Tags(page).rows["ranking-table"]) == 51
    assert "70 more components" in page
    assert "30 of 120 neurons" in page


def test_importance_has_its_sign_turned() -> None:
    scores = some_scores(head_nodes(), 1, method="relp", importance_sign=-1, direction="noise")
    row = Tags(render(Record({}, (scores,)))).rows["ranking-table"][1]
    top = scores.rank()[0]
    assert row[4] == score(scores.mean[top], decimals(scores.mean)) and row[7] == score(
        -scores.mean[top], decimals(scores.mean)
    )


def test_agreement_table_holds_the_rows(page: str) -> None:
    rows = Tags(page).rows["agreement-table"][1:]
    found = sorted(a_record().agreements[0].rows, key=lambda row: row.kind == "embed")
    assert len(rows) == len(found)
    for shown, row in zip(rows, found, strict=True):
        bounds = f" [{number(row.pearson_ci[0], 3)}, {number(row.pearson_ci[1], 3)}]" if row.pearson_ci else ""
        assert shown[2:5] == [str(row.n), number(row.pearson, 3) + bounds, number(row.spearman, 3)]
        assert shown[5:8] == [number(row.top_weighted, 2), number(row.slope, 2), number(row.error, 2)]
        assert shown[8:10] == [percent(row.sign), f"{round(row.top_k * row.k)} of {row.k}"]
        carried = f"{row.largest} makes r, {number(row.pearson_without, 2)} without it" if row.carried else ""
        apart = row.headline and row.pearson is not None and row.pearson >= 0.7 > (row.spearman or 0.0)
        doubts = "; ".join(text for text in (carried, "ranks differ" if apart else "") if text)
        assert shown[10] == ("few nodes: look at the points" if not row.headline else doubts)


def test_terminal_and_page_doubt_the_same_rows() -> None:
    apart = Row("head", 40, 0.99, (0.95, 1.0), 0.4, (0.2, 0.6), 0.9, 0.8, 10, largest="m<1>", pearson_without=0.2)
    rows = [apart, one_row(0.9), one_row(0.9, 5, "mlp")]
    found = with_rows(*rows)
    page = render(found)
    notes = [row[10] for row in Tags(page).rows["agreement-table"][1:]]
    carried = "m<1> makes r, 0.20 without it; ranks differ"
    assert notes == [carried, "", "few nodes: look at the points"]
    assert [note(row, found.agreements[0]) for row in rows] == [carried, "", "few nodes"]
    assert page.count("Ranks differ: a few large scores make the correlation") == 1
    assert "Ranks differ" not in render(with_rows(one_row(0.9)))


def test_options_that_were_not_given_are_folded() -> None:
    manifest = {
        "options": {"model": "demo", "tau": None, "seed": 0, "budget": None},
        "seconds": 12.3456,
        "own": {"seconds": 0.33113},
    }
    page = render(replace(a_record(), manifest=manifest))
    section = re.sub(r"\s+", " ", page[page.index('id="reproduce"') :].partition("</section>")[0])
    assert "<summary>2 options not given</summary> <p><bdi>tau, budget</bdi></p>" in section
    assert "<bdi>tau</bdi>" not in section and "<dt><bdi>seed</bdi></dt><dd><bdi>0</bdi></dd>" in section
    assert "<bdi>12.35</bdi>" in section and "<bdi>0.33</bdi>" in section


def test_curve_table_holds_the_points(page: str) -> None:
    rows, curve = Tags(page).rows["curve-table"][1:], an_evaluation().curve
    own = [v for p in curve for v in (p.faithfulness.value, p.faithfulness.low, p.faithfulness.high)]
    random = [(min(p.random), float(np.median(p.random)), max(p.random)) for p in curve]
    digits = share_digits(own), share_digits(itertools.chain(*random))
    for shown, point, known in zip(rows, curve, random, strict=True):
        f = point.faithfulness
        assert shown[:2] == [str(point.size), percent_interval(f.value, f.low, f.high, digits[0])]
        assert shown[3:] == [percent(value, digits[1]) for value in known]


def test_heat_map_cells_hold_every_score(page: str) -> None:
    scores = a_record().scores[0]
    for node, mean in zip(scores.parts, scores.mean, strict=True):
        assert f"<title>{node.name}: {score(mean, payload(a_record())['maps'][0]['maps'][0]['digits'])} logits" in page


def test_every_map_has_a_table_of_its_numbers(page: str) -> None:
    """Small maps whole, in the order of layers; of large ones the strongest."""
    data = payload(a_record())["maps"][0]["maps"][0]
    table = page[page.index('<details class="numbers">') :].partition("</table>")[0]
    rows = [re.findall(r">([^<>]+)<", line) for line in re.findall(r"<tr>.*?</tr>", table)]
    scores = {
        node.name: float(m) for node, m in zip(a_record().scores[0].parts, a_record().scores[0].mean, strict=True)
    }
    assert rows[0] == ["layer", *data["columns"]] and [row[0] for row in rows[1:]] == data["rows"]
    for names, row in zip(data["names"], rows[1:], strict=True):
        wanted = [score(scores[name], data["digits"]) if name else "–" for name in names]
        assert [text.removeprefix("* ") for text in row[1:]] == wanted
    assert page.count("Numbers of this map") == page.count("Heat-map:")
    large = map_numbers({**data, "columns": ["x"] * 200})
    by_size = sorted(scores.values(), key=abs, reverse=True)
    assert not large["whole"] and [c["value"] for c in large["rows"]] == pytest.approx(by_size[: len(large["rows"])])


def test_the_first_layer_is_the_lowest_row_of_a_map(page: str) -> None:
    cells = re.findall(r'<rect x="[^"]*" y="([\d.]+)"[^>]*><title>(?:a|m)(\d)(?:\.h\d)?: ', page)
    height = {layer: {float(y) for y, own in cells if own == layer} for _, layer in cells}
    assert sorted(height, key=lambda layer: -min(height[layer])) == sorted(height) and len(height) > 1
    assert 'aria-label="Heat-map: rows: layer, 0 at the bottom; columns: head"' in page


def test_facts_and_conventions_are_complete(page: str) -> None:
    for text in (
        "accuracy on clean prompts",
        "96 %",
        "8 %",
        "denoise",
        "counterfactual",
        "norm",
        "attention",
        "eager",
        "−1.250 logits",
        "0.75",
    ):
        assert text in page
    assert page.count("<summary>") - page.count("Numbers of this map") == 5


def test_the_report_says_what_rules_do(page: str) -> None:
    assert "What the rules of <bdi>relp</bdi> do in this model" in page
    assert "<dt><bdi>RMSNorm</bdi></dt><dd><bdi>scale frozen (5 modules)</bdi></dd>" in page


@pytest.mark.parametrize(("direction", "ends"), [("denoise", "2.500, 0.2500"), ("noise", "0.2500, 2.500")])
def test_the_summary_says_how_far_apart_the_model_holds_the_prompts(direction: str, ends: str) -> None:
    """Clean first: it is the source where it is patched in, the base where it is patched. Other ablations have no such run."""
    said = "logit difference, clean and corrupt"
    for ablation, expected in (("counterfactual", f"{ends} logits"), ("mean", None)):
        own = provenance("atp", direction=direction, base_metric=0.25, source_metric=2.5, ablation=ablation)
        record = replace(a_record(), scores=[replace(s, provenance=own) for s in a_record().scores])
        facts = {fact["name"]: fact["value"] for fact in payload(record)["facts"]}
        assert facts.get(said) == expected


def test_the_payload_is_json() -> None:
    import json

    assert json.loads(json.dumps(payload(a_record()), allow_nan=False))


# ------------------------------------------------------------ missing parts


def test_an_empty_record_says_what_is_missing() -> None:
    page = render(Record({}, ()))
    assert [i for i in Tags(page).ids if i in SECTIONS] == SECTIONS
    assert page.count("not measured in this run") >= len(SECTIONS)
    assert finding(Record({}, ())) == "Nothing was measured in this run."


@pytest.mark.parametrize(
    "part",
    [
        "exact",
        "agreements",
        "circuit",
        "evaluation",
        "position_map",
        "position_labels",
        "prompts",
        "accuracy",
        "manifest",
    ],
)
def test_each_missing_part_is_named(part: str) -> None:
    empty: Any = {"agreements": (), "position_labels": (), "prompts": (), "accuracy": {}, "manifest": {}}.get(part)
    page = render(replace(a_record(), **{part: empty}))
    assert [i for i in Tags(page).ids if i in SECTIONS] == SECTIONS
    assert ("not measured in this run" in page) == (part != "position_labels")


def test_ablation_is_not_called_patching() -> None:
    scores = some_scores(head_nodes(), 1, method="relp", ablation="mean", direction="noise", source_metric=None)
    page = render(Record({}, (scores,)))
    assert "replaced in turn by mean ablation" in page
    assert "<dd><bdi>–</bdi></dd>" in page


def test_one_pair_has_no_interval() -> None:
    nodes = head_nodes()
    scores = Scores(nodes, np.ones((1, len(nodes))), provenance("relp", n_pairs=1))
    row = Tags(render(Record({}, (scores,)))).rows["ranking-table"][1]
    assert row[5:7] == ["–", "–"]


@pytest.mark.parametrize(
    "level,kinds", [("qkv", ("q", "k", "v")), ("blocks", ("attn_out", "mlp")), ("resid", ("resid_pre", "resid_post"))]
)
def test_other_levels_have_maps(level: str, kinds: tuple[str, ...]) -> None:
    units = range(4) if level == "qkv" else [None]
    nodes = tuple(Node(kind, layer, unit) for layer in range(3) for kind in kinds for unit in units)
    scores = some_scores(nodes, 1, method="relp", level=level)
    page = render(Record({}, (scores,)))
    assert all(f"<title>{node.name}: " in page for node in nodes) or level == "qkv"
    assert page.count("Heat-map:") == (3 if level == "qkv" else 1)


def test_positions_are_columns_and_the_weakest_are_left_out() -> None:
    nodes = tuple(Node("resid_pre", layer, position=p) for layer in range(2) for p in range(300))
    page = render(Record({}, (), position_map=some_scores(nodes, 1, method="atp", level="resid")))
    assert "Shown are the 160 of 300 positions" in page


def test_compare_runs_show_all_methods() -> None:
    page = render(compare_record())
    methods = {row[0] for row in Tags(page).rows["agreement-table"][1:]}
    assert methods == {"relp", "atp", "random"}
    assert page.count('aria-label="Scatter of') == 3
    assert Tags(page).rows["ranking-table"][0][-3:] == ["exact score", "atp", "random"]


# ------------------------------------------------------------ safety


@pytest.fixture(scope="module")
def benign() -> list[tuple[str, ...]]:
    return Tags(render(a_record(Taking(HARMLESS)))).tags


def test_hostile_text_changes_no_tag(benign: list[tuple[str, ...]]) -> None:
    """Each text in several places, its neighbours hostile too."""
    for page in filled(lambda nasty: render(a_record(around(nasty))), NASTY, 4):
        assert Tags(page).tags == benign
        assert not FORBIDDEN.search(bare(page))
        assert "\t" not in bare(page)
        page.encode("utf-8")


def test_there_are_enough_hostile_strings() -> None:
    assert len(set(NASTY)) > 100


def test_nothing_is_loaded_and_only_our_scripts_run(page: str) -> None:
    given, hashes = Tags(page), [re.escape(found) for found in script_hashes(page)]
    page = bare(page)
    assert page.count("<script") == page.count('<script type="application/json"') == 1 and len(hashes) > 5
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & {tag[0] for tag in given.tags}
    assert not [n for tag in given.tags for n in tag[1:] if n.startswith("on") or n in ("src", "srcset", "xlink:href")]
    assert not re.search(r"https?:|url\(|@import|javascript:", page)
    assert set(re.findall(r'href="([^"]*)"', page)) == {"#main", "#circuit", *(f"#{name}" for name in SECTIONS)}
    allowed = " ".join(f"'sha256-{found}'" for found in hashes)
    assert re.search(
        rf"default-src 'none'; script-src {allowed}; style-src 'sha256-[\w+/]{{43}}='; base-uri 'none'; form-action 'none'\"",
        page,
    )
    assert " style=" not in page
    assert '<html lang="en">' in page


def test_the_same_record_gives_the_same_bytes(page: str) -> None:
    assert render(a_record()) == page


def test_the_package_imports_no_torch() -> None:
    code = "import sys, circuits.report.pages; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------ colours


def luminance(colour: list[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: list[float], b: list[float]) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def colours(mode: int) -> dict[str, list[float]]:
    """The variables of the style sheet in light (0) or dark (1) mode, as red, green, blue."""
    style = (Path(page_room.__file__).parent / "styles" / "page.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[mode]
    found = {}
    for name, value in re.findall(r"--([\w-]+): ([^;]+);", block):
        plain = (
            [int(value[i : i + 2], 16) for i in (1, 3, 5)] if value.startswith("#") else list(map(int, value.split()))
        )
        found[name] = [float(v) for v in plain]
    return found


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_contrast(mode: int) -> None:
    given = colours(mode)
    for ink in ("fg", "soft", "link"):
        assert contrast(given[ink], given["bg"]) >= 4.5
        assert contrast(given[ink], given["panel"]) >= 4.5
    for mark in ("k0", "k1", "k2", "k3", "k4", "k5", "random"):
        assert contrast(given[mark], given["bg"]) >= 3
    for opacity in np.linspace(0, 1, 101):
        for sign in ("pos", "neg"):
            cell = [opacity * c + (1 - opacity) * b for c, b in zip(given[sign], given["bg"], strict=True)]
            assert contrast(given["on-cell"], cell) >= 4.5


# ------------------------------------------------------------ the finding


@pytest.mark.parametrize("changes,text", EVALUATIONS)
def test_finding_of_an_evaluation(changes: dict[str, Any], text: str) -> None:
    assert text in finding(replace(a_record(), evaluation=an_evaluation(**changes)))
    render(replace(a_record(), evaluation=an_evaluation(**changes)))
