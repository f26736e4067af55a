"""Records of runs over edges, of graphs of several sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from circuits.circuit.circuit import Circuit
from circuits.evaluation.evaluation import Evaluation, Point
from circuits.runs.record import Record
from interp.parts.graph import Edge, Graph
from interp.scores.agreement import agreement
from interp.scores.resampling import Estimate
from interp.scores.scores import Scores
from tests.circuits.runs.records import a_record, an_evaluation, some_prompts
from tests.interp.scores.random_scores import PAIRS, provenance

SMALL = Graph(n_layers=4, n_heads=4, n_kv_heads=4, parallel=(False,) * 4)

MIDDLE = Graph(n_layers=9, n_heads=8, n_kv_heads=8, parallel=(False,) * 9)

GPT2 = Graph(n_layers=12, n_heads=12, n_kv_heads=12, parallel=(False,) * 12)

GROUPED = Graph(n_layers=3, n_heads=4, n_kv_heads=2, parallel=(True,) * 3)


def edge_scores(parts: tuple[Edge, ...], seed: int, method: str, pairs: int = PAIRS, **changes: Any) -> Scores:
    """One truth for all methods, and an error of each method's own."""
    truth = np.random.default_rng(0).normal(size=len(parts)) ** 3 / 3
    rng = np.random.default_rng(seed)
    mean = truth + 0.2 * seed * rng.normal(size=len(parts))
    changes = {"level": "edges", "n_pairs": pairs, **changes}
    return Scores(parts, mean + 0.3 * rng.normal(size=(pairs, len(parts))), provenance(method, **changes))


def edge_record(of: Graph = SMALL, n: int = 30, sample: int = 120, **changes: Any) -> Record:
    """A run over edges, with exact patching of a sample of them."""
    relp = edge_scores(of.edges, 1, "relp", **changes)
    every = edge_scores(of.edges, 0, "exact", **changes)
    keep = sorted({*relp.rank()[: sample // 2].tolist(), *range(0, len(of.edges), 2 * len(of.edges) // sample)})
    exact = Scores(tuple(of.edges[i] for i in keep), every.per_example[:, keep], every.provenance)
    chosen = tuple(relp.parts[i] for i in relp.rank()[:n])
    circuit = Circuit(chosen, "edges", relp.provenance.model, relp.provenance.task, "relp", f"n={n}")
    return Record(
        manifest={"status": "complete"},
        scores=(relp,),
        exact=exact,
        agreements=(agreement(relp, exact, sampled="a sample of edges"),),
        circuit=circuit,
        evaluation=edge_evaluation(n, len(of.edges)),
        prompts=some_prompts(str)[:1],
        accuracy={"clean": 0.9, "corrupt": 0.1},
    )


def large_record(n: int) -> Record:
    """A circuit of edges drawn at random in a large model, and nothing else."""
    chosen = np.random.default_rng(6).choice(len(GPT2.edges), n, replace=False)
    circuit = Circuit(tuple(GPT2.edges[i] for i in chosen), "edges", "m", "t", "by hand", "by hand")
    return Record({}, (), circuit=circuit)


def edge_evaluation(n: int, total: int) -> Evaluation:
    sizes = sorted({0, n, total // 10, total})
    random = [0.1, 0.2, 0.35]
    curve = [Point(s, Estimate(s / total, s / total - 0.01, s / total + 0.01), tuple(random)) for s in sizes]
    return an_evaluation(size=n, n_nodes=total, curve=tuple(curve), counts="edges", n_random=len(random))


def node_record(**changes: Any) -> Record:
    """A run over heads with the edges between all nodes of a model of that shape."""
    return replace(a_record(), node_edges=edge_scores(SMALL.edges, 1, "relp"), **changes)
