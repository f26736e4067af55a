"""networkx, GraphML, DOT and parquet: equal when read back, safe against hostile names and files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuits.interchange import (
    Contents,
    InterchangeError,
    from_networkx,
    read,
    to_networkx,
    write,
)
from circuits.interchange.dot import quoted, to_dot
from interp.parts.graph import Edge
from interp.parts.nodes import Node
from interp.scores.scores import Scores
from tests.circuits.interchange.exchanged import (
    HOSTILE,
    SHAPES,
    SMALL,
    at_positions,
    bits,
    edge_circuit,
    edge_scores,
    finite,
    grouped,
    provenance,
    same,
    split,
)

# ---------------------------------------------------------------- networkx, GraphML


def node_contents() -> Contents:
    nodes = (Node("embed"), Node("head", 0, 1), Node("mlp", 1), Node("neuron", 1, 7), Node("k", 0, 0, True))
    scores = Scores(nodes, np.array([[0.1, -2.5, 1e-300, 3.0, -0.25]]), provenance(level="heads", model=HOSTILE))
    circuit = edge_circuit((nodes[2], nodes[1]), level="heads", kv="shared")
    return Contents(scores, circuit)


def all_contents() -> list[Contents]:
    scores = edge_scores(SMALL, importance_sign=-1, model=HOSTILE, task="<&>\x0c")
    circuit = edge_circuit((scores.parts[5], scores.parts[2]))
    plain = [Contents(scores, circuit), Contents(scores), Contents(circuit=circuit), Contents(circuit=edge_circuit(()))]
    placed = Contents(at_positions(), edge_circuit(at_positions().parts[3:30:9], positions="each", labels=(0, 1)))
    return [*plain, Contents(grouped()), Contents(at_positions()), placed, Contents(split()), node_contents()]


@pytest.mark.parametrize("contents", all_contents(), ids=range(9))
@pytest.mark.parametrize("way", ["networkx", "graphml", "parquet"])
def test_contents_come_back_equal(contents: Contents, way: str, tmp_path: Path) -> None:
    if way == "networkx":
        found = from_networkx(to_networkx(contents))
    else:
        write(contents, tmp_path / f"x.{way}", way)
        found = read(tmp_path / f"x.{way}")
    assert same(found.scores, contents.scores) and found.circuit == contents.circuit


@settings(max_examples=30, deadline=None)
@given(values=st.lists(finite, min_size=13, max_size=13), sign=st.sampled_from([1, -1]), model=st.text())
def test_graphml_keeps_every_bit(
    values: list[float], sign: int, model: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("gml") / "x.graphml"
    scores = edge_scores(SMALL, values, importance_sign=sign, model=model)
    write(scores, path, "graphml")
    assert same(read(path).scores, scores)


def test_networkx_keeps_q_k_and_v_apart() -> None:
    import networkx as nx

    graph = to_networkx(edge_scores(SHAPES[1]))
    assert isinstance(graph, nx.MultiDiGraph)
    assert set(graph.nodes) == {"embed", "a0.h0", "m0", "a1.h0", "m1", "logits"}
    assert set(graph["a0.h0"]["a1.h0"]) == {"q", "k", "v"} and set(graph["m0"]["logits"]) == {"in"}
    scores = edge_scores(SHAPES[1])
    assert graph["a0.h0"]["a1.h0"]["k"]["score"] == scores["a0.h0->a1.h0<k>"]
    assert graph.nodes["a1.h0"]["layer"] == 1 and graph.nodes["m0"]["kind"] == "mlp"
    assert nx.is_directed_acyclic_graph(graph)


def test_graphml_is_typed_and_plain_xml(tmp_path: Path) -> None:
    write(all_contents()[0], tmp_path / "x.graphml", "graphml")
    root = ET.parse(tmp_path / "x.graphml").getroot()
    space = "{http://graphml.graphdrawing.org/xmlns}"
    types = {(k.get("for"), k.get("attr.name")): k.get("attr.type") for k in root.findall(f"{space}key")}
    assert types["edge", "score"] == "double" and types["edge", "in_circuit"] == "boolean"
    assert types["graph", "version"] in ("int", "long") and types["edge", "name"] == "string"
    ids = [edge.get("id") for edge in root.iter(f"{space}edge")]
    assert len(ids) == len(set(ids)) == 13


Edit = Callable[[str], str]
GRAPHML: list[tuple[Edit, str]] = [
    (lambda t: t.replace("?>", '?><!DOCTYPE g [<!ENTITY a "b">]>', 1), "DOCTYPE"),
    (lambda t: t.replace("?>", '?><!DOCTYPE graphml SYSTEM "file:///etc/passwd">', 1), "DOCTYPE"),
    (lambda t: t.replace(">head</data>", ">mlp</data>", 1), "has the attributes"),
    (lambda t: t.replace("</graph>", '<node id="m9"/></graph>'), "node 'm9' has the attributes"),
    (lambda t: t.replace("relevance-circuits", "others"), "format 'others'"),
    (lambda t: t.replace("</graph>", "<hyperedge/></graph>"), "unknown element <hyperedge>"),
    (lambda t: t.replace("</graphml>", '<graph edgedefault="directed"/></graphml>'), "2 graphs"),
    (lambda t: t[: len(t) // 2], "cannot be read"),
    (lambda t: t.replace('target="m0"', 'target="logits"', 1), "lies between"),
    (lambda t: t.replace("m0-&gt;logits<", "m7-&gt;logits<"), "lies between"),
    (lambda t: t.replace("m0-&gt;logits<", "nonsense<"), "expected 'sender->receiver'"),
    (lambda t: t.replace('attr.name="score"', 'attr.name="mark"'), "unknown key 'mark'"),
    (lambda t: t.replace(">0.25<", ">0.5<", 1), "does not follow from its score"),
    (lambda t: t.replace(">True<", ">False<", 1), "not those of the circuit"),
]


@pytest.mark.parametrize(("edit", "message"), GRAPHML, ids=[m for _, m in GRAPHML])
def test_malformed_graphml_is_refused(edit: Edit, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.graphml"
    scores = edge_scores(SMALL, [0.25] * 13)
    write(Contents(scores, edge_circuit(scores.parts[:2])), path, "graphml")
    text = path.read_text()
    assert edit(text) != text
    path.write_text(edit(text))
    with pytest.raises(InterchangeError, match=message):
        read(path)


def test_an_unknown_version_is_refused() -> None:
    graph = to_networkx(edge_scores(SMALL))
    graph.graph["version"] = 2
    with pytest.raises(InterchangeError, match="version 2; expected"):
        from_networkx(graph)


def test_a_missing_edge_is_noticed() -> None:
    graph = to_networkx(edge_scores(SMALL))
    graph.remove_edge("m0", "logits", "in")
    graph.remove_edge("embed", "m0", "in")
    with pytest.raises(InterchangeError, match="a part is missing"):
        from_networkx(graph)


def test_a_position_that_xml_cannot_hold_is_refused(tmp_path: Path) -> None:
    parts = (Edge(Node("embed"), Node("logits"), "a\x01b"),)
    scores = Scores(parts, np.ones((1, 1)), provenance(positions="spans"))
    with pytest.raises(InterchangeError, match="XML cannot hold"):
        write(scores, tmp_path / "x.graphml", "graphml")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- DOT, parquet


@given(st.text())
def test_a_quoted_string_ends_where_it_should(text: str) -> None:
    """Read as graphviz reads it: a backslash takes the next character with it, a bare quote ends the string."""
    found, inside, i = quoted(text), [], 1
    while found[i] != '"':
        step = 2 if found[i] == "\\" else 1
        inside.append(found[i + step - 1])
        i += step
    assert i == len(found) - 1
    assert "".join(inside) == "".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in text)


def test_dot_shows_sign_and_size() -> None:
    scores = edge_scores(SMALL, [0.0] * 11 + [-2.0, 1.0], model='m"]; evil [x="', importance_sign=1)
    text = to_dot(Contents(scores, edge_circuit(scores.parts[-2:])))
    edges = [line for line in text.splitlines() if "->" in line and "tooltip" in line]
    assert len(edges) == 2
    assert '#b2182b", penwidth=5.000' in edges[0] and '#2166ac", penwidth=2.750' in edges[1]
    assert 'm\\"]; evil [x=\\"' in text and text.count("{") == text.count("}") == 1


def test_dot_is_not_read(tmp_path: Path) -> None:
    write(node_contents(), tmp_path / "x.dot", "dot")
    assert '"a0.h1" [color=' in (tmp_path / "x.dot").read_text()
    with pytest.raises(InterchangeError, match="only written"):
        read(tmp_path / "x.dot")


def test_parquet_keeps_every_example_and_is_read_by_scores_too(tmp_path: Path) -> None:
    import pandas as pd

    values = np.random.default_rng(1).normal(size=(4, 13))
    scores = Scores(SMALL.graph.edges, values, provenance())
    circuit = edge_circuit((scores.parts[3], scores.parts[1]))
    write(Contents(scores, circuit), tmp_path / "x.parquet", "parquet")
    assert bits(Scores.load(tmp_path / "x.parquet").per_example) == bits(values)
    table = pd.read_parquet(tmp_path / "x.parquet")
    assert table["edge"][table["rank"].sort_values().index[:2]].tolist() == [p.name for p in circuit.parts]
    assert table["in_circuit"].sum() == 2
    write(circuit, tmp_path / "c.parquet", "parquet")
    assert pd.read_parquet(tmp_path / "c.parquet")["part"].tolist() == [p.name for p in circuit.parts]


def test_another_parquet_table_is_refused(tmp_path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InterchangeError, match="neither scores nor a circuit"):
        read(tmp_path / "x.parquet")
    (tmp_path / "y.parquet").write_text("no")
    with pytest.raises(InterchangeError, match="cannot be read as parquet"):
        read(tmp_path / "y.parquet")
