"""The interactive view of a circuit: its data says what the values say, its places do not collide, its scripts are safe, and in a
browser slider, search, clicks and keys do what they say."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuits.anatomy.anatomy import Anatomy, Missing
from circuits.anatomy.closeups_edges import with_exact
from circuits.circuit.circuit import Circuit
from circuits.report import page, pages
from circuits.report.drawing.shared_groups import sharing
from circuits.report.drawing.view_picture import chosen
from circuits.report.page.page import TABLES
from circuits.report.pages import circuit_page, render
from circuits.report.view.view import DRAWN, MOST_EDGES, MOST_NODES, view
from circuits.runs.record import Record
from interp.formatting.numbers import percent_interval, percent_range
from interp.parts.graph import Edge, parse_edge
from interp.parts.nodes import Node
from interp.scores.scores import Scores
from tests.circuits.report.test_report import bare
from tests.circuits.runs.edge_records import GROUPED, MIDDLE, SMALL, edge_record, edge_scores, large_record, node_record
from tests.circuits.runs.records import a_record, an_evaluation
from tests.interp.scores.random_scores import provenance, some_scores
from tests.whole.pages.browser import Chrome, Tab

FOLDER = Path(page.__file__).parent
SCRIPTS = sorted(FOLDER.glob("scripts/*.js"))


def seen(record: Record) -> dict[str, Any]:
    found = view(record)
    assert found is not None
    return found


# ------------------------------------------------------------ nodes, edges, stops


def test_every_node_carries_its_score_interval_rank_and_membership() -> None:
    record = a_record()
    scores, circuit = record.scores[0], record.circuit
    assert circuit is not None
    by_name = {node["name"]: node for node in seen(record)["nodes"]}
    assert set(by_name) == {part.name for part in scores.parts} | {"logits"}
    by_size = sorted(range(len(scores.parts)), key=lambda i: -abs(scores.mean[i]))
    for i, part in enumerate(scores.parts):
        node = by_name[part.name]
        mean = scores.per_example[:, i].mean()
        half = 1.96 * scores.per_example[:, i].std(ddof=1) / np.sqrt(len(scores.per_example))
        low, high = (float(text) for text in node["interval"].replace("−", "-").strip("[]").split(","))
        assert float(node["score"].split(" ")[0].replace("−", "-")) == pytest.approx(mean, abs=1e-3)
        assert (low, high) == pytest.approx((mean - half, mean + half), abs=2e-3)
        assert node["rank"] == f"{by_size.index(i) + 1} of {len(scores.parts)}"
        assert node["known"] == "estimated (by relp)" and node["sign"] == ("neg" if mean < 0 else "pos")
        assert node["chosen"] == (part in circuit.parts) and node["importance"] == pytest.approx(mean, abs=1e-6)


def test_importance_turns_the_sign() -> None:
    scores = some_scores(
        (Node("head", 0, 0), Node("head", 0, 1)), 1, method="exact", importance_sign=-1, direction="noise"
    )
    circuit = Circuit(scores.parts[:1], "heads", "m", "t", "exact", "n=1")
    for node in seen(Record({}, (scores,), circuit=circuit))["nodes"]:
        if node["score"]:
            mean = float(scores.mean[[p.name for p in scores.parts].index(node["name"])])
            assert node["sign"] == ("neg" if mean > 0 else "pos") and node["known"] == "exact"


def test_a_node_is_in_from_its_place_in_the_ranking() -> None:
    record = a_record()
    scores, circuit = record.scores[0], record.circuit
    assert circuit is not None
    at = {node["name"]: node["at"] for node in seen(record)["nodes"]}
    ranking = [scores.parts[i].name for i in np.argsort(-np.abs(scores.mean)) if scores.parts[i].name != "embed"]
    assert [name for name, _ in sorted(at.items(), key=lambda item: item[1]) if at[name]] == ranking
    assert at["embed"] == at["logits"] == 0


def test_the_slider_stops_where_the_curve_was_measured() -> None:
    record = a_record()
    found, evaluation = seen(record), record.evaluation
    assert evaluation is not None
    points = {p.size: p for p in evaluation.curve}
    assert [stop["size"] for stop in found["stops"]] == sorted(points)
    assert found["stops"][found["start"]]["size"] == 6 == len(record.circuit or ())
    for stop in found["stops"]:
        f = evaluation.faithfulness if stop["chosen"] else points[stop["size"]].faithfulness
        assert stop["faithful"] == percent_interval(f.value, f.low, f.high)
        random = [r for r in points[stop["size"]].random if r is not None]
        assert stop["random"] == f"{percent_range(min(random), max(random))} ({len(random)} circuits)"
        assert stop["words"].startswith("the chosen circuit" if stop["chosen"] else "the first")


def test_a_circuit_that_is_not_the_top_of_the_ranking_is_never_called_that() -> None:
    record = a_record()
    assert record.circuit is not None
    scores = record.scores[0]
    last = [scores.parts[i] for i in np.argsort(np.abs(scores.mean)) if scores.parts[i].name != "embed"][:6]
    found = seen(replace(record, circuit=replace(record.circuit, parts=tuple(last))))
    assert not [stop for stop in found["stops"] if "first" in stop["words"] and "of the ranking" in stop["words"]]
    words = {stop["size"]: stop["words"] for stop in found["stops"]}
    assert words[6] == "the chosen circuit: 6 nodes"
    assert words[4] == "the first 4 nodes of the chosen circuit, in its own order"
    assert words[10] == "the chosen circuit and the next 4 nodes of the ranking"


def test_without_an_evaluation_there_is_one_stop_and_no_number() -> None:
    (stop,) = seen(replace(a_record(), evaluation=None))["stops"]
    assert stop["faithful"] == stop["random"] == "not measured in this run" and stop["gauge"] == [None] * 5


def test_edges_of_a_node_circuit_join_nodes_that_are_there() -> None:
    found = seen(node_record())
    nodes = {node["id"]: node["name"] for node in found["nodes"]}
    known = {part.name for part in a_record().scores[0].parts} | {"logits"}
    expected = {e.name for e in SMALL.edges if {e.sender.name, e.receiver.name.partition("<")[0]} <= known}
    assert {edge["name"] for edge in found["edges"]} == expected
    for edge in found["edges"]:
        sender, receiver = edge["name"].split("->")
        assert nodes[edge["source"]] == sender and nodes[edge["target"]] == receiver.partition("<")[0]
        assert edge["channel"] == ("" if "<" not in receiver else receiver[-2])
    sizes = [abs(edge["importance"]) for edge in found["edges"]]
    assert sizes == sorted(sizes, reverse=True) and found["drawn"] <= DRAWN


def test_without_edges_the_page_says_why() -> None:
    assert "edges between these nodes were not scored" in seen(a_record())["noEdges"]
    assert not seen(node_record())["noEdges"]


def test_a_large_circuit_of_edges_holds_the_first_and_says_what_is_left() -> None:
    record = edge_record(MIDDLE, 3000, pairs=4)
    found = seen(record)
    assert len(found["edges"]) == MOST_EDGES and found["drawn"] == DRAWN
    assert found["left"] == f"{len(MIDDLE.edges) - MOST_EDGES:,} weaker edges are not on this page"
    big = [stop for stop in found["stops"] if stop["size"] > MOST_EDGES]
    assert big and all(stop["note"] == f"The page holds the first {MOST_EDGES:,} of them." for stop in big)
    assert record.circuit is not None
    assert {edge["name"] for edge in found["edges"]} == {part.name for part in record.circuit.parts[:MOST_EDGES]}


def neurons_record() -> Record:
    nodes = tuple(Node("neuron", layer, unit) for layer in range(4) for unit in range(500))
    scores = some_scores(nodes, 1, method="relp", level="neurons")
    order = [nodes[i] for i in scores.rank()]
    circuit = Circuit(tuple(order[:150]), "neurons", "m", "t", "relp", "n=150")
    return Record({}, (scores,), circuit=circuit, evaluation=an_evaluation(size=150, n_nodes=2000))


RECORDS = {
    "heads": node_record,
    "edges": lambda: edge_record(n=60),
    "grouped": lambda: edge_record(GROUPED, 40),
    "gpt2": lambda: large_record(200),
    "neurons": neurons_record,
}


@pytest.mark.parametrize("kind", RECORDS)
def test_no_two_nodes_touch_and_edges_go_up(kind: str) -> None:
    found = seen(RECORDS[kind]())
    assert 0 < len(found["nodes"]) <= MOST_NODES + 2
    places = [
        (n["x"], n["y"], n["width"], n["width"] if n["dot"] else 26.0, n["name"])
        for n in sorted(found["nodes"], key=lambda n: n["y"])
    ]
    for a, b in itertools.combinations(places, 2):
        apart = abs(a[0] - b[0]) >= (a[2] + b[2]) / 2 or abs(a[1] - b[1]) >= (a[3] + b[3]) / 2
        assert apart, (a, b)
    height = {n["id"]: n["y"] for n in found["nodes"]}
    assert all(height[e["source"]] > height[e["target"]] for e in found["edges"])


def test_query_key_and_value_enter_left_middle_and_right() -> None:
    edges = tuple(parse_edge(f"a0.h{i}->a1.h0<{c}>") for c in "vkq" for i in range(3))
    found = seen(Record({}, (), circuit=Circuit(edges, "edges", "m", "t", "by hand", "by hand")))
    ends = {c: {e["end"][0] for e in found["edges"] if e["channel"] == c} for c in "qkv"}
    assert max(ends["q"]) < min(ends["k"]) == 0 == max(ends["k"]) < min(ends["v"])


# ------------------------------------------------------------ page


def test_a_circuit_alone_is_a_whole_page() -> None:
    record = edge_record(n=12)
    assert record.circuit is not None
    page = circuit_page(record.circuit, record.scores[0], record.evaluation)
    assert '<section id="circuit"' in page and '<section id="ranking"' not in page
    assert re.findall(r"<h1><bdi>(.*?)</bdi>", page) == ["Circuit of they_plural on stories260K"]
    assert circuit_page(record.circuit).count("<table id=") == 1


def test_a_report_without_a_circuit_has_no_view() -> None:
    page = render(replace(a_record(), circuit=None, evaluation=None))
    assert "cytoscape=" not in page.lower() and 'id="view"' not in page and 'id="data"' not in page
    assert len(page.encode()) < 400_000 < len(render(a_record()).encode()) < 4e6


def test_the_table_of_the_circuit_lists_its_parts_in_order() -> None:
    record = edge_record(n=30)
    page = bare(render(record))
    table = page[page.index('<table id="circuit-table"') :]
    names = re.findall(r'<th scope="row"><bdi>(.*?)</bdi>', table[: table.index("</table>")])
    assert record.circuit is not None and names == [
        p.name.replace("<", "&lt;").replace(">", "&gt;") for p in record.circuit
    ]


# ------------------------------------------------------------ scripts


def test_the_vendored_file_is_the_one_that_its_name_and_sum_say() -> None:
    (line,) = (FOLDER / "vendor" / "SHA256SUMS").read_text(encoding="utf-8").split("\n")[:1]
    digest, name = line.split()
    content = (FOLDER / "vendor" / name).read_bytes()
    version = re.fullmatch(r"cytoscape-(.*)\.min\.js", name)
    assert version and hashlib.sha256(content).hexdigest() == digest
    assert f'"{version[1]}"' in content.decode() and f"vendor/{name}" in pages.VIEW
    licence = (FOLDER / "vendor" / "cytoscape-LICENSE.txt").read_text(encoding="utf-8")
    begins = "Permission is hereby granted, free of charge"
    assert begins in licence and begins in content[:2000].decode()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_our_scripts_never_make_markup_of_text(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setTimeout\(\s*['\"`]|</script|<!--"
    assert not re.search(banned, source)
    assert '"use strict";' in source and source.count("\n") < 300
    assert not re.findall(r"^(?:var|let|const|function|class)\b", source, re.MULTILINE)


def test_every_script_is_in_the_page() -> None:
    assert {path.name for path in SCRIPTS} == {Path(name).name for name in (*pages.VIEW[1:], *TABLES)}


# ------------------------------------------------------------ browser


def write(folder: Path, name: str, record: Record) -> Path:
    path = folder / f"{name}.html"
    path.write_text(render(record), encoding="utf-8")
    return path


def shown(page: Any, id_: str) -> str:
    return str(page.locator(f"#{id_}").inner_text())


def test_all_edges_are_drawn_when_one_asks(chrome: Chrome, tmp_path: Path) -> None:
    with chrome.open(write(tmp_path, "many", edge_record(SMALL, 360, pairs=4))) as tab:
        assert "the strongest 300 edges; 60 weaker edges of this circuit not drawn" in shown(tab.page, "view-count")
        tab.page.locator("#view-all").click()
        assert "360 edges." in shown(tab.page, "view-count") and not tab.page.locator("#view-all").is_visible()
        assert not tab.trouble()


@pytest.fixture(scope="module")
def tab(chrome: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A run over heads, open for the tests that leave it as it was but for what each of them looks at."""
    with chrome.open(write(tmp_path_factory.mktemp("view"), "heads", node_record())) as opened:
        yield opened
        assert not opened.trouble()


