"""Circuits judged by intervention: run the model with everything outside the circuit ablated, and compare."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from circuits.circuit import ALWAYS, Circuit, CircuitError
from circuits.evaluation import Estimate, Evaluation, Point
from circuits.selection import ranked
from interp.ablations import check_direction, make_ablation
from interp.attribution.batches import Batch, by_length, default_batch_size
from interp.edits import Edit
from interp.metrics import METRICS, Metric, get_metric
from interp.nodes import Group, Node, groups, nodes_of
from interp.progress import progress
from interp.scores import Ranking, Scores
from interp.tasks.find import task as find_task
from interp.tasks.task import Task, TokenPair, digest

RESAMPLES = 1000
EVERY_SIZE = 64
NodeSet = frozenset[Node]


def evaluate(
    model: Any,
    task: Task | str | Path,
    circuit: Circuit,
    *,
    scores: Scores | None = None,
    ablation: str = "counterfactual",
    metric: str | Metric | None = None,
    sizes: Sequence[int] | None = None,
    n_random: int = 20,
    ranking: Ranking = "absolute",
    held_out: bool | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    show_progress: bool | None = None,
) -> Evaluation:
    """Faithfulness of `circuit`, completeness of its complement, the curve over sizes and random circuits.

    f(C) = (m(C) - m(empty)) / (m(full) - m(empty)) on clean prompts, every node outside C ablated; the embedding stays
    clean. The curve follows the circuit's own order, and with `scores` their `ranking` up to all nodes. `n_random`
    circuits per size match the number of nodes of each kind. `held_out`: none of the pairs was used to choose the
    circuit; found out by default, and refused where it is claimed and not so.

    Source: Wang et al. 2023; Marks et al. 2024. Cost: one forward per circuit. Raises: CircuitError, TaskError.
    """
    if n_random < 1:
        raise CircuitError(f"n_random={n_random}: expected at least 1; 20 is the default.")
    check_direction(ablation, "noise")
    found = [g for g in groups(circuit.level, model.layout) if g.kind not in ALWAYS]
    everything = nodes_of(found, [None])
    if odd := set(circuit.parts) - set(everything):
        raise CircuitError(f"{next(iter(odd)).name} is not a node of level {circuit.level!r} on this model.")
    order = _order(circuit, scores, ranking)
    plan = _plan(circuit, order, everything, sizes, n_random, seed)
    runner = _Runner(model, find_task(task, model), found, ablation, get_metric(metric), seed, batch_size)
    unseen = _held_out(circuit, runner.pairs, held_out)
    table = runner.metrics(list(dict.fromkeys(plan.all())), show_progress)
    return _judge(circuit, plan, table, runner, unseen, n_random, seed, len(everything))


def _held_out(circuit: Circuit, pairs: Sequence[TokenPair], claim: bool | None) -> bool:
    """Whether none of the pairs was used to choose the circuit. Raises: CircuitError for a claim that is not so."""
    shared = set(circuit.scored_pairs) & set(digest(pairs))
    if claim and shared:
        raise CircuitError(
            f"held_out=True, but {len(shared)} of the {len(pairs)} pairs were used to choose the circuit."
        )
    return bool(circuit.scored_pairs) and not shared if claim is None else claim


def smallest_faithful(
    model: Any,
    task: Task | str | Path,
    scores: Scores,
    *,
    target: float = 0.9,
    ranking: Ranking = "absolute",
    ablation: str = "counterfactual",
    metric: str | Metric | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    show_progress: bool | None = None,
) -> int | None:
    """The size of the smallest top of the ranking whose faithfulness is at least `target`, None where none is.

    Up to `EVERY_SIZE` nodes every size is tried; beyond, about ten sizes on a log axis and then halving between the last
    size below the target and the first above it, which is the smallest where faithfulness grows with size there.
    Meant for the pairs that the scores come from, so that the circuit is then judged on others.
    """
    order = [scores.parts[i] for i in ranked(scores, ranking)]
    n = len(order)
    found = [g for g in groups(scores.provenance.level, model.layout) if g.kind not in ALWAYS]
    runner = _Runner(model, find_task(task, model), found, ablation, get_metric(metric), seed, batch_size)
    sizes: list[int] = sorted({*range(1, min(n, EVERY_SIZE) + 1), *_default_sizes(n)})
    tops = {size: frozenset(order[:size]) for size in (0, *sizes)}
    table = runner.metrics(list(tops.values()), show_progress)
    ratio = _Ratio(table[tops[n]], table[tops[0]], _weights(len(runner.pairs), seed))

    def reaches(metric: np.ndarray) -> bool:
        value = ratio.value(metric)
        return value is not None and value >= target

    high = next((size for size in sizes if reaches(table[tops[size]])), None)
    if high is None:
        return None
    low = max((size for size in tops if size < high), default=0)
    while high - low > 1:
        middle = (low + high) // 2
        top = frozenset(order[:middle])
        low, high = (low, middle) if reaches(runner.metrics([top], show_progress)[top]) else (middle, high)
    return high


def _order(circuit: Circuit, scores: Scores | None, ranking: Ranking) -> list[Node]:
    """The circuit's nodes, then the rest of the ranking."""
    rest = [scores.parts[i] for i in ranked(scores, ranking)] if scores is not None else []
    inside = frozenset(circuit.parts)
    return [*circuit.parts, *(node for node in rest if node not in inside)]


