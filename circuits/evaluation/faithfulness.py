"""Circuits judged by intervention: run the model with everything outside the circuit ablated, and compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import index
from pathlib import Path
from typing import Any, Final

import numpy as np

from circuits.circuit.algebra import grouped
from circuits.circuit.circuit import Circuit, CircuitError
from circuits.circuit.selection import ranked
from circuits.evaluation.evaluation import Counts, Evaluation, Point
from circuits.evaluation.other_ablation import judge_otherwise, other_runners
from circuits.evaluation.ratio import Measured, conditions, measure
from circuits.evaluation.running.runner import PartSet, Runner, check_dictionaries, check_parts, is_held_out
from circuits.evaluation.running.runners import runner_for
from circuits.evaluation.twins import Twins
from circuits.terms.kinds import kinds_checked
from interp.attribution.features.hosts import Dictionaries
from interp.parts.graph import Part
from interp.parts.nodes import FEATURES
from interp.scores.scores import Ranking, Scores
from interp.tasks.ablations import ablations_beside
from interp.tasks.metric import Metric
from interp.tasks.replacements import Ablation, kind_of
from interp.tasks.task import Task
from interp.whole_numbers import count, whole

#: Random circuits at sizes other than the circuit's own: enough for the middle of the curve of chance.
CURVE_RANDOM: Final = 5


@kinds_checked
def evaluate(
    model: Any,
    task: Task | str | Path,
    circuit: Circuit,
    *,
    scores: Scores | None = None,
    ablation: str | Ablation = "counterfactual",
    metric: str | Metric | None = None,
    sizes: Sequence[int] | None = None,
    n_random: int = 20,
    ranking: Ranking = "absolute",
    held_out: bool | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    max_memory: int | str | None = None,
    show_progress: bool | None = None,
    dictionaries: Dictionaries | None = None,
    errors: str = "kept",
    other_ablation: str | None = None,
) -> Evaluation:
    """Faithfulness of `circuit`, completeness of its complement, the curve over sizes and random circuits.

    f(C) = (m(C) - m(empty)) / (m(full) - m(empty)) on clean prompts, everything outside C ablated: nodes, of which the
    embedding stays clean, or edges, of which none does. The curve follows the circuit's own order, and with `scores`
    their `ranking` up to all parts. `n_random` other circuits of the circuit's size, each once, match the number of parts of
    each kind, and at the other sizes of the curve at most `CURVE_RANDOM`; where fewer exist all are run, and at the size of
    the whole model there is none. `held_out`: none of the pairs was used to choose the circuit; found out by default, and refused where it is claimed and not so.
    `dictionaries`: those of a circuit of features; `errors`: what they do not make up is `kept` in every circuit but the
    empty one, or `removed` from every one but the whole model. `other_ablation`: the circuit and the first of its random ones
    are judged under it too; by default `mean`, or `zero` where the mean holds the answer; not at all with `none`.

    Source: Wang et al. 2023; Marks et al. 2024. Cost: at most one forward per circuit. Raises: CircuitError, TaskError.
    """
    beside = ablations_beside(kind_of(ablation), other_ablation)
    how: Any = {
        "metric": metric, "seed": seed, "batch_size": batch_size, "max_memory": max_memory, "dictionaries": dictionaries,
        "errors": errors,
    }  # fmt: skip
    runner = runner_for(model, task, circuit, scores, ablation=ablation, **how)
    return evaluate_on(
        runner,
        circuit,
        others=other_runners(runner, model, task, circuit, beside, **how),
        scores=scores,
        sizes=sizes,
        n_random=n_random,
        ranking=ranking,
        held_out=held_out,
        seed=seed,
        show_progress=show_progress,
    )


def evaluate_on(
    runner: Runner,
    circuit: Circuit,
    *,
    others: Sequence[Runner] = (),
    scores: Scores | None = None,
    sizes: Sequence[int] | None = None,
    n_random: int = 20,
    ranking: Ranking = "absolute",
    held_out: bool | None = None,
    seed: int = 0,
    show_progress: bool | None = None,
) -> Evaluation:
    """`evaluate` with a runner that is already made, and those of the same parts and pairs under other ablations, to be tried in turn."""
    count(n_random, "n_random", CircuitError, expected="at least 1; 20 is the default")
    order = _order(circuit, scores, ranking)
    check_parts(runner, order, circuit.level)
    wanted = _sizes(sizes, len(circuit), len(order))
    unseen = is_held_out(circuit.scored_pairs, runner.pairs, held_out)
    twins = Twins(runner.parts, seed)
    prefixes = {size: frozenset(order[:size]) for size in wanted}
    most = {size: n_random if size == len(circuit) else min(n_random, CURVE_RANDOM) for size in wanted}
    curve = {size: (prefix, twins.others(prefix, most[size])) for size, prefix in prefixes.items()}
    plan = _Plan(frozenset(circuit.parts), frozenset(runner.parts) - frozenset(circuit.parts), curve)
    found = measure(runner, plan.all(), seed=seed, show_progress=show_progress)
    judged = _judge(circuit, plan, found, runner, unseen, n_random, seed)
    like = curve[len(circuit)][1][:CURVE_RANDOM]
    other = judge_otherwise(others, found, plan.circuit, like, seed=seed, show_progress=show_progress)
    return replace(judged, other=other)


def counted(level: str) -> Counts:
    """What a circuit of this level counts."""
    return {"edges": "edges", FEATURES: "features"}.get(level, "nodes")  # type: ignore[return-value]


def _order(circuit: Circuit, scores: Scores | None, ranking: Ranking) -> list[Part]:
    """The circuit's parts, then the rest of the ranking. Raises: CircuitError for scores of other parts."""
    if scores is None:
        return list(circuit.parts)
    same_kv = not grouped(circuit.parts) and not grouped(scores.parts)
    check_dictionaries(circuit.dictionaries, scores.provenance.dictionaries)
    ours = (circuit.level, circuit.kv, circuit.split_positions, circuit.positions)
    p, kv = scores.provenance, circuit.kv if same_kv else scores.provenance.kv
    theirs = (p.level, kv, p.split_positions, p.positions)
    if ours[0] != theirs[0] or (ours[0] == "edges" and ours != theirs):
        raise CircuitError(
            f"the scores are of (level, kv, split_positions, positions) = {theirs}, the circuit of {ours}; give scores of the same."
        )
    inside = frozenset(circuit.parts)
    rest = (scores.parts[i] for i in ranked(scores, ranking))
    return [*circuit.parts, *(part for part in rest if part not in inside)]


