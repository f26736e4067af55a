"""The plan of evaluate: what `circuits.assess` may cost, by what it measures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from circuits.circuit.circuit import Circuit, listable
from circuits.costs.bounds import Bounds, one_forward
from circuits.costs.circuit_batches import Asked
from circuits.costs.circuit_runs import FeatureRuns, runs_of
from circuits.costs.run_costs import curve_sizes, other_sizes
from circuits.evaluation.areas import N_RANDOM, area_sizes
from circuits.evaluation.assessment import MINIMALITY_LIMIT, why_no_areas
from circuits.evaluation.evaluation import AREAS, CURVE, MINIMALITY, TESTS
from interp.model.model import HookedModel
from interp.scores.scores import Scores
from interp.tasks.ablations import ablations_beside
from interp.tasks.metrics import get_metric
from interp.tasks.task import Task


def asked_of(model: HookedModel, task: Task, circuit: Circuit, ablation: str, metric: str, **how: Any) -> Asked:
    """What is judged: a circuit on the pairs of a task. how: batch_size, max_memory, dictionaries."""
    pairs = task.tokenize(model.tokenizer, model.outputs, several=get_metric(metric).several)
    return Asked(model, pairs, circuit.level, ablation, metric, **how)


def bounds(
    asked: Asked,
    circuit: Circuit,
    scores: Scores | None,
    *,
    n_random: int,
    n_tests: int,
    other_ablation: str | None = None,
    scored: Task | None = None,
) -> Bounds:
    """What it may cost at most to judge a circuit on the pairs of `asked`, with the scores that rank all parts or none.

    n_random: random circuits of its size; n_tests: those of each test; other_ablation: as `assess` takes it; scored: what the
    ablation is learned on before.
    """
    known = len({*circuit.parts, *(filter(listable, scores.parts) if scores is not None else ())})
    asked = replace(asked, learned=scored is not None)
    graph: Any = {"kv": circuit.kv, "split_positions": circuit.split_positions, "labels": len(circuit.labels) or 1}
    runs = runs_of(asked, **graph)
    n, own = runs.n, len(circuit)
    curve = curve_sizes(known if scores is not None else own, own, n_random, n)
    tests = runs.call([own] * (1 + n_tests)) + runs.call([n - own] * (1 + n_tests))
    found = {CURVE: runs.made + runs.call(curve), TESTS: tests}
    if scored is not None:
        learning = asked_of(asked.model, scored, circuit, asked.ablation, asked.metric, batch_size=asked.batch_size)
        found[CURVE] += replace(runs, asked=learning).fixed
    if isinstance(runs, FeatureRuns):
        found[CURVE] += runs.without_errors().call(curve)
    for ablation in ablations_beside(asked.ablation, other_ablation):
        other = runs_of(replace(asked, ablation=ablation, learned=False), **graph)
        found[CURVE] += other.made + other.call(other_sizes(own, n_random))
    if 1 <= own <= MINIMALITY_LIMIT:
        found[MINIMALITY] = runs.call([own, *[own - 1] * own])
    if not why_no_areas(scores):
        sizes = area_sizes(n)
        found[AREAS] = runs.call(2 * [k for size in sizes for k in (*[size] * (1 + N_RANDOM), n - size)])
    forward = one_forward(asked.model, asked.pairs)
    return Bounds({phase: cost / forward for phase, cost in found.items()}, len(asked.pairs), "judged")