def test_tables_sort_numbers_as_numbers_with_what_is_missing_last(tab: Tab) -> None:
    scores, table = node_record().scores[0], tab.page.locator("#ranking-table")
    header = table.locator("thead th").nth(4)
    mean = {p.name: float(m) for p, m in zip(scores.parts, scores.mean, strict=True)}
    for direction, sign in (("ascending", 1), ("descending", -1)):
        header.locator("button").press("Enter")
        assert header.get_attribute("aria-sort") == direction
        names = table.locator("tbody th").all_inner_texts()
        assert [sign * round(mean[n], 3) for n in names] == sorted(sign * round(mean[n], 3) for n in names)
    layers = table.locator("thead th").nth(3)
    for _ in range(2):
        layers.locator("button").click()
        assert table.locator("tbody th").all_inner_texts()[-1] == "embed"


def test_the_data_of_the_page_is_that_of_the_view() -> None:
    record = node_record()
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', render(record), re.DOTALL)
    expected = {key: value for key, value in seen(record).items() if key != "table"}
    assert json.loads(block)["view"] == json.loads(json.dumps(expected))


def test_scores_of_one_pair_have_no_interval() -> None:
    scores = Scores((Node("head", 0, 0),), np.ones((1, 1)), provenance("exact", n_pairs=1))
    circuit = Circuit(scores.parts, "heads", "m", "t", "exact", "n=1")
    node = seen(Record({}, (scores,), circuit=circuit))["nodes"][0]
    assert node["score"] and node["interval"] == ""


