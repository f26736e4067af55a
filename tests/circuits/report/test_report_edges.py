"""The report of a circuit of edges: its drawing, maps, table and words say what the values say, at any size."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from circuits.circuit.circuit import Circuit
from circuits.report.drawing.edge_drawing import drawing
from circuits.report.pages import render
from circuits.report.payload import payload
from circuits.report.sections.edges_section import MOST_DRAWN, STRONGEST, by_edge, graph
from circuits.report.view.view import view
from circuits.runs.finding import finding
from circuits.runs.record import Record
from circuits.terms.words import kind_name
from interp.formatting.numbers import decimals, number, percent, percent_interval, score
from interp.parts.graph import Graph, parse_edge
from interp.scores.agreement import Agreement, Row
from interp.scores.scores import Scores
from tests.circuits.report.drawing.test_layers import ends
from tests.circuits.report.test_report import SECTIONS, bare, colours, contrast
from tests.circuits.runs.edge_records import GPT2, GROUPED, MIDDLE, SMALL, edge_record, edge_scores, large_record
from tests.circuits.runs.records import a_record, an_evaluation
from tests.interp.formatting.hostile import HARMLESS, Taking, filled
from tests.interp.formatting.tags import FORBIDDEN, NASTY, Tags, Text, around, every_tag_closed
from tests.interp.scores.random_scores import PAIRS

SVG = "{http://www.w3.org/2000/svg}"


def drawn(page: str) -> ElementTree.Element:
    """The drawing of the circuit."""
    name = "circuit" if '<section id="circuit"' in page else "graph"
    section = page[page.index(f'<section id="{name}"') :]
    section = section[: section.index("</section>")]
    found = [svg for svg in re.findall(r"<svg .*?</svg>", section, re.DOTALL) if 'role="img"' in svg]
    assert len(found) == 1
    return ElementTree.fromstring(found[0])


def curves(picture: ElementTree.Element) -> dict[str, tuple[str, ElementTree.Element]]:
    """Edge name -> what the pointer shows, and the curve."""
    found = {}
    for group in picture.iter("g"):
        paths = [path for path in group.findall("path") if "edge" in path.get("class", "").split()]
        if paths:
            name, _, shown = (group.findtext("title") or "").partition(": ")
            assert name not in found
            found[name] = (shown, paths[0])
    return found


def boxes(picture: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """Node name -> its box, whose label is its name."""
    found = {}
    for group in picture.iter("g"):
        for rect in group.findall("rect"):
            found[rect.findtext("title") or ""] = rect
            assert group.findtext("text") == rect.findtext("title")
    return found


@pytest.fixture(scope="module")
def record() -> Record:
    return edge_record()


@pytest.fixture(scope="module")
def page(record: Record) -> str:
    return render(record)


# ------------------------------------------------------------ page


def test_the_drawing_is_a_section_of_its_own(page: str) -> None:
    sections = [SECTIONS[0], "circuit", *SECTIONS[1:]]
    assert [i for i in Tags(page).ids if i in sections] == sections
    assert set(re.findall(r'href="([^"]*)"', page)) == {"#main", *(f"#{name}" for name in sections)}
    without = render(replace(edge_record(), circuit=None, evaluation=None))
    assert '<section id="graph"' in without and '<section id="circuit"' not in without


def test_every_tag_is_closed_and_nothing_is_loaded(page: str) -> None:
    assert every_tag_closed(page)
    assert not re.search(r"https?:|url\(|@import|javascript:|<script>", bare(page))


def test_words_are_of_edges(page: str) -> None:
    text = re.sub(r"<script.*?</script>|<[^>]*>", " ", bare(page), flags=re.DOTALL)
    assert "circuit" in text and "30 edges, between" in text
    for word in ("component", "few nodes", "kind of node", "nodes in the circuit", "same nodes", "heads and MLPs"):
        assert word not in text, word
    assert "the edge is important" in text


def test_ranking_table_holds_the_scores(record: Record, page: str) -> None:
    scores, exact = record.scores[0], record.exact
    assert exact is not None and record.circuit is not None
    header, *rows = Tags(page).rows["ranking-table"]
    assert header[:4] == ["rank", "edge", "kind", "score"] and len(rows) == 50
    exactly = {edge.name: m for edge, m in zip(exact.parts, exact.mean, strict=True)}
    digits = decimals(scores.mean)
    for row, i in zip(rows, scores.rank(), strict=False):
        edge, m, e = scores.edges[i], scores.mean[i], scores.stderr[i]
        interval = f"[{number(m - 1.96 * e, digits)}, {number(m + 1.96 * e, digits)}]"
        assert row[1] == edge.name
        assert row[2] == kind_name(edge.kind, one=True)
        assert row[3:7] == [score(m, digits), number(e, digits), interval, score(m, digits)]
        assert row[7] == ("yes" if edge.name in record.circuit else "no")
        assert row[8] == score(exactly.get(edge.name), digits)
    assert f"{len(scores.parts) - 50} more edges" in page


def test_agreement_table_has_a_row_per_kind(record: Record, page: str) -> None:
    rows = Tags(page).rows["agreement-table"][1:]
    found = record.agreements[0].rows
    assert [row[1] for row in rows] == ["all edges", *(kind_name(row.kind) for row in found[1:])]
    assert [row[2] for row in rows] == [str(row.n) for row in found]
    assert [row[3].split(" ")[0] for row in rows] == [number(row.pearson, 3) for row in found]
    assert sum(row.n for row in found[1:]) == found[0].n == len(record.exact.parts if record.exact else ())


def test_curve_counts_edges(record: Record, page: str) -> None:
    header, *rows = Tags(page).rows["curve-table"]
    assert header[0] == "edges" and record.evaluation is not None
    for shown, point in zip(rows, record.evaluation.curve, strict=True):
        f = point.faithfulness
        assert shown[:3] == [f"{point.size:,}", percent_interval(f.value, f.low, f.high), "3"]
        assert shown[3:] == [percent(0.1), percent(0.2), percent(0.35)]
    assert "edges in the circuit</bdi></dt><dd><bdi>30 of 479" in page


def test_scatter_tells_readers_apart(record: Record, page: str) -> None:
    (data,) = payload(record)["scatters"]
    exact = (
        {edge.name: m for edge, m in zip(record.exact.edges, record.exact.mean, strict=True)} if record.exact else {}
    )
    assert {p["name"] for p in data["points"]} == set(exact)
    for point in data["points"]:
        assert point["kind"] == f"into {kind_name(parse_edge(point['name']).receiver.kind)}"
        assert point["exact"] == exact[point["name"]]
    assert len(data["kinds"]) == 5 and "into queries" in page


# ------------------------------------------------------------ drawing


@pytest.mark.parametrize("n", [1, 5, 50, 200])
def test_every_edge_and_node_is_drawn_once(n: int) -> None:
    record = edge_record(n=n)
    assert record.circuit is not None
    picture, values = drawn(render(record)), by_edge(record.scores[0])
    digits = decimals([values[edge.name][0] for edge in record.circuit.edges])
    shown = {name: text for name, (text, _) in curves(picture).items()}
    assert shown == {e.name: f"{score(values[e.name][0], digits)} logits" for e in record.circuit.edges}
    assert set(boxes(picture)) == ends(record.circuit.edges)


def test_colour_is_the_sign_and_width_the_size_of_importance() -> None:
    record = edge_record(importance_sign=-1, direction="noise")
    values = dict(zip((e.name for e in record.scores[0].edges), -record.scores[0].mean, strict=True))
    found = curves(drawn(render(record)))
    for name, (_, curve) in found.items():
        assert ("neg" if values[name] < 0 else "pos") in curve.get("class", "").split()
    by_size = sorted(found, key=lambda name: abs(values[name]))
    widths = [float(found[name][1].get("stroke-width", "")) for name in by_size]
    assert widths == sorted(widths) and widths[0] < widths[-1]


def test_signs_end_in_different_marks(page: str, record: Record) -> None:
    tips = {tip.get("class"): tip.get("d", "") for tip in drawn(page).iter("path") if "tip" in tip.get("class", "")}
    assert set(tips) == {"tip pos", "tip neg"}
    assert "L" in tips["tip pos"] and "h" in tips["tip neg"]


def test_channels_enter_a_head_left_middle_and_right() -> None:
    edges = tuple(parse_edge(f"a0.h{i}->a1.h0<{c}>") for c in "vkq" for i in range(3))
    circuit = Circuit(edges, "edges", "m", "t", "by hand", "by hand")
    picture = drawn(render(Record({}, (), circuit=circuit)))
    across = {
        name: float(re.findall(r"[-\d.]+", curve.get("d", ""))[-2]) for name, (_, curve) in curves(picture).items()
    }
    order = sorted(across, key=lambda name: across[name])
    assert [name[-2] for name in order] == list("qqqkkkvvv")
    box = boxes(picture)["a1.h0"]
    left = float(box.get("x", ""))
    assert left < min(across.values()) and max(across.values()) < left + float(box.get("width", ""))
    dashed = {
        c: {c in curve.get("class", "").split() for n, (_, curve) in curves(picture).items() if n[-2] == c}
        for c in "qkv"
    }
    assert dashed == {"q": {True}, "k": {True}, "v": {True}}


@pytest.fixture(scope="module", params=[5, 50, MOST_DRAWN])
def large(request: pytest.FixtureRequest) -> ElementTree.Element:
    """The drawing of some edges of a large model."""
    picture = ElementTree.fromstring(str(drawing(graph(large_record(request.param)) or {})))
    assert len(curves(picture)) == request.param
    return picture


def test_edges_go_upwards_and_boxes_do_not_meet(large: ElementTree.Element) -> None:
    found = {
        name: [float(rect.get(key, "")) for key in ("x", "y", "width", "height")] for name, rect in boxes(large).items()
    }
    width, height = float(large.get("width", "")), float(large.get("height", ""))
    for x, y, w, h in found.values():
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
    for name in curves(large):
        edge = parse_edge(name)
        (low,), (high,) = ([found[n] for n in ends((edge,)) if (n == edge.sender.name) is own] for own in (True, False))
        assert high[1] + high[3] < low[1]
    places = sorted(found.values())
    for i, (x, y, w, h) in enumerate(places):
        for other in places[i + 1 :]:
            assert x + w <= other[0] or y + h <= other[1] or other[1] + other[3] <= y


def test_curves_stay_inside_the_drawing(large: ElementTree.Element) -> None:
    for _, curve in curves(large).values():
        numbers = [float(v) for v in re.findall(r"-?[\d.]+", curve.get("d", ""))]
        x0, x1, x2, x3 = numbers[::2]
        t = np.linspace(0, 1, 50)
        x = (1 - t) ** 3 * x0 + 3 * t * (1 - t) ** 2 * x1 + 3 * t**2 * (1 - t) * x2 + t**3 * x3
        assert x.min() >= 0 and x.max() <= float(large.get("width", ""))


def test_only_the_strongest_are_drawn_and_the_rest_is_counted() -> None:
    record = edge_record(MIDDLE, 450, pairs=8)
    page = render(record)
    scores = record.scores[0]
    order = np.argsort(-np.abs(scores.mean), kind="stable")
    strongest = [scores.edges[i] for i in order[:MOST_DRAWN]]
    assert set(curves(drawn(page))) == {edge.name for edge in strongest}
    weaker = tuple(scores.edges[i] for i in order[MOST_DRAWN:450])
    alone = len(ends(weaker) - ends(tuple(strongest)))
    assert alone > 1
    text = re.sub(r"<[^>]*>", "", page)
    assert (
        f"the 200 strongest of 450 edges; 250 weaker ones and {alone} {'node' if alone == 1 else 'nodes'} that only they join are left out"
        in text
    )


def test_the_strongest_edges_stand_in_for_a_circuit(record: Record) -> None:
    page = render(replace(record, circuit=None, evaluation=None))
    order = np.argsort(-np.abs(record.scores[0].mean), kind="stable")
    assert set(curves(drawn(page))) == {record.scores[0].edges[i].name for i in order[:STRONGEST]}
    assert "No circuit was chosen: the strongest edges" in page


def test_edges_without_a_score_are_grey(record: Record) -> None:
    known = record.scores[0].select_components({e.name for e in SMALL.edges if e.receiver.kind != "logits"})
    edges = (SMALL.edge("embed->m0"), SMALL.edge("m0->logits"))
    circuit = Circuit(edges, "edges", "m", "t", "by hand", "by hand")
    page = render(Record({}, (known,), circuit=circuit))
    found = curves(drawn(page))
    assert found["m0->logits"][0] == "not scored" and "plain" in found["m0->logits"][1].get("class", "")
    assert "plain" not in found["embed->m0"][1].get("class", "")
    assert "1 drawn in grey has no score" in page


def test_a_circuit_without_scores_is_drawn(record: Record) -> None:
    assert record.circuit is not None
    page = render(Record({}, (), circuit=record.circuit))
    assert set(curves(drawn(page))) == {edge.name for edge in record.circuit.edges}
    assert "works against it" not in page


def test_a_circuit_of_edges_beside_scores_of_nodes(record: Record) -> None:
    mixed = replace(a_record(), circuit=record.circuit, evaluation=record.evaluation)
    page = render(mixed)
    assert "30 edges, between" in page and Tags(page).rows["curve-table"][0][0] == "edges"
    assert Tags(page).rows["ranking-table"][0][1] == "component"
    assert finding(mixed).startswith("30 of 479 edges carry 93 %")


def test_shared_keys_and_values_have_a_box_of_their_own() -> None:
    names = ("a0.h3->a1.kv1<k>", "a0.h3->a1.kv1<v>", "m0->a2.h0<q>")
    circuit = Circuit(tuple(map(parse_edge, names)), "edges", "m", "t", "by hand", "by hand")
    page = render(Record({}, (), circuit=circuit))
    assert set(boxes(drawn(page))) == {"a0.h3", "a1.kv1", "m0", "a2.h0"}
    assert "box kv" in page and "keys and values that several heads share" in page
    assert "that several heads share" not in render(edge_record())


def test_positions_are_summed_in_the_drawing() -> None:
    edges = tuple(replace(SMALL.edge("m0->logits"), position=p) for p in range(3))
    scores = edge_scores(edges, 1, "relp", positions="each")
    data = graph(Record({}, (scores,)))
    assert data is not None and len(data["links"]) == 1 and data["summed"]
    assert data["links"][0]["score"] == pytest.approx(scores.mean.sum())
    assert "summed over positions" in render(Record({}, (scores,)))
    # Of a circuit those of its own positions count, and the edge is drawn once.
    labels = (0, 1, 2)
    circuit = Circuit(edges[:2], "edges", "m", "t", "relp", "by hand", positions="each", labels=labels)
    data = graph(Record({}, (scores,), circuit=circuit))
    assert data is not None and len(data["links"]) == 1 and data["apart"] == 2
    assert data["links"][0]["score"] == pytest.approx(scores.mean[:2].sum())
    page = render(Record({}, (scores,), circuit=circuit))
    assert "which are 2 at positions or spans" in page and "summed over positions in the circuit" in page


def test_an_empty_circuit_of_edges_is_said() -> None:
    circuit = Circuit((), "edges", "m", "t", "by hand", "by hand")
    page = render(Record({}, (), circuit=circuit))
    assert "The circuit has no edges to draw." in page


# ------------------------------------------------------------ maps


def slow_sums(scores: Scores, fine: bool) -> dict[tuple[str, str], float]:
    """Sums by the names of rows and columns, from the table of the scores."""
    table = scores.to_pandas()
    short = {"head": "heads", "mlp": "MLP"}
    for end in ("sender", "receiver"):
        nodes = [getattr(edge, end) for edge in scores.edges]
        kinds = [f" {short.get(n.kind, n.kind)}" if fine else "" for n in nodes]
        table[end] = [n.name if n.layer is None else f"{n.layer}{k}" for n, k in zip(nodes, kinds, strict=True)]
    table["size"] = table["score"].abs()
    return dict(table.groupby(["receiver", "sender"])["size"].sum())


@pytest.mark.parametrize("of", [SMALL, GPT2, GROUPED])
def test_maps_add_up_the_sizes_of_scores(of: Graph) -> None:
    scores = edge_scores(of.edges, 1, "relp", pairs=3)
    (group,) = payload(Record({}, (scores,)))["maps"]
    assert len(group["maps"]) == 2
    for data, fine in zip(group["maps"], (False, True), strict=True):
        shown = {
            (row, column): value
            for row, line in zip(data["rows"], data["values"], strict=True)
            for column, value in zip(data["columns"], line, strict=True)
            if value is not None
        }
        slow = slow_sums(scores, fine)
        assert shown.keys() == slow.keys()
        assert shown == {key: pytest.approx(value) for key, value in slow.items()}
        assert data["limit"] == pytest.approx(max(v for (_, column), v in slow.items() if column != "embed"))


def test_map_cells_are_written_without_a_sign_and_outline_the_circuit(record: Record, page: str) -> None:
    (data, _) = payload(record)["maps"][0]["maps"]
    assert record.circuit is not None
    inside = {
        (
            "logits" if e.receiver.layer is None else str(e.receiver.layer),
            "embed" if e.sender.layer is None else str(e.sender.layer),
        )
        for e in record.circuit.edges
    }
    marked = {
        (data["rows"][i], data["columns"][j])
        for i, line in enumerate(data["marked"])
        for j, on in enumerate(line)
        if on
    }
    assert marked == inside
    i, j = data["rows"].index("3"), data["columns"].index("1")
    count = sum(e.receiver.layer == 3 and e.sender.layer == 1 for e in SMALL.edges)
    chosen = sum(e.receiver.layer == 3 and e.sender.layer == 1 for e in record.circuit.edges)
    about = f"1 → 3, {count} edges" + (f", {chosen} in the circuit" if chosen else "")
    assert f"<title>{about}: {number(data['values'][i][j], data['digits'])} logits</title>" in page


def test_a_sample_has_no_map(record: Record, page: str) -> None:
    assert [group["method"] for group in payload(record)["maps"]] == ["relp"]
    assert re.search(r"exact</bdi> scored \d+ edges only, so it has no map", page)
    every = replace(record, exact=edge_scores(SMALL.edges, 0, "exact"))
    assert [group["method"] for group in payload(every)["maps"]] == ["relp", "exact"]


# ------------------------------------------------------------ size, safety


def test_the_page_of_a_large_model_is_small() -> None:
    scores = [
        edge_scores(GPT2.edges, i, m, pairs=4) for i, m in enumerate(("exact", "relp", "atp", "eap-ig", "random"))
    ]
    record = edge_record(GPT2, 3000, pairs=4)
    record = replace(record, scores=(record.scores[0], *scores[2:]), exact=scores[0])
    page = render(record)
    assert len(page.encode()) < 4e6
    found = view(record)
    assert found is not None and 5 < found["first"] < MOST_DRAWN
    assert len(curves(drawn(page))) == found["first"] and f"its {found['first']} strongest of 3,000 edges" in page


def hostile(text: Text) -> Record:
    """A run over edges whose every string from outside goes through `text`, the position of each edge too."""
    known = {name: text(name) for name in ("model", "task", "unit", "metric")}
    edges = tuple(replace(edge, position=text("end")) for edge in SMALL.edges)
    scores = edge_scores(edges, 1, text("relp") or "relp", positions="spans", **known)
    exact = edge_scores(edges, 0, "exact", positions="spans", **known)
    circuit = Circuit(SMALL.edges[:20], "edges", known["model"], known["task"], text("relp"), text("n=20"))
    row = Row(f"{text('head')}->{text('mlp')}", 9, 0.5, None, 0.5, None, 0.5, 0.5, 2)
    agreements = (Agreement(text("relp"), (row,), PAIRS, text("some")),)
    return Record({}, (scores,), exact, agreements, circuit, an_evaluation(metric=known["metric"], unit=known["unit"]))


def test_hostile_text_changes_no_tag() -> None:
    wanted = Tags(render(hostile(Taking(HARMLESS)))).tags
    for page in filled(lambda nasty: render(hostile(around(nasty))), NASTY, 12):
        assert Tags(page).tags == wanted
        assert not FORBIDDEN.search(bare(page))


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_curves_stand_out_from_the_strips_of_layers(mode: int) -> None:
    given = colours(mode)
    for mark in ("k0", "k1", "soft"):
        assert contrast(given[mark], given["panel"]) >= 3
