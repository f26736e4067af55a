"""Selections: the registry, counts and thresholds, greedy against a slow second writing."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.circuit.selection import SELECTIONS, discover, get_selection, ranked, selection, selections
from interp.parts.graph import Graph, parse_edge
from interp.parts.nodes import Node
from interp.scores.provenance import Provenance
from interp.scores.scores import ScoreError, Scores

SHARED = Graph(2, 4, 2, (False, False))
SPLIT = Graph(2, 4, 2, (False, False), kv="split")
ONE_KEY = Graph(2, 4, 1, (True, False), split_positions=True)
PLAIN = Graph(3, 2, 2, (False, True, False))
GRAPHS = {"shared": SHARED, "split": SPLIT, "one-key": ONE_KEY, "plain": PLAIN}
every_graph = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)


def scores_of(graph: Graph, values: Any, **changes: Any) -> Scores:
    """Scores of every edge, made by hand. values: [edge]."""
    known = {"level": "edges", "positions": "all", "importance_sign": 1, "method": "hand", "model": "m", "task": "t"}
    known |= {"kv": graph.kv, "split_positions": graph.split_positions, "pairs": ("one", "two"), "both_ways": False}
    every = dict.fromkeys((f.name for f in dataclasses.fields(Provenance)), None)
    return Scores(graph.edges, np.array([values, values], dtype=float), Provenance(**{**every, **known, **changes}))


def random_scores(graph: Graph, seed: int, **changes: Any) -> Scores:
    """Whole numbers, so that there are ties."""
    return scores_of(graph, np.random.default_rng(seed).integers(-9, 10, len(graph.edges)), **changes)


def names(parts: Any) -> list[str]:
    return [part.name for part in parts]


def heads_of(reader: Node, graph: Graph) -> set[str]:
    """The nodes that a reader belongs to, by name: written again from the meaning of a group."""
    if reader.kind not in ("q", "k", "v"):
        return {reader.name}
    heads = [h for h in range(graph.n_heads) if not reader.grouped or h // graph.group == reader.unit]
    return {f"a{reader.layer}.h{h}" for h in heads if reader.grouped or h == reader.unit}


def wiring(edges: Any, graph: Graph) -> nx.DiGraph:
    """Every reader and every output as a vertex of its own, with a link from each reader to the outputs it feeds."""
    wired = nx.DiGraph()
    wired.add_nodes_from(["from embed", "from pos_embed", "to logits"])
    for edge in edges:
        wired.add_edge(f"from {edge.sender.name}", f"to {edge.receiver.name}")
    for reader in graph.readers[:-1]:
        wired.add_edges_from((f"to {reader.name}", f"from {head}") for head in heads_of(reader, graph))
    return wired


# ---------------------------------------------------------------- registry


@every_graph
@pytest.mark.parametrize("ranking", ["absolute", "signed"])
@pytest.mark.parametrize("name", sorted(SELECTIONS))
def test_every_selection_is_an_order(name: str, ranking: Any, graph: Graph, tmp_path: Path) -> None:
    """No part twice, larger circuits hold the smaller ones, the whole comes out, files read back equal."""
    scores = random_scores(graph, 3)
    whole = discover(scores, n=len(graph.edges), ranking=ranking, algorithm=name)
    assert set(whole.parts) == set(graph.edges)
    assert discover(scores, fraction=1.0, ranking=ranking, algorithm=name).parts == whole.parts
    for n in (1, 2, 7, 30):
        assert discover(scores, n=n, ranking=ranking, algorithm=name).parts == whole.parts[:n]
    assert (whole.kv, whole.split_positions, whole.scored_pairs) == (graph.kv, graph.split_positions, ("one", "two"))
    whole.save(tmp_path / "c.json")
    assert Circuit.load(tmp_path / "c.json") == whole


def test_the_table_lists_the_registry() -> None:
    table = selections()
    assert list(table["name"]) == list(SELECTIONS)
    assert all(table["source"].str.len()) and all(table["description"].str.len())


def test_names_are_checked() -> None:
    with pytest.raises(CircuitError, match="Did you mean greedy"):
        discover(random_scores(PLAIN, 0), n=1, algorithm="gredy")
    with pytest.raises(CircuitError, match="twice"):
        selection("top", description="", source="")(ranked)
    assert get_selection("top").function is ranked


# ---------------------------------------------------------------- top, counts


def test_embedding_edges_are_counted_and_nothing_is_always_in() -> None:
    values = np.zeros(len(PLAIN.edges))
    for size, name in ((3, "embed->m0"), (-4, "embed->logits"), (2, "a0.h1->a1.h0<v>")):
        values[PLAIN.index[parse_edge(name)]] = size
    scores = scores_of(PLAIN, values)
    assert names(discover(scores, n=3)) == ["embed->logits", "embed->m0", "a0.h1->a1.h0<v>"]
    assert names(discover(scores, n=2, ranking="signed")) == ["embed->m0", "a0.h1->a1.h0<v>"]
    assert names(discover(scores, threshold=3)) == ["embed->logits", "embed->m0"]
    flipped = scores_of(PLAIN, values, importance_sign=-1)
    assert names(discover(flipped, n=1, ranking="signed")) == ["embed->logits"]


@pytest.mark.parametrize("hundredths", range(1, 101))
def test_a_fraction_is_rounded_up_and_never_by_a_rounding_error(hundredths: int) -> None:
    scores = random_scores(SPLIT, 0)
    hundred = Scores(scores.parts[:100], scores.per_example[:, :100], scores.provenance)
    assert len(discover(hundred, fraction=hundredths / 100)) == hundredths


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"n": 2.5}, "whole number"),
        ({"n": 0}, "expected 1 to"),
        ({"n": 10**6}, "expected 1 to"),
        ({"fraction": float("nan")}, "more than 0"),
        ({"threshold": 99.0}, "no part reaches it"),
        ({"threshold": 99.0, "algorithm": "greedy"}, "no part reaches it"),
        ({"threshold": float("nan")}, "no part reaches it"),
        ({}, "given none"),
        ({"n": 1, "threshold": 0.0}, "one of"),
    ],
)
def test_what_is_asked_for_is_checked(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(CircuitError, match=says):
        discover(random_scores(PLAIN, 0), **wrong)


def test_levels_and_rankings_that_do_not_fit_are_refused() -> None:
    nodes = Scores(
        (Node("head", 0, 0), Node("mlp", 0)), np.ones((2, 2)), random_scores(PLAIN, 0, level="heads").provenance
    )
    with pytest.raises(CircuitError, match="works at level edges"):
        discover(nodes, n=1, algorithm="greedy")
    with pytest.raises(CircuitError, match="prune"):
        discover(nodes, n=1, prune=True)
    with pytest.raises(CircuitError, match="are a map"):
        apart = dataclasses.replace(nodes.provenance, positions="each")
        discover(Scores((Node("head", 0, 0, position=1),), np.ones((2, 1)), apart), n=1)
    with pytest.raises(ScoreError, match="ranking"):
        discover(random_scores(PLAIN, 0), n=1, ranking="size", algorithm="greedy")  # type: ignore[arg-type]


# ---------------------------------------------------------------- greedy


def slow_greedy(graph: Graph, scores: Scores, ranking: str) -> list[str]:
    """The definition, step by step: look at every edge, take the best one into a node that is in."""
    size = {e.name: v if ranking == "signed" else abs(v) for e, v in zip(scores.edges, scores.importance, strict=True)}
    inside, taken = {"logits"}, list[str]()
    while len(taken) < len(graph.edges):
        open_ = [e for e in graph.edges if e.name not in taken and heads_of(e.receiver, graph) & inside]
        best = max(open_, key=lambda e: size[e.name])  # the first of equal ones
        taken.append(best.name)
        inside.add(best.sender.name)
    return taken


@every_graph
@pytest.mark.parametrize("ranking", ["absolute", "signed"])
@pytest.mark.parametrize("sign", [1, -1])
def test_greedy_equals_its_slow_second_writing(graph: Graph, ranking: Any, sign: int) -> None:
    for seed in range(3):
        scores = random_scores(graph, seed, importance_sign=sign)
        found = discover(scores, n=len(graph.edges), ranking=ranking, algorithm="greedy")
        assert names(found) == slow_greedy(graph, scores, ranking)


def test_greedy_by_hand_where_the_top_is_out_of_reach() -> None:
    """The largest edge goes into a head that nothing links to the logits yet, so it waits for that head."""
    sizes = {
        "embed->a0.kv1<v>": 9,
        "a0.h2->m0": 8,
        "m1->logits": 5,
        "m0->m1": 4,
        "a0.h0->logits": 3,
        "embed->a0.kv0<k>": 2,
    }
    values = np.zeros(len(SHARED.edges))
    for name, size in sizes.items():
        values[SHARED.index[parse_edge(name)]] = size
    scores = scores_of(SHARED, values)
    order = ["m1->logits", "m0->m1", "a0.h2->m0", "embed->a0.kv1<v>", "a0.h0->logits", "embed->a0.kv0<k>"]
    assert names(discover(scores, n=6, algorithm="greedy")) == order
    assert names(discover(scores, n=2)) == ["embed->a0.kv1<v>", "a0.h2->m0"]
    assert names(discover(scores, threshold=4, algorithm="greedy")) == order[:4]


@given(seed=st.integers(0, 10**6), threshold=st.integers(0, 9), which=st.sampled_from(sorted(GRAPHS)))
@settings(max_examples=40, deadline=None)
def test_greedy_by_threshold_is_what_the_logits_reach_over_large_edges(seed: int, threshold: int, which: str) -> None:
    graph = GRAPHS[which]
    scores = random_scores(graph, seed)
    large = [e for e, v in zip(graph.edges, scores.mean, strict=True) if abs(v) >= threshold]
    wired = wiring(large, graph)
    reached = nx.ancestors(wired, "to logits")
    expected = {e.name for e in large if e.receiver == Node("logits") or f"to {e.receiver.name}" in reached}
    if expected:
        assert set(names(discover(scores, threshold=threshold, algorithm="greedy"))) == expected
    else:
        with pytest.raises(CircuitError, match="no part reaches"):
            discover(scores, threshold=threshold, algorithm="greedy")


def test_more_edges_than_can_be_reached_are_refused() -> None:
    scores = random_scores(PLAIN, 0)
    keep = [i for i, e in enumerate(PLAIN.edges) if e.receiver != Node("logits") or e.sender == Node("embed")]
    cut = Scores(tuple(PLAIN.edges[i] for i in keep), scores.per_example[:, keep], scores.provenance)
    assert names(discover(cut, n=1, algorithm="greedy")) == ["embed->logits"]
    with pytest.raises(CircuitError, match="reaches only 1 of"):
        discover(cut, n=2, algorithm="greedy")


def test_the_work_grows_with_the_edges_not_with_their_square() -> None:
    """15 times the edges take about 15 times the processor time; work that grows with the square takes 220 times it."""
    small, large = (random_scores(Graph(n, n, n, (False,) * n), 0) for n in (6, 12))
    assert (len(small.parts), len(large.parts)) == (2_188, 32_491)
    assert processor_time(large) < 60 * processor_time(small)


def processor_time(scores: Scores) -> float:
    """Seconds of this process for a circuit of all edges, pruned; the least of three."""
    spent = []
    for _ in range(3):
        start = time.process_time()
        found = discover(scores, fraction=1.0, algorithm="greedy", prune=True)
        spent.append(time.process_time() - start)
        assert len(found) == len(scores.parts)
    return min(spent)
