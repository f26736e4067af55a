"""Circuits as sets: the laws of sets, what is kept of two circuits, and comparison against counting by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuits.circuit.algebra import compare, complement, difference, intersection, union
from circuits.circuit.circuit import Circuit, CircuitError
from interp.parts.graph import Graph, parse_edge
from interp.parts.nodes import Node

GRAPH = Graph(2, 4, 2, (False, True))
HEADS = tuple(w for w in GRAPH.writers if w.kind != "embed")


def circuit_of(parts: Any, level: str = "edges", **changes: Any) -> Circuit:
    return replace(Circuit(tuple(parts), level, "m", "t", "hand", "by hand"), **changes)


def edges(*names: str) -> Circuit:
    return circuit_of(map(parse_edge, names))


pools = st.sampled_from([(GRAPH.edges, "edges"), (HEADS, "heads")])


@st.composite
def circuits(draw: Any, number: int) -> list[Circuit]:
    pool, level = draw(pools)
    subsets = st.lists(st.sampled_from(pool), unique=True, max_size=12)
    return [circuit_of(draw(subsets), level) for _ in range(number)]


@given(circuits(3))
@settings(max_examples=60, deadline=None)
def test_the_laws_of_sets(found: list[Circuit]) -> None:
    a, b, c = found
    for function, sets in (
        (union, frozenset.union),
        (intersection, frozenset.intersection),
        (difference, frozenset.difference),
    ):
        assert frozenset(function(a, b).parts) == sets(frozenset(a.parts), frozenset(b.parts))
    assert union(union(a, b), c).parts == union(a, union(b, c)).parts
    assert frozenset(complement(union(a, b), GRAPH)) == frozenset(
        intersection(complement(a, GRAPH), complement(b, GRAPH))
    )
    assert difference(a, b).parts == intersection(a, complement(b, GRAPH)).parts
    assert frozenset(union(difference(a, b), intersection(a, b))) == frozenset(a)


@given(circuits(2))
@settings(max_examples=60, deadline=None)
def test_order_is_that_of_the_first_then_the_second(found: list[Circuit]) -> None:
    a, b = found
    both = union(a, b).parts
    assert both[: len(a)] == a.parts
    assert list(both[len(a) :]) == [p for p in b.parts if p not in a.parts]
    assert list(intersection(a, b).parts) == [p for p in a.parts if p in b.parts]
    assert list(difference(a, b).parts) == [p for p in a.parts if p not in b.parts]


@given(circuits(1))
@settings(max_examples=30, deadline=None)
def test_a_circuit_and_its_complement_are_the_whole(found: list[Circuit]) -> None:
    rest = complement(found[0], GRAPH)
    whole = GRAPH.edges if found[0].level == "edges" else HEADS
    assert list(rest.parts) == [p for p in whole if p not in found[0].parts]


def test_what_is_said_of_two_circuits() -> None:
    a = replace(edges("embed->m0"), scored_pairs=("1", "2"), task="ioi", method="eap", selection="n=1")
    b = replace(edges("m0->logits"), scored_pairs=("2", "3"), task="greater", method="eap", selection="n=2")
    both = union(a, b)
    assert (both.task, both.method, both.scored_pairs) == ("ioi and greater", "eap", ("1", "2", "3"))
    assert both.selection == "union of (n=1) with (n=2)"
    assert difference(a, b).selection == "difference of (n=1) without (n=2)"
    assert complement(a, GRAPH).selection == "complement of (n=1)"


@pytest.mark.parametrize("function", [union, intersection, difference, compare])
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "other"}, "model='m' and model='other'"),
        ({"kv": "split"}, "kv='shared' and kv='split'"),
        ({"split_positions": True}, "split_positions=False and split_positions=True"),
        ({"level": "heads", "parts": (Node("mlp", 0),)}, "level='edges' and level='heads'"),
    ],
)
def test_circuits_that_do_not_fit_are_refused(function: Any, changes: dict[str, Any], says: str) -> None:
    a = edges("embed->m0", "embed->a1.kv0<k>")
    with pytest.raises(CircuitError, match=says):
        function(a, replace(a, **changes))


def test_complement_refuses_another_graph_and_neurons() -> None:
    with pytest.raises(CircuitError, match="not in this graph"):
        complement(edges("a7.h0->logits"), GRAPH)
    with pytest.raises(CircuitError, match="split_positions=True"):
        complement(edges("embed->m0"), replace(GRAPH, split_positions=True))
    with pytest.raises(CircuitError, match="neurons"):
        complement(circuit_of([Node("neuron", 0, 1)], "neurons"), GRAPH)
    blocks = complement(circuit_of([Node("attn_out", 1)], "blocks"), GRAPH)
    assert [p.name for p in blocks] == ["attn_out.0", "m0", "m1"]


def test_compare_by_hand() -> None:
    a = edges("embed->a0.h1<q>", "a0.h1->a1.kv0<v>", "a1.h0->logits", "embed->m0")
    b = edges("a1.h0->logits", "embed->a0.h1<q>", "m0->logits", "embed->a0.h2<q>", "embed->a0.h3<q>")
    found = compare(a, b)
    assert (found.size_a, found.size_b, found.parts.both, found.jaccard) == (4, 5, 2, 2 / 7)
    kinds = {o.name: (o.only_a, o.only_b, o.both) for o in found.kinds}
    assert kinds == {
        "embed->q": (0, 2, 1),
        "head->v": (1, 0, 0),
        "head->logits": (0, 0, 1),
        "embed->mlp": (1, 0, 0),
        "mlp->logits": (0, 1, 0),
    }
    by_node = {o.name: (o.only_a, o.only_b, o.both) for o in found.by_node}
    assert by_node["embed"] == (1, 2, 1) and by_node["a0.h1"] == (1, 0, 1) and by_node["logits"] == (0, 1, 1)
    assert [n.name for n in found.both] == ["embed", "a0.h1", "a1.h0", "logits", "m0"]
    assert [n.name for n in found.only_a] == ["a1.kv0<v>"]
    assert [n.name for n in found.only_b] == ["a0.h2", "a0.h3"]
    assert "Jaccard 0.286" in str(found) and "nodes only in b: a0.h2, a0.h3" in str(found)


@given(circuits(2))
@settings(max_examples=60, deadline=None)
def test_comparison_counts_every_part_once_per_kind_and_turns_around(found: list[Circuit]) -> None:
    a, b = found
    one, two = compare(a, b), compare(b, a)
    joined = set(a.parts) | set(b.parts)
    assert one.jaccard == two.jaccard == (len(set(a.parts) & set(b.parts)) / len(joined) if joined else 1.0)
    assert sum(o.only_a + o.both for o in one.kinds) == len(a)
    assert sum(o.only_b + o.both for o in one.kinds) == len(b)
    assert set(one.only_a) == set(two.only_b) == set(a.nodes) - set(b.nodes)
    assert set(one.both) == set(two.both) == set(a.nodes) & set(b.nodes)
    touched = 2 if a.level == "edges" else 1
    assert sum(o.only_a + o.both for o in one.by_node) == touched * len(a)
    table = one.to_pandas()
    everything = table[table["of"] == "all"].iloc[0]
    assert (everything["only_a"], everything["only_b"]) == (len(difference(a, b)), len(difference(b, a)))
    assert set(table[table["of"] == "node"]["name"]) == {n.name for n in (*a.nodes, *b.nodes)}


def test_a_long_listing_says_how_much_it_leaves_out() -> None:
    large = Graph(4, 4, 4, (False,) * 4)
    heads = [w for w in large.writers if w.kind == "head"]
    text = str(compare(circuit_of(heads, "heads"), circuit_of([], "heads")))
    assert "nodes in both: none" in text and text.count("a0.h0") == 1 and "and 4 more" in text
