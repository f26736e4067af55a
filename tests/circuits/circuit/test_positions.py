"""Circuits of edges at positions as values: selection, paths through positions against networkx, algebra, files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuits.circuit.algebra import compare, complement, difference, intersection, union
from circuits.circuit.circuit import Circuit, CircuitError
from circuits.circuit.connect import prune
from circuits.circuit.selection import discover, is_top, order_of
from interp.parts.graph import Edge, Graph, parse_edge
from interp.parts.nodes import Node
from interp.scores.scores import Scores
from tests.circuits.circuit.test_selection import GRAPHS, PLAIN, SHARED, heads_of, names, scores_of

LABELS: dict[str, tuple[int | str, ...]] = {
    "each": (0, 1, 2),
    "end": ("rest", -2, -1),
    "spans": ("subject", "verb", "rest"),
}


def scores_at(graph: Graph, positions: str, seed: int) -> Scores:
    """Whole numbers for every edge at every position."""
    parts = tuple(graph.at_positions(LABELS[positions]))
    values = np.random.default_rng(seed).integers(-9, 10, (2, len(parts))).astype(float)
    provenance = scores_of(graph, np.zeros(len(graph.edges)), positions=positions).provenance
    return Scores(parts, values, provenance)


def circuit_at(graph: Graph, positions: str, edges: Any) -> Circuit:
    return Circuit(
        tuple(edges), "edges", "m", "t", "hand", "by hand", (), graph.kv, graph.split_positions,
        positions=positions, labels=LABELS[positions],
    )  # fmt: skip


def wiring_at(edges: list[Edge], graph: Graph, labels: tuple[int | str, ...]) -> nx.DiGraph:
    """Every reader and every output at every position as a vertex; attention links a key's position to all behind it."""
    wired = nx.DiGraph()
    wired.add_nodes_from(f"{end}@{p}" for end in ("from embed", "from pos_embed", "to logits") for p in labels)
    wired.add_edges_from((f"from {e.sender.name}@{e.position}", f"to {e.receiver.name}@{e.position}") for e in edges)
    for reader in graph.readers[:-1]:
        for head in heads_of(reader, graph):
            for there in labels:
                for here in labels:
                    numbers = isinstance(here, int) and isinstance(there, int)
                    looks = not numbers or here >= there  # type: ignore[operator]
                    if looks if reader.kind in ("k", "v") else here == there:
                        wired.add_edge(f"to {reader.name}@{there}", f"from {head}@{here}")
    return wired


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 60),
    which=st.sampled_from(sorted(GRAPHS)),
    positions=st.sampled_from(sorted(LABELS)),
)
@settings(max_examples=80, deadline=None)
def test_prune_equals_reachability_through_positions(seed: int, n: int, which: str, positions: str) -> None:
    graph, labels = GRAPHS[which], LABELS[positions]
    every = graph.at_positions(labels)
    edges = [every[i] for i in np.random.default_rng(seed).permutation(len(every))[:n]]
    wired = wiring_at(edges, graph, labels)
    starts = [f"from {e}@{p}" for e in ("embed", "pos_embed") for p in labels]
    fed = set(starts).union(*(nx.descendants(wired, s) for s in starts))
    ends = [f"to logits@{p}" for p in labels]
    heard = set(ends).union(*(nx.ancestors(wired, e) for e in ends))
    kept = [
        e
        for e in edges
        if f"from {e.sender.name}@{e.position}" in fed and f"to {e.receiver.name}@{e.position}" in heard
    ]
    circuit = circuit_at(graph, positions, edges)
    if not kept:
        with pytest.raises(CircuitError, match="no path"):
            prune(circuit, graph)
        return
    assert list(prune(circuit, graph).parts) == kept