def _sizes(sizes: Sequence[int] | None, own: int, n: int) -> list[int]:
    """The sizes of the curve, ascending, each once, with the circuit's own. Raises: CircuitError for other numbers."""
    try:
        wanted = sorted({*(map(index, sizes) if sizes is not None else spread(n)), own})
    except TypeError as error:
        raise CircuitError(f"sizes={sizes!r}: expected whole numbers of parts.") from error
    if wanted[0] < 0 or wanted[-1] > n:
        raise CircuitError(f"sizes {wanted[0]} to {wanted[-1]}: expected 0 to {n}, the parts in the ranking.")
    return wanted


def spread(n: int, count: int = 10) -> list[int]:
    """About `count` whole sizes from 1 to n, evenly spaced on a log axis."""
    return sorted({round(size) for size in np.geomspace(1, n, num=count)}) if n else []


@dataclass(frozen=True)
class _Plan:
    """The sets to run: the circuit, its complement, and per size a prefix of the ranking with its random twins."""

    circuit: PartSet
    complement: PartSet
    curve: dict[int, tuple[PartSet, list[PartSet]]]

    def all(self) -> Iterator[PartSet]:
        yield from (self.circuit, self.complement)
        for prefix, twins in self.curve.values():
            yield prefix
            yield from twins


def _judge(
    circuit: Circuit, plan: _Plan, found: Measured, runner: Runner, held_out: bool, n_random: int, seed: int
) -> Evaluation:
    """Ratios and their bootstrap intervals from the metric of every set on every pair."""
    curve = [
        Point(size, found.estimate(prefix), tuple(found.value(t) for t in twins))
        for size, (prefix, twins) in plan.curve.items()
    ]
    twins = next(p.random for p in curve if p.size == len(circuit))
    return Evaluation(
        faithfulness=found.estimate(plan.circuit),
        completeness=found.estimate(plan.complement),
        unit=runner.metric.unit,
        full=found.ends[0],
        empty=found.ends[1],
        circuit=found.mean(plan.circuit),
        size=len(circuit),
        n_nodes=len(runner.parts),
        curve=tuple(curve),
        random_above=_as_near_one(found.value(plan.circuit), twins),
        n_random=whole(n_random, "n_random"),
        errors=getattr(runner, "errors", ""),
        **conditions(runner, found, counted(circuit.level), held_out, seed),
    )


def _as_near_one(value: float | None, twins: Sequence[float | None]) -> float | None:
    """The fraction of random circuits at least as near to 1."""
    known = [t for t in twins if t is not None]
    return None if value is None or not known else float(np.mean([abs(1 - t) <= abs(1 - value) for t in known]))