class _Plan:
    """The node sets to run: full, empty, the circuit, its complement, and per size a prefix with its random twins."""

    def __init__(
        self, circuit: Circuit, everything: Sequence[Node], curve: dict[int, tuple[NodeSet, list[NodeSet]]]
    ) -> None:
        self.full, self.empty = frozenset(everything), frozenset[Node]()
        self.circuit = frozenset(circuit.parts)
        self.complement = self.full - self.circuit
        self.curve = curve

    def all(self) -> Iterator[NodeSet]:
        yield from (self.full, self.empty, self.circuit, self.complement)
        for prefix, twins in self.curve.values():
            yield prefix
            yield from twins


def _plan(
    circuit: Circuit,
    order: Sequence[Node],
    everything: Sequence[Node],
    sizes: Sequence[int] | None,
    n_random: int,
    seed: int,
) -> _Plan:
    rng = random.Random(seed)
    wanted = sorted({*(sizes if sizes is not None else _default_sizes(len(order))), len(circuit)})
    if wanted[0] < 0 or wanted[-1] > len(order):
        raise CircuitError(f"sizes {wanted[0]} to {wanted[-1]}: expected 0 to {len(order)}, the nodes in the ranking.")
    curve = {}
    for size in wanted:
        prefix = frozenset(order[:size])
        curve[size] = (prefix, [_random_twin(prefix, everything, rng) for _ in range(n_random)])
    return _Plan(circuit, everything, curve)


def _default_sizes(n: int) -> list[int]:
    """About ten whole sizes from 1 to n, evenly spaced on a log axis."""
    if n == 0:
        return []
    return sorted({round(size) for size in np.geomspace(1, n, num=10)})


def _random_twin(circuit: NodeSet, everything: Sequence[Node], rng: random.Random) -> NodeSet:
    """A random circuit with as many nodes of each kind."""
    by_kind: dict[str, list[Node]] = defaultdict(list)
    for node in everything:
        by_kind[node.kind].append(node)
    twin: set[Node] = set()
    for kind, members in by_kind.items():
        twin |= set(rng.sample(members, sum(node.kind == kind for node in circuit)))
    return frozenset(twin)