def test_prune_by_hand_at_positions() -> None:
    """Keys move what they read to later positions; queries and MLPs do not; nothing moves back."""
    kept = ["embed->a0.h0<k>@0", "a0.h0->m1@2", "m1->logits@2"]
    lost = ["embed->a0.h1<q>@0", "a0.h1->m2@1", "embed->a1.h0<v>@2", "a1.h0->logits@1"]
    found = prune(circuit_at(PLAIN, "each", map(parse_edge, [*kept, *lost])))
    assert names(found) == kept


@given(
    seed=st.integers(0, 10**6),
    positions=st.sampled_from(sorted(LABELS)),
    ranking=st.sampled_from(["absolute", "signed"]),
)
@settings(max_examples=25, deadline=None)
def test_greedy_takes_the_best_edge_into_what_is_in(seed: int, positions: str, ranking: Any) -> None:
    """The definition, step by step: an edge can be taken where its reader's link leads to an output that is in."""
    scores, labels = scores_at(SHARED, positions, seed), LABELS[positions]
    importance = scores.importance if ranking == "signed" else np.abs(scores.importance)
    wired = wiring_at([], SHARED, labels)
    inside, taken, left = {f"to logits@{p}" for p in labels}, list[str](), list(range(len(scores.parts)))
    for _ in range(12):
        reader = {i: f"to {scores.edges[i].receiver.name}@{scores.edges[i].position}" for i in left}
        able = [i for i in left if reader[i] in inside or (reader[i] in wired and inside & set(wired[reader[i]]))]
        best = max(able, key=lambda i: (importance[i], -i))
        edge = scores.edges[best]
        inside.add(f"from {edge.sender.name}@{edge.position}")
        taken.append(edge.name)
        left.remove(best)
    assert names(discover(scores, n=12, ranking=ranking, algorithm="greedy")) == taken


@pytest.mark.parametrize("positions", LABELS)
def test_a_circuit_says_which_positions_it_is_of(positions: str, tmp_path: Path) -> None:
    scores = scores_at(PLAIN, positions, 0)
    a, b = discover(scores, n=9), discover(scores, n=20, ranking="signed")
    assert (a.positions, a.labels) == (positions, LABELS[positions]) and len(a) == 9
    a.save(tmp_path / "c.json")
    assert Circuit.load(tmp_path / "c.json") == a
    assert set(union(a, b).parts) == {*a.parts, *b.parts}
    assert set(intersection(a, b).parts) == {*a.parts} & {*b.parts}
    assert (
        set(complement(a, PLAIN).parts)
        == {*scores.parts} - {*a.parts}
        == {*difference(b, a).parts} | ({*scores.parts} - {*a.parts, *b.parts})
    )
    assert compare(a, b).parts.both == len({*a.parts} & {*b.parts})
    assert is_top(a, scores) and order_of(a, scores)[9:] == [p for p in order_of(a, scores) if p not in a.parts]
    whole = scores_of(PLAIN, np.arange(len(PLAIN.edges)))
    assert not order_of(a, whole)[9:], "scores of edges at all positions do not rank those at each"
    with pytest.raises(CircuitError, match="the same positions"):
        union(a, discover(whole, n=3))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"positions": "all"}, "with 3 labels"),
        ({"labels": ()}, "with 0 labels"),
        ({"positions": "some"}, "expected all, each, end, spans"),
        ({"labels": (1, 2, 3)}, "is at position 0; expected one of 1, 2, 3"),
        ({"labels": (0, 1, "7")}, "'7': a span with this name would be read as a number"),
        ({"level": "heads", "parts": (Node("mlp", 0),)}, "circuits at positions are those of edges"),
        ({"positions": "all", "labels": ()}, "at all positions together"),
    ],
)
def test_positions_that_do_not_fit_are_refused(changes: dict[str, Any], says: str) -> None:
    found = circuit_at(PLAIN, "each", [dataclasses.replace(PLAIN.edges[0], position=0)])
    with pytest.raises(CircuitError, match=says):
        dataclasses.replace(found, **changes)
