"""Other projects' formats: what is written is what is read, to the bit and to the byte, and what does not fit is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuits import runs
from circuits.circuit import Circuit
from circuits.interchange import (
    FORMATS,
    Contents,
    InterchangeError,
    Shape,
    eap_contents,
    eap_ig,
    from_networkx,
    read,
    read_all,
    read_submission,
    to_networkx,
    write,
    write_submission,
)
from circuits.interchange.dot import quoted, to_dot
from circuits.interchange.jobs import export, import_file
from circuits.record import Record
from interp.errors import InterpError
from interp.graph import Edge, Graph, parse_edge
from interp.nodes import Node
from interp.scores import Provenance, Scores
from tests.tiny import hooked

HOSTILE = 'a"b\\c<d>&e\n]]>\x00\u2028é'
SMALL = Shape(1, 2, False, 3)
SHAPES = [SMALL, Shape(2, 1, False, 4), Shape(2, 3, True, 2), Shape(3, 2, False, 5)]
floats = st.floats(width=64)
finite = st.floats(width=64, allow_nan=False, allow_infinity=False)


def bits(values: Any) -> list[bytes]:
    return [struct.pack("<d", value) for value in np.asarray(values, dtype=np.float64).ravel().tolist()]


def provenance(**changes: Any) -> Provenance:
    values: dict[str, Any] = dict.fromkeys((f.name for f in dataclasses.fields(Provenance)), "x")
    values |= {"level": "edges", "positions": "all", "importance_sign": 1, "steps": 5, "seed": 1, "n_pairs": 3}
    values |= {"base_metric": 0.1, "source_metric": None, "forwards": 2.0, "backwards": 1.0, "seconds": 0.5}
    values |= {
        "exact": False,
        "pairs": ("p1", "p2"),
        "kv": "split",
        "split_positions": False,
        "model": "tiny",
        "task": "t",
    }
    return Provenance(**{**values, **changes})


def edge_scores(shape: Shape, values: list[float] | None = None, **changes: Any) -> Scores:
    n = shape.n_edges
    means = np.random.default_rng(0).normal(size=n) if values is None else np.array(values)
    return Scores(shape.graph.edges, means[None], provenance(**changes))


def edge_circuit(parts: tuple[Any, ...], **changes: Any) -> Circuit:
    fields = {"level": "edges", "model": HOSTILE, "task": "t", "method": "m", "selection": "n=2", "kv": "split"}
    return Circuit(parts, **{**fields, "scored_pairs": ("p1",), **changes})  # type: ignore[arg-type]


def same(one: Scores | None, two: Scores | None) -> bool:
    if one is None or two is None:
        return one is two
    data = [bits(s.mean) + bits(s.importance) for s in (one, two)]
    return one.parts == two.parts and data[0] == data[1] and one.provenance == two.provenance


def theirs(n_layers: int, n_heads: int, parallel: bool, score: Callable[[int], Any] = float) -> dict[str, Any]:
    """A graph file written a second time, from the description of the format, knowing nothing of our graph."""
    names, stream = [], ["input"]
    nodes = {"input": {"in_graph": True}}
    for layer in range(n_layers):
        heads = [f"a{layer}.h{h}" for h in range(n_heads)]
        for source in stream:
            names += [f"{source}->{head}<{c}>" for head in heads for c in "qkv"]
            names += [f"{source}->m{layer}"] if parallel else []
        stream = stream + heads
        names += [] if parallel else [f"{source}->m{layer}" for source in stream]
        stream = [*stream, f"m{layer}"]
        nodes |= {name: {"in_graph": False} for name in (*heads, f"m{layer}")}
    names += [f"{source}->logits" for source in stream]
    nodes["logits"] = {"in_graph": True}
    cfg = {"n_layers": n_layers, "n_heads": n_heads, "parallel_attn_mlp": parallel, "d_model": 2}
    edges = {name: {"score": score(i), "in_graph": i % 3 == 0} for i, name in enumerate(names)}
    return {"cfg": cfg, "nodes": nodes, "edges": edges}


def saved(path: Path, data: Any) -> Path:
    with path.open("w") as file:
        json.dump(data, file)
    return path


# ---------------------------------------------------------------- EAP-IG: the format


def test_names_and_order_of_a_file_written_by_hand() -> None:
    hand = [f"input->a0.h{head}<{channel}>" for head in (0, 1) for channel in ("q", "k", "v")]
    hand += ["input->m0", "a0.h0->m0", "a0.h1->m0", "input->logits", "a0.h0->logits", "a0.h1->logits", "m0->logits"]
    assert [eap_ig.edge_name(edge) for edge in SMALL.order] == hand
    assert eap_ig.node_names(SMALL) == ["input", "a0.h0", "a0.h1", "m0", "logits"]


def test_the_number_of_edges_of_gpt2_is_that_of_mib() -> None:
    gpt2 = Shape(12, 12, False, 768)
    assert gpt2.n_edges == 32_491 and len(eap_ig.node_names(gpt2)) == 158


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_edges_are_those_of_our_graph(shape: Shape) -> None:
    assert set(shape.order) == set(shape.graph.edges)
    assert len(shape.order) == len(shape.graph.edges) == shape.n_edges
    second = theirs(shape.n_layers, shape.n_heads, shape.parallel)["edges"]
    assert [eap_ig.edge_name(edge) for edge in shape.order] == list(second)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "falcon"])
def test_the_shape_of_a_model_has_the_edges_of_its_graph(name: str) -> None:
    layout = hooked(name).layout
    shape = Shape.of(layout)
    assert set(shape.order) == set(Graph.of(layout, kv="split").edges) and shape.d_model == layout.d_model


def entries(shape: Shape, draw: Any) -> dict[str, Any]:
    """A random file of this shape as plain data, with every optional key."""
    data = theirs(shape.n_layers, shape.n_heads, shape.parallel, lambda _: draw(floats))
    data["cfg"]["d_model"] = shape.d_model
    for name, node in data["nodes"].items():
        size = (shape.n_heads,) if name.startswith("a") and draw(st.booleans()) else ()
        for key, one in (("score", None), ("neurons", st.booleans()), ("neurons_scores", floats)):
            if draw(st.booleans()):
                row = lambda one=one: [draw(one) for _ in range(shape.d_model)]  # noqa: E731
                node[key] = draw(floats) if one is None else [row() for _ in range(size[0])] if size else row()
    return data


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_file_read_and_written_again_is_the_same_to_the_byte(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shape = data.draw(st.sampled_from(SHAPES[:3]))
    path = saved(tmp_path_factory.mktemp("eap") / "graph.json", entries(shape, data.draw))
    assert eap_ig.to_json(eap_ig.load(path)).encode() == path.read_bytes()


def test_special_numbers_survive(tmp_path: Path) -> None:
    special = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308, 0.1, -2.5e-310]
    path = saved(tmp_path / "g.json", theirs(1, 2, False, lambda i: special[i % len(special)]))
    graph = eap_ig.load(path)
    assert graph.scores is not None
    assert bits(graph.scores) == bits([special[i % len(special)] for i in range(13)])
    assert eap_ig.to_json(graph) == path.read_text()


def test_a_file_without_scores_stays_without(tmp_path: Path) -> None:
    data = theirs(1, 2, False)
    for entry in data["edges"].values():
        del entry["score"]
    graph = eap_ig.load(saved(tmp_path / "g.json", data))
    assert graph.scores is None and eap_ig.to_json(graph) == json.dumps(data)
    assert len(graph.edges) == 5


Change = Callable[[dict[str, Any]], Any]


def _drop(*where: str) -> Change:
    def change(data: dict[str, Any]) -> None:
        for key in where[:-1]:
            data = data[key]
        del data[where[-1]]

    return change


def _put(value: Any, *where: str) -> Change:
    def change(data: dict[str, Any]) -> None:
        for key in where[:-1]:
            data = data[key]
        data[where[-1]] = value

    return change


def _rename(data: dict[str, Any]) -> None:
    data["edges"]["pos_embed->m0"] = data["edges"].pop("input->m0")


MALFORMED: list[tuple[Change, str]] = [
    (_drop("cfg"), "has no 'cfg'"),
    (_put(1, "extra"), "unknown key 'extra'"),
    (_put(1, "cfg", "d_mlp"), "cfg has the unknown key 'd_mlp'"),
    (_drop("cfg", "d_model"), "cfg has no 'd_model'"),
    (_put(0, "cfg", "n_layers"), "n_layers is 0"),
    (_put(True, "cfg", "n_heads"), "n_heads is True"),
    (_put(2.0, "cfg", "n_heads"), "n_heads is 2.0"),
    (_put("no", "cfg", "parallel_attn_mlp"), "parallel_attn_mlp is 'no'"),
    (_put(True, "cfg", "parallel_attn_mlp"), "13 edges, which is not the number"),
    (_put(10**12, "cfg", "n_layers"), "13 edges, which is not the number"),
    (_drop("edges", "input->m0"), "12 edges, which is not the number"),
    (_rename, "unknown edge 'pos_embed->m0'"),
    (_put([], "edges"), "must be objects"),
    (_put(1, "edges", "input->m0"), "edge input->m0 is 1; expected an object"),
    (_put({"score": 1.0}, "edges", "input->m0"), "has no 'in_graph'"),
    (_put({"in_graph": True}, "edges", "input->m0"), "input->m0 has no score and others have"),
    (_put(1, "edges", "input->m0", "in_graph"), "in_graph is 1; expected true or false"),
    (_put("1", "edges", "input->m0", "score"), "score is '1'; expected a number"),
    (_put(None, "edges", "input->m0", "score"), "score is None"),
    (_put(2**53 + 1, "edges", "input->m0", "score"), "float64 cannot hold"),
    (_put(10**400, "edges", "input->m0", "score"), "float64 cannot hold"),
    (_put("x", "edges", "input->m0", "label"), "unknown key 'label'"),
    (_drop("nodes", "m0"), "node 'm0' is missing"),
    (_put({"in_graph": True}, "nodes", "m1"), "node 'm1' is unknown"),
    (_put({"in_graph": True, "x": 1}, "nodes", "m0"), "node m0 has the unknown key 'x'"),
    (_put({"in_graph": True, "neurons": [True]}, "nodes", "m0"), "neurons is no list of the right size"),
    (_put({"in_graph": True, "neurons": [[True] * 2] * 2}, "nodes", "m0"), "neurons is no list of the right size"),
    (_put({"in_graph": True, "neurons": [1.0, 2.0]}, "nodes", "m0"), "expected true or false"),
    (_put({"in_graph": True, "neurons_scores": [[1.0], [1.0, 2.0]]}, "nodes", "a0.h0"), "no list of the right size"),
    (_put({"in_graph": True, "neurons_scores": ["a", 2.0]}, "nodes", "m0"), "neurons_scores is 'a'"),
]


@pytest.mark.parametrize(("change", "message"), MALFORMED, ids=[m for _, m in MALFORMED])
def test_a_malformed_file_is_refused_by_name(change: Change, message: str, tmp_path: Path) -> None:
    data = theirs(1, 2, False)
    eap_ig.load(saved(tmp_path / "good.json", data))
    change(data)
    with pytest.raises(InterchangeError) as caught:
        eap_ig.load(saved(tmp_path / "bad.json", data))
    assert message in str(caught.value) and "bad.json" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"cfg": 1, "cfg": 2}', "'cfg' is given twice"),
        (b"[" * 100_000, "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "expected an object"),
        (b'{"cfg": 1e999}', "too large"),
    ],
)
def test_text_that_is_no_such_json_is_refused(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(text)
    with pytest.raises(InterchangeError, match=message):
        eap_ig.load(path)


# ---------------------------------------------------------------- EAP-IG: our values


@settings(max_examples=40, deadline=None)
@given(data=st.data(), sign=st.sampled_from([1, -1]), with_circuit=st.booleans())
def test_scores_and_circuit_come_back_with_every_bit(
    data: st.DataObject, sign: int, with_circuit: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shape = data.draw(st.sampled_from(SHAPES[:2]))
    values = data.draw(st.lists(finite, min_size=shape.n_edges, max_size=shape.n_edges))
    scores = edge_scores(shape, values, importance_sign=sign, model=data.draw(st.text()))
    order = data.draw(st.permutations(scores.parts))
    circuit = edge_circuit(tuple(order[: data.draw(st.integers(0, 5))])) if with_circuit else None
    path = tmp_path_factory.mktemp("eap") / "graph.json"
    write(Contents(scores, circuit), path, "eap-ig", shape=shape)
    found = read(path)
    assert same(found.scores, scores) and found.circuit == circuit and not found.notes
    file = json.loads(path.read_text())["edges"]
    named = {eap_ig.edge_name(edge): value for edge, value in zip(scores.parts, scores.importance, strict=True)}
    assert bits([file[name]["score"] for name in named]) == bits(list(named.values()))


def test_a_circuit_alone_keeps_its_order_and_has_no_scores(tmp_path: Path) -> None:
    circuit = edge_circuit((parse_edge("m0->logits"), parse_edge("embed->a0.h1<v>"), parse_edge("a0.h1->m0")))
    write(circuit, tmp_path / "c.json", "eap-ig", shape=SMALL)
    assert read(tmp_path / "c.json") == Contents(None, circuit)
    nodes = json.loads((tmp_path / "c.json").read_text())["nodes"]
    inside = [name for name, entry in nodes.items() if entry["in_graph"]]
    assert inside == ["input", "a0.h1", "m0", "logits"]


def test_without_provenance_a_file_says_what_is_unknown(tmp_path: Path) -> None:
    path = saved(tmp_path / "g.json", theirs(1, 2, False, lambda i: (-1.0) ** i * i))
    found = read(path)
    assert found.scores is not None and found.circuit is not None
    assert found.scores["m0->logits"] == 12.0 and found.scores["embed->a0.h0<k>"] == -1.0
    assert found.scores.importance.tolist() == found.scores.mean.tolist()
    assert [edge.name for edge in found.circuit.edges[:2]] == ["m0->logits", "embed->logits"]
    assert len(found.circuit) == 5
    p = found.scores.provenance
    assert {p.method, p.direction, p.ablation, p.metric, p.unit} == {"unknown"} and math.isnan(p.base_metric)
    assert "direction, ablation" in found.notes[0]


def test_scores_of_zero_with_edges_chosen_are_no_scores(tmp_path: Path) -> None:
    assert read(saved(tmp_path / "g.json", theirs(1, 2, False, lambda _: 0.0))).scores is None


def test_scores_that_are_not_finite_are_refused_and_the_file_is_still_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "g.json", theirs(1, 2, False, lambda i: math.nan if i == 6 else 1.0))
    with pytest.raises(InterchangeError, match=r"edge embed->m0 has the score nan \(1 such edges\)"):
        read(path)
    assert eap_ig.load(path).scores is not None


def test_a_file_changed_since_its_provenance_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.json"
    write(edge_scores(SMALL), path, "eap-ig", shape=SMALL)
    path.write_text(path.read_text().replace('"in_graph": false', '"in_graph": true', 1))
    with pytest.raises(InterchangeError, match="changed since"):
        read(path)
    (tmp_path / "g.provenance.json").unlink()
    assert read(path).notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_put(2, "format"), "format 2"),
        (_put(1, "extra"), "unknown key 'extra'"),
        (_put(1, "files", "g.json", "extra"), "unknown key 'extra'"),
        (_drop("files", "g.json", "scores", "direction"), "has no 'direction'"),
        (_put(1, "files", "g.json", "scores", "mood"), "unknown key 'mood'"),
        (_put(3, "files", "g.json", "scores", "importance_sign"), "importance_sign is 3"),
        (_put(["m0->m0<q>"], "files", "g.json", "circuit", "edges"), "not one of ours"),
        (_put([], "files", "g.json", "circuit", "edges"), "another circuit"),
        (_put(7, "files", "g.json", "circuit"), "not one of ours"),
    ],
)
def test_a_malformed_provenance_is_refused(change: Change, message: str, tmp_path: Path) -> None:
    circuit = edge_circuit((parse_edge("m0->logits"),))
    write(Contents(edge_scores(SMALL), circuit), tmp_path / "g.json", "eap-ig", shape=SMALL)
    beside = tmp_path / "g.provenance.json"
    data = json.loads(beside.read_text())
    change(data)
    saved(beside, data)
    with pytest.raises(InterchangeError, match=message):
        read(tmp_path / "g.json")


def _grouped() -> Scores:
    graph = Graph(1, 2, 1, (False,))
    return Scores(graph.edges, np.ones((1, len(graph.edges))), provenance(kv="shared"))


def _at_positions() -> Scores:
    parts = tuple(SMALL.graph.at_positions([0, 1]))
    return Scores(parts, np.ones((1, len(parts))), provenance(positions="each"))


def _split() -> Scores:
    graph = Graph(1, 2, 2, (False,), split_positions=True)
    return Scores(graph.edges, np.ones((1, len(graph.edges))), provenance(split_positions=True))


CANNOT = [
    (_grouped, r"a0.kv0<k>: a K/V reader .* kv='split'"),
    (_at_positions, "no positions"),
    (_split, "pos_embed"),
    (lambda: Scores((Node("mlp", 0),), np.ones((1, 1)), provenance(level="heads")), "level 'heads' given"),
    (lambda: edge_scores(SMALL).select_components({"m0->logits"}), "1 of 13 edges are scored, embed->a0.h0<q> is not"),
    (lambda: edge_scores(Shape(2, 2, False, 3)), "is no edge of a model with 1 layers"),
    (lambda: edge_scores(Shape(1, 2, True, 3)), "11 of 13 edges are scored, a0.h0->m0 is not"),
]


@pytest.mark.parametrize(("make", "message"), CANNOT, ids=[m for _, m in CANNOT])
def test_what_the_format_cannot_hold_is_refused(make: Callable[[], Scores], message: str, tmp_path: Path) -> None:
    with pytest.raises(InterchangeError, match=message):
        write(make(), tmp_path / "g.json", "eap-ig", shape=SMALL)
    assert not list(tmp_path.iterdir())


def test_a_model_with_parallel_layers_and_others_has_no_shape() -> None:
    layout = hooked("gpt2").layout
    first = dataclasses.replace(layout.blocks[0], parallel=True)
    with pytest.raises(InterchangeError, match="one or the other"):
        Shape.of(dataclasses.replace(layout, blocks=(first, *layout.blocks[1:])))


# ---------------------------------------------------------------- MIB


def test_a_submission_of_scores_comes_back(tmp_path: Path) -> None:
    pairs = {"ioi_gpt2": Contents(edge_scores(SMALL)), "arc-easy_llama3": Contents(edge_scores(SHAPES[3]))}
    shapes = {"ioi_gpt2": SMALL, "arc-easy_llama3": SHAPES[3]}
    paths = write_submission(tmp_path / "mine", pairs, shapes)
    assert sorted(str(p.relative_to(tmp_path)) for p in paths) == [
        "mine.provenance.json",
        "mine/arc-easy_llama3/importances.json",
        "mine/ioi_gpt2/importances.json",
    ]
    found = read_all(tmp_path / "mine")
    assert found.keys() == pairs.keys() and all(same(found[k].scores, pairs[k].scores) for k in pairs)
    assert [e.kind for e in read_submission(tmp_path / "mine").values()] == ["scores", "scores"]


@pytest.mark.parametrize("ranking", ["signed", "absolute"])
def test_circuits_of_nine_sizes_are_tops_of_the_ranking(ranking: Any, tmp_path: Path) -> None:
    shape = SHAPES[3]
    scores = edge_scores(shape, importance_sign=-1)
    write_submission(tmp_path / "s", {"t_m": Contents(scores)}, {"t_m": shape}, kind="circuits", ranking=ranking)
    folder = tmp_path / "s" / "t_m"
    shares = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50]
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{x:g}.json" for x in shares)
    key = -scores.mean if ranking == "signed" else np.abs(scores.mean)
    best = [scores.parts[i] for i in np.argsort(-key, kind="stable")]
    for share in shares:
        data = json.loads((folder / f"{share:g}.json").read_text())
        inside = {name for name, entry in data["edges"].items() if entry["in_graph"]}
        n = math.floor(shape.n_edges * share / 100 + 1e-9)
        assert inside == {eap_ig.edge_name(edge) for edge in best[:n]}
        assert all("score" not in entry for entry in data["edges"].values())
        found = read_all(tmp_path / "s")[f"t_m/{share:g}"]
        assert found.scores is None and found.circuit is not None and found.circuit.edges == tuple(best[:n])


def _submission(tmp_path: Path, kind: Any = "circuits") -> Path:
    path = tmp_path / "s"
    write_submission(path, {"t_m": Contents(edge_scores(SHAPES[3]))}, {"t_m": SHAPES[3]}, kind=kind)
    return path


def _too_large(path: Path) -> None:
    file = path / "t_m" / "0.1.json"
    file.write_text(file.read_text().replace('"in_graph": false', '"in_graph": true'))


def _other_shape(path: Path) -> None:
    saved(path / "t_m" / "0.1.json", theirs(1, 2, False))


BROKEN: list[tuple[Callable[[Path], Any], str]] = [
    (lambda p: (p / "notes.txt").write_text("x"), "is a file; expected only folders"),
    (lambda p: (p / "nounderscore").mkdir(), "expected TASK_MODEL"),
    (lambda p: (p / "t_m").rename(p / "t m_x"), "expected TASK_MODEL"),
    (lambda p: (p / "t_m" / "x.pt").write_text("x"), ".pt files can run code"),
    (lambda p: (p / "t_m" / "5.json").unlink(), "holds 8 files"),
    (lambda p: (p / "t_m" / "5.json").write_text("{}"), "5.json' has no 'cfg'"),
    (_too_large, "of 100 edges; expected one of at most each of 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50 %"),
    (_other_shape, "different shapes"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[m for _, m in BROKEN])
def test_a_broken_submission_is_refused(change: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    path = _submission(tmp_path)
    read_submission(path)
    change(path)
    with pytest.raises(InterchangeError, match=message):
        read_submission(path)


def test_a_tenth_circuit_has_all_edges_or_none(tmp_path: Path) -> None:
    path = _submission(tmp_path)
    for value in ("true", "false"):
        text = (path / "t_m" / "50.json").read_text()
        text = text.replace('"in_graph": false', f'"in_graph": {value}').replace(
            '"in_graph": true', f'"in_graph": {value}'
        )
        (path / "t_m" / "tenth.json").write_text(text)
        assert len(read_submission(path)["t_m"].graphs) == 10


def test_a_submission_wants_scores_and_names(tmp_path: Path) -> None:
    circuit = Contents(circuit=edge_circuit((parse_edge("m0->logits"),)))
    for pairs, message in [
        ({"t_m": circuit}, "circuit without scores"),
        ({"../t_m": circuit}, "expected TASK_MODEL"),
        ({"plain": circuit}, "expected TASK_MODEL"),
    ]:
        with pytest.raises(InterchangeError, match=message):
            write_submission(tmp_path / "x", pairs, {"t_m": SMALL})
    with pytest.raises(InterchangeError, match="unknown kind"):
        write_submission(tmp_path / "x", {}, {}, kind="best")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_force_replaces_a_submission_and_nothing_else(tmp_path: Path) -> None:
    path = _submission(tmp_path)
    pairs, shapes = {"a_b": Contents(edge_scores(SMALL))}, {"a_b": SMALL}
    with pytest.raises(InterchangeError, match="exists"):
        write_submission(path, pairs, shapes)
    write_submission(path, pairs, shapes, force=True)
    assert [p.name for p in path.iterdir()] == ["a_b"]
    (path / "letter.txt").write_text("mine")
    with pytest.raises(InterchangeError, match="is a file"):
        write_submission(path, pairs, shapes, force=True)
    assert (path / "letter.txt").read_text() == "mine"


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
    return [*plain, Contents(_grouped()), Contents(_at_positions()), Contents(_split()), node_contents()]


@pytest.mark.parametrize("contents", all_contents(), ids=range(8))
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


# ---------------------------------------------------------------- the registry and the jobs


@pytest.mark.parametrize("name", FORMATS)
def test_no_format_overwrites_unasked_or_leaves_half_a_file(name: str, tmp_path: Path) -> None:
    out = tmp_path / f"x{FORMATS[name].extension}"
    scores = edge_scores(SMALL)
    paths = write(scores, out, name, shape=SMALL)
    before = {p: p.read_bytes() for p in paths}
    with pytest.raises(InterchangeError, match="exists"):
        write(edge_scores(SMALL, [1.0] * 13), out, name, shape=SMALL)
    assert {p: p.read_bytes() for p in paths} == before
    write(edge_scores(SMALL, [1.0] * 13), out, name, shape=SMALL, force=True)
    assert before != {p: p.read_bytes() for p in paths}
    left = {p for p in tmp_path.rglob("*") if p.is_file()}
    assert left == set(paths)
    if FORMATS[name].needs_shape:
        with pytest.raises(InterchangeError, match="needs the shape"):
            write(scores, tmp_path / "other", name)
    with pytest.raises(InterchangeError, match="does not exist; make it"):
        write(scores, tmp_path / "none" / "x", name, shape=SMALL)


def test_unknown_formats_files_and_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InterchangeError, match=r"unknown format 'graphm'\. Did you mean graphml"):
        write(edge_scores(SMALL), tmp_path / "x", "graphm")
    (tmp_path / "x.xyz").write_text("")
    with pytest.raises(InterchangeError, match="cannot be told from its name"):
        read(tmp_path / "x.xyz")
    with pytest.raises(InterchangeError, match="does not exist"):
        read(tmp_path / "nothing.json")
    with pytest.raises(InterchangeError, match="expected Scores"):
        write(3, tmp_path / "x", "dot")  # type: ignore[arg-type]
    with pytest.raises(InterchangeError, match="neither scores nor a circuit"):
        Contents()
    with pytest.raises(InterchangeError, match=r"m9->logits for one"):
        Contents(edge_scores(SMALL), edge_circuit((parse_edge("m9->logits"),)))


def test_export_and_import_of_files(tmp_path: Path) -> None:
    model = hooked("gpt2")
    model.hf.save_pretrained(tmp_path / "model")
    shape = Shape.of(model.layout)
    scores = edge_scores(shape, model=str(tmp_path / "model"))
    circuit = edge_circuit(scores.parts[4:1:-1], model=str(tmp_path / "model"))
    scores.save(tmp_path / "scores.parquet")
    circuit.save(tmp_path / "circuit.json")
    assert export(tmp_path / "circuit.json", "graphml", tmp_path / "c.graphml") == [tmp_path / "c.graphml"]
    export(tmp_path / "scores.parquet", "eap-ig", tmp_path / "s.json")
    export(tmp_path / "scores.parquet", "mib-circuits", tmp_path / "sub")
    assert import_file(tmp_path / "c.graphml", tmp_path / "a") == ([tmp_path / "a" / "circuit.json"], [])
    assert Circuit.load(tmp_path / "a" / "circuit.json") == circuit
    import_file(tmp_path / "s.json", tmp_path / "b")
    assert same(Scores.load(tmp_path / "b" / "scores.parquet"), scores)
    with pytest.raises(InterchangeError, match="exists"):
        import_file(tmp_path / "s.json", tmp_path / "b")
    import_file(tmp_path / "sub", tmp_path / "d")
    assert len(list((tmp_path / "d").rglob("circuit.json"))) == 9


def test_a_run_directory_is_exported(tmp_path: Path) -> None:
    model = hooked("gpt2")
    model.hf.save_pretrained(tmp_path / "model")
    shape = Shape.of(model.layout)
    scores = Scores(shape.graph.edges, np.random.default_rng(2).normal(size=(3, shape.n_edges)), provenance())
    circuit = edge_circuit(scores.parts[3:6])
    manifest = {"options": {"model": str(tmp_path / "model")}}
    with runs.open_run(tmp_path / "run", manifest) as folder:
        runs.save_record(folder, Record(manifest, (scores,), circuit=circuit))
        with pytest.raises(InterpError, match="not complete"):
            export(folder, "parquet", tmp_path / "x.parquet")
        runs.complete(folder, runs.finished(manifest))
    for name, out in (("eap-ig", "x.json"), ("parquet", "x.parquet"), ("mib", "sub")):
        export(tmp_path / "run", name, tmp_path / out)
        found = read(tmp_path / out)
        assert same(found.scores, scores)
        assert found.circuit == (None if name == "mib" else circuit)
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["t_tiny"]


def test_export_names_what_it_cannot_use(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(InterchangeError, match="expected a run directory"):
        export(tmp_path / "x.txt", "dot", tmp_path / "o.dot")
    edge_scores(SMALL, model="no-such").save(tmp_path / "s.parquet")
    with pytest.raises(InterchangeError, match="needs the shape of model 'no-such'"):
        export(tmp_path / "s.parquet", "eap-ig", tmp_path / "o.json")
    with pytest.raises(InterpError, match="manifest"):
        export(tmp_path, "dot", tmp_path / "o.dot")
    assert not (tmp_path / "o.json").exists() and not (tmp_path / "o.dot").exists()


def test_what_import_does_not_know_is_said(tmp_path: Path) -> None:
    path = saved(tmp_path / "g.json", theirs(1, 2, False))
    paths, notes = import_file(path, tmp_path / "out")
    assert [p.name for p in paths] == ["scores.parquet", "circuit.json"] and "unknown" in notes[0]
    assert Scores.load(paths[0]).provenance.method == eap_contents.UNKNOWN
