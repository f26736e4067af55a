"""EAP-IG files: the same to the byte, and refused by name where malformed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuits.interchange import (
    InterchangeError,
    Shape,
    eap_ig,
)
from interp.parts.graph import Graph
from tests.circuits.interchange.exchanged import SHAPES, SMALL, Change, bits, drop, floats, put, saved, theirs
from tests.interp.model.tiny import hooked

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


def _rename(data: dict[str, Any]) -> None:
    data["edges"]["pos_embed->m0"] = data["edges"].pop("input->m0")


MALFORMED: list[tuple[Change, str]] = [
    (drop("cfg"), "has no 'cfg'"),
    (put(1, "extra"), "unknown key 'extra'"),
    (put(1, "cfg", "d_mlp"), "cfg has the unknown key 'd_mlp'"),
    (drop("cfg", "parallel_attn_mlp"), "cfg has no 'parallel_attn_mlp'"),
    (put(0, "cfg", "d_model"), "d_model is 0"),
    (put(1, "nodes", "m0"), "node m0 is 1; expected an object"),
    (put(1.0, "edges", "input->m0", "in_graph"), "in_graph is 1.0; expected true or false"),
    (put(0, "cfg", "n_layers"), "n_layers is 0"),
    (put(True, "cfg", "n_heads"), "n_heads is True"),
    (put(2.0, "cfg", "n_heads"), "n_heads is 2.0"),
    (put("no", "cfg", "parallel_attn_mlp"), "parallel_attn_mlp is 'no'"),
    (put(True, "cfg", "parallel_attn_mlp"), "13 edges, which is not the number"),
    (put(10**12, "cfg", "n_layers"), "13 edges, which is not the number"),
    (drop("edges", "input->m0"), "12 edges, which is not the number"),
    (_rename, "unknown edge 'pos_embed->m0'"),
    (put([], "edges"), "must be objects"),
    (put(1, "edges", "input->m0"), "edge input->m0 is 1; expected an object"),
    (put({"score": 1.0}, "edges", "input->m0"), "has no 'in_graph'"),
    (put({"in_graph": True}, "edges", "input->m0"), "input->m0 has no score and others have"),
    (put(1, "edges", "input->m0", "in_graph"), "in_graph is 1; expected true or false"),
    (put("1", "edges", "input->m0", "score"), "score is '1'; expected a number"),
    (put(None, "edges", "input->m0", "score"), "score is None"),
    (put(2**53 + 1, "edges", "input->m0", "score"), "float64 cannot hold"),
    (put(10**400, "edges", "input->m0", "score"), "float64 cannot hold"),
    (put("x", "edges", "input->m0", "label"), "unknown key 'label'"),
    (drop("nodes", "m0"), "node 'm0' is missing"),
    (put({"in_graph": True}, "nodes", "m1"), "node 'm1' is unknown"),
    (put({"in_graph": True, "x": 1}, "nodes", "m0"), "node m0 has the unknown key 'x'"),
    (put({"in_graph": True, "neurons": [True]}, "nodes", "m0"), "neurons is no list of the right size"),
    (put({"in_graph": True, "neurons": [[True] * 2] * 2}, "nodes", "m0"), "neurons is no list of the right size"),
    (put({"in_graph": True, "neurons": [1.0, 2.0]}, "nodes", "m0"), "expected true or false"),
    (put({"in_graph": True, "neurons_scores": [[1.0], [1.0, 2.0]]}, "nodes", "a0.h0"), "no list of the right size"),
    (put({"in_graph": True, "neurons_scores": ["a", 2.0]}, "nodes", "m0"), "neurons_scores is 'a'"),
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