# ------------------------------------------------------------ shared keys and values, weak edges


def grouped_record(*heads: tuple[int, int]) -> Record:
    """A run over heads of a model whose heads share keys and values by twos, with the edges between some of them."""
    nodes = (*(Node("head", layer, unit) for layer, unit in heads), *(Node("mlp", layer) for layer in range(3)))
    inside = {node.name for node in nodes} | {"embed", "logits"}

    def within(edge: Edge) -> bool:
        reader = edge.receiver
        ends = {reader.name.partition("<")[0]}
        if reader.grouped:
            ends = {f"a{reader.layer}.h{2 * (reader.unit or 0) + i}" for i in (0, 1)}
        return edge.sender.name in inside and bool(ends & inside)

    scores = some_scores((Node("embed"), *nodes), 2, method="relp")
    circuit = Circuit(tuple(node for node in nodes if node.kind == "head"), "heads", "m", "t", "relp", "n")
    edges = edge_scores([edge for edge in GROUPED.edges if within(edge)], 3, "relp")
    return Record({}, (scores,), circuit=circuit, node_edges=edges)


def test_shared_keys_and_values_are_there_only_with_a_head_that_reads_them() -> None:
    found = seen(grouped_record((0, 1), (2, 0), (2, 3)))
    nodes = {node["id"]: node for node in found["nodes"]}
    at = {node["name"]: node["at"] for node in found["nodes"]}
    joined = {(nodes[j["source"]]["name"], nodes[j["target"]]["name"]) for j in found["joins"]}
    assert joined == {("a0.kv0", "a0.h1"), ("a2.kv0", "a2.h0"), ("a2.kv1", "a2.h3")}
    for group, head in joined:
        assert at[group] == at[head] > 0
    assert {n["name"] for n in found["nodes"] if n["role"] == "shared"} == {group for group, _ in joined}


