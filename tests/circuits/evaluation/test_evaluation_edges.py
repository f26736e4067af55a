"""Circuits of edges evaluated on models: edges against nodes, and everything at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.circuit.selection import discover
from circuits.evaluation.assessment import Assessment, assess
from circuits.evaluation.faithfulness import evaluate
from circuits.evaluation.hypotheses import necessity, sufficiency
from circuits.evaluation.running.runners import make_runner
from circuits.evaluation.twins import Twins
from interp.attribution.request import attribute, learned_ablation
from interp.parts.graph import Graph, Part
from interp.tasks.pairs.token_pairs import TokenPair
from tests.circuits.evaluation.running.hand import scored
from tests.circuits.evaluation.running.test_node_ablation import MODELS
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import answered, toy_task


@pytest.mark.broad
@pytest.mark.parametrize("name", MODELS)
def test_assessment_of_a_circuit_of_edges(name: str, tmp_path: Path) -> None:
    model = hooked(name)
    task = answered(model, toy_task(n=6))
    graph = Graph.of(model.layout)
    values = np.random.default_rng(0).normal(size=(6, len(graph.edges)))
    scores = dataclasses.replace(scored([1.0]), parts=graph.edges, per_example=values)
    full = Circuit(graph.edges, "edges", name, "toy", "hand", "all")
    whole = evaluate(model, task, full, sizes=[0], n_random=1)
    pairs = task.tokenize(model.tokenizer, model.layout.d_vocab)
    clean = [_logit_diff(model, p.clean, p) for p in pairs]
    corrupt = [_logit_diff(model, p.corrupt, p) for p in pairs]
    assert whole.full == pytest.approx(np.mean(clean), abs=1e-4)
    assert whole.empty == pytest.approx(np.mean(corrupt), abs=1e-4)
    assert whole.faithfulness.value == pytest.approx(1.0) and whole.curve[0].faithfulness.value == pytest.approx(0.0)
    order = [graph.edges[i] for i in scores.rank()]
    found = assess(
        model, task, Circuit(tuple(order[:5]), "edges", name, "toy", "hand", ""), scores, sizes=[5], n_random=2, n_tests=3
    )  # fmt: skip
    assert found.areas is not None and found.minimality is not None and len(found.minimality.removals) == 5
    assert not found.left_out and "edges" in str(found)
    found.save(tmp_path / "a.json")
    assert Assessment.load(tmp_path / "a.json") == found


def _logit_diff(model: Any, ids: Sequence[int], pair: TokenPair) -> float:
    logits = model.run([list(ids)]).logits[0, -1]
    return float(logits[list(pair.answers)].mean() - logits[list(pair.wrong)].mean())


def test_assessment_of_a_circuit_of_nodes_says_what_it_leaves_out() -> None:
    model = hooked("gpt2")
    task = answered(model, toy_task(n=6))
    nodes = make_runner(model, task, "heads").parts
    own = Circuit(nodes[:3], "heads", "gpt2", "toy", "hand", "")
    found = assess(model, task, own, sizes=[3], n_random=2, n_tests=3, minimality_limit=2)
    assert found.minimality is None and found.areas is None and len(found.left_out) == 2
    assert "minimality, as the circuit has 3 parts" in str(found) and "no scores were given" in str(found)
    assert found.sufficient == sufficiency(model, task, own, n_random=3)
    assert found.necessary == necessity(model, task, own, n_random=3)
    assert found.evaluation == evaluate(model, task, own, sizes=[3], n_random=2)


def test_random_circuits_have_as_many_edges_at_each_position() -> None:
    """A random circuit of edges where nothing differs would be no rival."""
    graph = Graph(3, 2, 2, (False, True, False))
    parts = graph.at_positions(("subject", "verb", "rest"))
    own = frozenset(parts[::11])
    for other in Twins(parts, 0).others(own, 5):
        assert other != own
        assert sorted((p.kind, str(p.position)) for p in other) == sorted((p.kind, str(p.position)) for p in own)


@pytest.mark.parametrize("level", ["heads", "edges"])
def test_what_an_ablation_learns_comes_from_the_scored_pairs_alone(level: str) -> None:
    """By name it would be learned on what it judges, which is refused; as an object it goes to other pairs as it is."""
    model = hooked("llama")
    task = answered(model, toy_task(8))
    scoring, held_out = task.at(range(4)), task.at(range(4, 8))
    scores = attribute(model, scoring, method="relp", level=level, direction="noise", ablation="optimal")
    circuit = discover(scores, n=3)
    with pytest.raises(CircuitError, match="4 of these 4 pairs were not scored"):
        evaluate(model, held_out, circuit, ablation="optimal", n_random=1)
    learned = learned_ablation(model, scoring, level=level)
    judged = evaluate(model, held_out, circuit, ablation=learned, n_random=1)
    assert judged.ablation == "optimal" and judged.held_out
    runner, empty = make_runner(model, held_out, level, ablation=learned), frozenset[Part]()
    found = runner.metrics([empty], False)[empty]
    other = make_runner(model, held_out, level, ablation="optimal")
    assert np.abs(found - other.metrics([empty], False)[empty]).max() > 1e-4, "those learned on the judged pairs differ"
    assert runner.ablation is learned
    by_name = evaluate(model, scoring, circuit, ablation="optimal", n_random=1)
    given = evaluate(model, scoring, circuit, ablation=learned, n_random=1)
    assert by_name.circuit == pytest.approx(given.circuit, abs=1e-4) and not by_name.held_out
