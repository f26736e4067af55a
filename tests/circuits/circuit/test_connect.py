"""How edges hang together: groups of heads, pruning against networkx, lifting a circuit of nodes."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.circuit.connect import group_size, lifted, owners, prune
from circuits.circuit.selection import discover
from interp.parts.graph import Edge, Graph, parse_edge
from interp.parts.nodes import Node
from tests.circuits.circuit.test_selection import (
    GRAPHS,
    PLAIN,
    SHARED,
    SPLIT,
    every_graph,
    heads_of,
    names,
    scores_of,
    wiring,
)


def circuit_of(graph: Graph, edges: Any) -> Circuit:
    return Circuit(tuple(edges), "edges", "m", "t", "hand", "by hand", (), graph.kv, graph.split_positions)


# ---------------------------------------------------------------- groups


@every_graph
def test_group_size_and_owners(graph: Graph) -> None:
    group = 1 if graph.kv == "split" else graph.group
    assert group_size(graph.edges) == group
    for reader in graph.readers:
        assert set(names(owners(reader, group))) == heads_of(reader, graph)


@pytest.mark.parametrize(
    "missing",
    [
        {"a1.h3<q>"},
        {"a0.kv0<v>"},
        {"a1.h2<q>", "a1.h3<q>"},
        {"a0.h0<q>", "a0.h1<q>", "a1.h0<q>", "a1.h1<q>"},
        {"a0.kv1<v>", "a1.kv1<v>"},
        {f"a{layer}.h{head}<q>" for layer in range(2) for head in range(4)},
    ],
)
def test_a_group_is_never_guessed_where_readers_are_missing(missing: set[str]) -> None:
    rest = [e for e in SHARED.edges if e.receiver.name not in missing]
    with pytest.raises(CircuitError, match="readers are missing"):
        group_size(rest)


# ---------------------------------------------------------------- prune


@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), which=st.sampled_from(sorted(GRAPHS)))
@settings(max_examples=120, deadline=None)
def test_prune_equals_reachability_in_networkx(seed: int, n: int, which: str) -> None:
    graph = GRAPHS[which]
    generator = np.random.default_rng(seed)
    edges = [graph.edges[i] for i in generator.permutation(len(graph.edges))[:n]]
    wired = wiring(edges, graph)
    fed = {
        "from embed",
        "from pos_embed",
        *nx.descendants(wired, "from embed"),
        *nx.descendants(wired, "from pos_embed"),
    }
    heard = {"to logits", *nx.ancestors(wired, "to logits")}
    expected = [e for e in edges if f"from {e.sender.name}" in fed and f"to {e.receiver.name}" in heard]
    circuit = circuit_of(graph, edges)
    if not expected:
        with pytest.raises(CircuitError, match="no path"):
            prune(circuit, graph)
        return
    found = prune(circuit, graph)
    assert list(found.parts) == expected
    assert prune(found, graph).parts == found.parts
    values = np.zeros(len(graph.edges))
    values[[graph.index[e] for e in edges]] = np.arange(n, 0, -1)
    assert discover(scores_of(graph, values), n=n, prune=True).parts == found.parts


def test_prune_by_hand() -> None:
    edges = ["embed->a0.h0<q>", "a0.h0->m1", "m1->logits", "embed->a0.h1<v>", "a1.h0->logits", "m0->a1.h1<k>"]
    circuit = circuit_of(PLAIN, map(parse_edge, edges))
    found = prune(circuit)
    assert names(found) == edges[:3]
    assert found.selection == "by hand, pruned to the 3 of 6 edges on a path from embedding to logits"
    with pytest.raises(CircuitError, match="no path from the embedding"):
        prune(circuit_of(PLAIN, circuit.edges[3:]))


def test_prune_needs_the_graph_where_readers_are_shared() -> None:
    circuit = circuit_of(SHARED, map(parse_edge, ["embed->a0.kv1<v>", "a0.h2->logits", "a0.h1->logits"]))
    with pytest.raises(CircuitError, match=r"a0\.kv1<v> is shared"):
        prune(circuit)
    assert names(prune(circuit, SHARED)) == ["embed->a0.kv1<v>", "a0.h2->logits"]
    with pytest.raises(CircuitError, match="kv='shared' and the graph kv='split'"):
        prune(circuit, SPLIT)
    with pytest.raises(CircuitError, match="not in this graph"):
        prune(circuit, Graph(2, 2, 1, (False, False)))
    with pytest.raises(CircuitError, match="circuit of nodes"):
        prune(Circuit((Node("mlp", 0),), "heads", "m", "t", "hand", ""))


# ---------------------------------------------------------------- lifted


def nodes_circuit(level: str, nodes: Any) -> Circuit:
    return Circuit(tuple(nodes), level, "m", "t", "hand", "by hand")


@given(data=st.data(), which=st.sampled_from(sorted(GRAPHS)), level=st.sampled_from(["heads", "blocks"]))
@settings(max_examples=60, deadline=None)
def test_lifted_holds_every_edge_whose_both_ends_are_in(data: Any, which: str, level: str) -> None:
    graph = GRAPHS[which]
    kinds = ("head", "mlp") if level == "heads" else ("attn_out", "mlp")
    layers = range(graph.n_layers)
    every = [Node("mlp", layer) for layer in layers]
    every += [Node(kinds[0], i, h) for i in layers for h in range(graph.n_heads) if level == "heads"]
    every += [Node(kinds[0], i) for i in layers if level == "blocks"]
    chosen = data.draw(st.lists(st.sampled_from(every), unique=True))
    inside = {"embed", "pos_embed", "logits", *names(n for n in chosen if n.kind != "attn_out")}
    inside |= {f"a{n.layer}.h{h}" for n in chosen if n.kind == "attn_out" for h in range(graph.n_heads)}
    expected = [e for e in graph.edges if e.sender.name in inside and heads_of(e.receiver, graph) & inside]
    found = lifted(nodes_circuit(level, chosen), graph)
    assert set(found.parts) == set(expected) and len(found) == len(expected)
    assert (found.level, found.kv, found.split_positions) == ("edges", graph.kv, graph.split_positions)
    for size in range(len(chosen)):
        smaller = lifted(nodes_circuit(level, chosen[:size]), graph)
        assert set(found.parts[: len(smaller)]) == set(smaller.parts)


def test_lifted_refuses_what_has_no_edges() -> None:
    with pytest.raises(CircuitError, match="whole MLPs"):
        lifted(nodes_circuit("neurons", [Node("neuron", 0, 3)]), PLAIN)
    with pytest.raises(CircuitError, match="edges already"):
        lifted(circuit_of(PLAIN, [Edge(Node("embed"), Node("logits"))]), PLAIN)
    with pytest.raises(CircuitError, match=r"a9\.h0 is not in this graph"):
        lifted(nodes_circuit("heads", [Node("head", 9, 0)]), PLAIN)