@pytest.mark.parametrize("size", [2, 3, 4])
def test_groups_are_told_by_the_edges(size: int) -> None:
    graph = replace(GROUPED, n_heads=12, n_kv_heads=12 // size)
    told = {f"a{layer}.h{head}": f"a{layer}.kv{head // size}" for layer in range(graph.n_layers) for head in range(12)}
    assert sharing(graph.edges, graph.edges) == told and sharing(SMALL.edges) == {}


def test_groups_that_the_edges_do_not_tell_are_not_guessed() -> None:
    """Heads 0, 2 and 3 with groups 0 and 1: by twos or by threes?"""
    edges = [parse_edge(f"embed->a0.h{head}<q>") for head in (0, 2, 3)]
    edges += [parse_edge(f"embed->a0.kv{group}<v>") for group in (0, 1)]
    assert sharing(edges) == {}


def test_weak_edges_of_a_circuit_of_nodes_wait_and_those_of_a_circuit_of_edges_do_not() -> None:
    found = seen(node_record())
    limit = max(abs(edge["importance"]) for edge in found["edges"])
    faint = {edge["id"] for edge in found["edges"] if abs(edge["importance"]) < 0.0195 * limit}
    assert faint and not faint & {edge["id"] for edge in chosen(found)[1]}
    assert seen(edge_record())["least"] == 0 < found["least"] == 0.02


def test_edges_of_a_circuit_of_nodes_are_called_estimates() -> None:
    assert seen(node_record())["arrows"] == "arrows: estimated by relp, not checked in this run"
    assert seen(edge_record())["arrows"] == "" == seen(a_record())["arrows"]
    assert "arrows: estimated by relp" in render(node_record())
    why = Anatomy(missing=(Missing("arrows", "no <b> of \u202e memory."),))
    said = seen(node_record(anatomy=why))["arrows"]
    assert said.startswith("arrows: estimated by relp, not checked in this run: no <b> of ") and "\u202e" not in said
    assert "no &lt;b&gt; of" in render(node_record(anatomy=why))


def checked_record(error: int, n: int, times: float = 1.0) -> Record:
    """The first `n` arrows are exact; `error`: how far off the estimates are; `times`: how many times the exact scores they are."""
    found = edge_scores(SMALL.edges, 1, "relp")
    estimates = Scores(found.parts, times * found.per_example, found.provenance)
    exact = edge_scores(SMALL.edges, error, "exact").select(estimates.rank()[:n])
    edges, agreed = with_exact(estimates, exact, 0)
    return replace(node_record(), node_edges=edges, anatomy=Anatomy(arrows=agreed))


@pytest.mark.parametrize(
    ("error", "times", "words"),
    [
        (0, 1.0, ""),
        (40, 1.0, "do not trust the estimated ones"),
        (0, 0.25, r"there the estimates are 0\.2\d times the exact scores"),
    ],
)
def test_arrows_that_were_patched_are_called_exact_and_the_others_come_with_their_agreement(
    error: int, times: float, words: str
) -> None:
    record = checked_record(error, 24, times)
    assert record.anatomy is not None and record.anatomy.arrows is not None and record.node_edges is not None
    found, row = seen(record), record.anatomy.arrows["all"]
    names = {part.name for part in np.array(record.node_edges.parts)[record.node_edges.exact]}
    assert len(names) == 24 and row.pearson is not None
    for edge in found["edges"]:
        assert edge["known"] == ("exact" if edge["name"] in names else "estimated (by relp)")
    n = sum(edge["name"] in names for edge in found["edges"])
    said = found["arrows"]
    assert said.startswith(
        f"arrows: {n} exact, {len(found['edges']) - n} estimated by relp (Pearson r = {row.pearson:.2f} ["
    )
    assert "on the 24 checked, which have the largest estimates" in said and re.search(words, said)
    assert ("do not trust" in said) == (row.pearson < 0.7) == (error > 1)
    assert ("times the exact" in said) == (abs(np.log2(row.slope or 1)) > 1)
    page = render(record)
    assert said in page and page.count(", exact</title>") == sum(e["name"] in names for e in chosen(found)[1])


def test_arrows_that_were_all_patched_are_called_exact() -> None:
    assert seen(checked_record(0, len(SMALL.edges)))["arrows"] == "arrows: exact"


@pytest.mark.parametrize(
    "record", [node_record(), a_record(), edge_record(GROUPED)], ids=["heads", "no edges", "edges"]
)
def test_the_drawing_has_about_the_shape_of_its_frame(record: Record) -> None:
    nodes = chosen(seen(record))[0]
    wide, high = (max(n[key] for n in nodes) - min(n[key] for n in nodes) for key in ("x", "y"))
    assert 0.6 < (wide + 190) / (high + 100) < 1.8


def test_find_finds_edges_and_all_edges_clears_the_selection(tab: Tab) -> None:
    name = chosen(seen(node_record()))[1][0]["name"]
    faded = "document.getElementById('view-drawing')._cyreg.cy.elements('.faded').length"
    tab.page.locator("#view-find").fill(name)
    tab.page.locator("#view-found button", has_text=name).first.click()
    assert tab.page.locator("#view-panel h3").text_content() == name and tab.page.evaluate(faded)
    tab.page.locator("#view-all").click()
    assert tab.page.evaluate(faded) == 0 and "weaker" not in shown(tab.page, "view-count")


def test_a_circuit_is_shown_with_what_is_known_of_it() -> None:
    record = node_record()
    assert record.circuit is not None
    bare, full = (
        record.circuit.show()._repr_html_(),
        record.circuit.show(record.scores[0], record.evaluation, record.node_edges)._repr_html_(),
    )
    for shown in (bare, full):
        assert shown.count('sandbox="allow-scripts"') == 1 and "allow-same-origin" not in shown

    assert "arrows: estimated by relp" in full and "arrows:" not in bare
    assert "&lt;div class=&#34;view-size&#34; hidden&gt;" in bare and "&lt;div class=&#34;view-size&#34;&gt;" in full
    assert str(record.circuit.show()) == str(record.circuit)