class _Runner:
    """Runs node sets on a task: everything outside a set is ablated."""

    def __init__(
        self,
        model: Any,
        task: Task,
        found: list[Group],
        ablation: str,
        metric: Metric,
        seed: int,
        batch_size: int | None,
    ) -> None:
        # A normalised metric differs by a factor that cancels in every ratio; the values are then in logits.
        self.model, self.groups, self.metric = model, found, METRICS["logit_diff"] if metric.normalised else metric
        self.pairs = task.tokenize(model.tokenizer, model.layout.d_vocab)
        self.batch_size = batch_size or default_batch_size(model, max(p.length for p in self.pairs))
        self.sites = [g.site for g in found]
        self.ablation = make_ablation(ablation, model, self.pairs, self.sites, seed, self.batch_size)  # type: ignore[arg-type]

    def metrics(self, sets: Sequence[NodeSet], show_progress: bool | None) -> dict[NodeSet, np.ndarray]:
        """The metric of every set on every pair [example]."""
        table = np.empty((len(sets), len(self.pairs)))
        batches = list(by_length([p.length for p in self.pairs], self.batch_size))
        with progress("evaluating circuits", len(sets) * len(batches), show_progress) as advance:
            for index in batches:
                batch = Batch.of(self.model, self.groups, self.pairs, index, self.metric, "noise", self.ablation)
                for row, nodes in enumerate(sets):
                    table[row, index] = batch.patched(self._edits(batch, nodes)).double().cpu().numpy()
                    advance(1)
        if not np.isfinite(table).all():
            raise CircuitError(f"metric {self.metric.name!r} is not finite on an ablated run.")
        return dict(zip(sets, table, strict=True))

    def _edits(self, batch: Batch, nodes: NodeSet) -> list[Edit]:
        """Ablate every unit that is not in `nodes`; a group that is all inside is left alone."""
        source = batch.source()
        everywhere = torch.ones(batch.base_ids.shape, dtype=torch.bool, device=self.model.device)
        edits = []
        for group in self.groups:
            outside = torch.tensor([group.node(u) not in nodes for u in range(group.n_units)], device=self.model.device)
            if bool(outside.any()):
                edits.append(_ablate(group, source[group.site], outside, everywhere))
        return edits


def _ablate(group: Group, value: torch.Tensor, outside: torch.Tensor, everywhere: torch.Tensor) -> Edit:
    return Edit(group.site, lambda x: group.mix(x, value, outside, everywhere))


def _judge(
    circuit: Circuit,
    plan: _Plan,
    table: dict[NodeSet, np.ndarray],
    runner: _Runner,
    held_out: bool,
    n_random: int,
    seed: int,
    n_nodes: int,
) -> Evaluation:
    """Ratios and their bootstrap intervals from the metric of every set on every pair."""
    n = len(runner.pairs)
    ratio = _Ratio(table[plan.full], table[plan.empty], _weights(n, seed))
    value = ratio.estimate(table[plan.circuit])
    curve = [
        Point(size, ratio.estimate(table[prefix]), tuple(ratio.value(table[t]) for t in twins))
        for size, (prefix, twins) in plan.curve.items()
    ]
    twins = next(p.random for p in curve if p.size == len(circuit))
    return Evaluation(
        faithfulness=value,
        completeness=ratio.estimate(table[plan.complement]),
        metric=runner.metric.name,
        unit=runner.metric.unit,
        full=float(table[plan.full].mean()),
        empty=float(table[plan.empty].mean()),
        circuit=float(table[plan.circuit].mean()),
        size=len(circuit),
        n_nodes=n_nodes,
        ablation=runner.ablation.kind,
        n_pairs=n,
        held_out=held_out,
        curve=tuple(curve),
        random_above=_as_near_one(value.value, twins),
        n_random=n_random,
        seed=seed,
        reason=ratio.reason,
    )


def _weights(n: int, seed: int) -> np.ndarray:
    """Bootstrap weights over examples [resample example]; each row sums to 1."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n


def _as_near_one(value: float | None, twins: Sequence[float | None]) -> float | None:
    """The fraction of random circuits at least as near to 1."""
    known = [t for t in twins if t is not None]
    return None if value is None or not known else float(np.mean([abs(1 - t) <= abs(1 - value) for t in known]))


class _Ratio:
    """f = (m - m(empty)) / (m(full) - m(empty)) of means over examples, undefined where the denominator may be 0."""

    def __init__(self, full: np.ndarray, empty: np.ndarray, weights: np.ndarray) -> None:
        self.empty, self.span, self.weights = empty, full - empty, weights
        self.spans = weights @ self.span
        low, high = np.quantile(self.spans, [0.025, 0.975])
        self.reason = ""
        if low <= 0 <= high:
            self.reason = (
                f"the difference between the full model and the fully ablated one, {self.span.mean():.3g}, has a 95 % "
                f"interval [{low:.3g}, {high:.3g}] that includes 0"
            )

    def value(self, metric: np.ndarray) -> float | None:
        return None if self.reason else float((metric - self.empty).mean() / self.span.mean())

    def estimate(self, metric: np.ndarray) -> Estimate:
        value = self.value(metric)
        if value is None or len(metric) == 1:
            return Estimate(value, None, None)
        low, high = np.quantile((self.weights @ (metric - self.empty)) / self.spans, [0.025, 0.975])
        return Estimate(value, float(low), float(high))
