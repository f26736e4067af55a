"""Other projects' formats: our scores and circuits come back with every bit, and what does not fit is refused."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuits.circuit.circuit import Circuit
from circuits.interchange import (
    FORMATS,
    Contents,
    InterchangeError,
    Shape,
    eap_ig,
    read,
    write,
)
from circuits.report import picture
from interp.parts.graph import parse_edge
from interp.parts.nodes import Node
from interp.scores.scores import Scores
from tests.circuits.interchange.exchanged import (
    SHAPES,
    SMALL,
    Change,
    at_positions,
    bits,
    drop,
    edge_circuit,
    edge_scores,
    finite,
    grouped,
    provenance,
    put,
    same,
    saved,
    split,
    theirs,
)
from tests.interp.model.tiny import hooked

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
        (put(2, "format"), "format 2"),
        (put(1, "extra"), "unknown key 'extra'"),
        (put(1, "files", "g.json", "extra"), "unknown key 'extra'"),
        (drop("files", "g.json", "scores", "direction"), "has no 'direction'"),
        (put(1, "files", "g.json", "scores", "mood"), "unknown key 'mood'"),
        (put(3, "files", "g.json", "scores", "importance_sign"), "importance_sign is 3"),
        (put(["m0->m0<q>"], "files", "g.json", "circuit", "edges"), "not one of ours"),
        (put([], "files", "g.json", "circuit", "edges"), "another circuit"),
        (put(7, "files", "g.json", "circuit"), "not one of ours"),
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


CANNOT = [
    (grouped, r"a0.kv0<k>: a K/V reader .* kv='split'"),
    (at_positions, "no positions"),
    (split, "pos_embed"),
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


# ---------------------------------------------------------------- the registry and the jobs


@pytest.mark.parametrize("name", FORMATS)
def test_no_format_overwrites_unasked_or_leaves_half_a_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / f"x{FORMATS[name].extension}"
    if name == "png":
        monkeypatch.setattr(picture, "as_png", lambda svg, width, height: svg.encode())
    scores: Scores | Circuit = edge_scores(SMALL)
    others: Scores | Circuit = edge_scores(SMALL, [1.0] * 13)
    if name == "html":
        scores, others = (edge_circuit(tuple(map(parse_edge, names))) for names in (["m0->logits"], ["embed->m0"]))
    paths = write(scores, out, name, shape=SMALL)
    before = {p: p.read_bytes() for p in paths}
    with pytest.raises(InterchangeError, match="exists"):
        write(others, out, name, shape=SMALL)
    assert {p: p.read_bytes() for p in paths} == before
    write(others, out, name, shape=SMALL, force=True)
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
