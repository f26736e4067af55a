"""The one driver: it batches by length, shares runs between methods, accumulates in float64 and records provenance."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interp import attention
from interp.ablations import Ablation, check_direction, make_ablation
from interp.attribution import node_methods  # noqa: F401 - registers the methods
from interp.attribution.batches import Batch, by_length, default_batch_size
from interp.attribution.positions import Positions, align
from interp.attribution.quadrature import quadrature as points
from interp.attribution.registry import Method, Options, get_method
from interp.errors import MethodError, MetricError
from interp.metrics import Direction, Metric, get_metric
from interp.nodes import Group, groups, nodes_of
from interp.progress import progress
from interp.rules import GRADIENT
from interp.scores import Provenance, Scores
from interp.tasks.task import Task, TokenPair

DEFAULT_STEPS = 8
DEFAULT_QUADRATURE = "midpoint"


def attribute(model: Any, task: Task | str | Path, *, method: str, level: str, **options: Any) -> Scores:
    """Scores of every node of `level` by one method; `options` are those of `prepare`, by name."""
    return attribute_all(model, task, methods=[method], level=level, **options)[method]


def attribute_all(
    model: Any,
    task: Task | str | Path,
    *,
    methods: Sequence[str],
    level: str,
    show_progress: bool | None = None,
    **options: Any,
) -> dict[str, Scores]:
    """Scores of every node of `level` by several methods, which share the runs on clean and corrupt prompts.

    options: those of `prepare`, by name. Returns: method -> `Scores` in the metric's unit: metric(patched) -
    metric(base) or its estimate. Raises: what `prepare` raises, and ScoreError for a score that is not finite.
    """
    return prepare(model, task, methods=methods, level=level, **options).score(show_progress)


def prepare(
    model: Any,
    task: Task | str | Path,
    *,
    methods: Sequence[str],
    level: str,
    positions: str | None = None,
    direction: str | None = None,
    ablation: str = "counterfactual",
    metric: str | Metric | None = None,
    steps: int | None = None,
    quadrature: str | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    nodes: Sequence[str] | None = None,
    allow_unsupported: bool = False,
) -> Attribution:
    """Check every option against the model and the task; `.score()` then does the work.

    task: a `Task`, the name of a built-in one, or a task file.
    level: `resid`, `blocks`, `heads`, `qkv` or `neurons`. positions: `all` patches all positions of a node together;
    `each`, `end` and `spans` score positions apart (the default of `resid` is `each`, which refuses `all`).
    direction: `denoise` (clean values into the corrupt run; the default for counterfactual) or `noise`.
    steps, quadrature: for IG methods, 8 midpoints by default. nodes: score only these components, by name.
    allow_unsupported: take the plain gradient where a rule set has no rule, instead of an error.

    Raises: MethodError, MetricError, TaskError, SiteError, UnsupportedRuleError.
    """
    from interp.tasks.find import task as find_task

    task = find_task(task, model)
    chosen = [get_method(name) for name in methods]
    path = (DEFAULT_STEPS if steps is None else steps, quadrature or DEFAULT_QUADRATURE)
    points(path[1], path[0])
    if not chosen or len({m.name for m in chosen}) < len(chosen):
        raise MethodError(f"methods={list(methods)!r}: expected one or more, each once.")
    way, measure = check_direction(ablation, direction), get_metric(metric)
    _check(chosen, measure, steps, quadrature, batch_size)
    if measure.toward == "source" and ablation in ("mean", "zero"):
        raise MetricError(
            f"metric {measure.name!r} measures the distance to a source run; {ablation} ablation has none."
        )
    if measure.normalised and ablation != "counterfactual":
        raise MetricError(f"metric {measure.name!r} needs the paired run; use counterfactual ablation or 'logit_diff'.")
    where = _positions_mode(level, positions)
    found = groups(level, model.layout)
    for m in chosen:
        if m.rules != GRADIENT and not allow_unsupported:
            model.coverage(m.rules).check()
    pairs = task.tokenize(model.tokenizer, model.layout.d_vocab)
    aligned = align(where, pairs)
    size = batch_size or default_batch_size(model, max(p.length for p in pairs))
    replaced = make_ablation(ablation, model, pairs, [g.site for g in found], seed, size)  # type: ignore[arg-type]
    only = _only(nodes, found)
    return Attribution(
        model, task.name, level, chosen, found, pairs, aligned, measure, way, replaced, size, seed, *path, only
    )


def _positions_mode(level: str, positions: str | None) -> str:
    if level == "resid" and positions == "all":
        raise MethodError(
            "level 'resid' with positions='all' patches the whole residual stream, which gives the same number at every "
            "layer. Use positions='each', 'end' or 'spans'."
        )
    return positions or ("each" if level == "resid" else "all")


def _check(
    chosen: Sequence[Method], metric: Metric, steps: int | None, quadrature: str | None, batch_size: int | None
) -> None:
    for m in chosen:
        if m.base_point and metric.toward == "base":
            raise MetricError(
                f"metric {metric.name!r} is flat at the base run, so {m.name} would score every node 0. "
                f"Use exact, an IG method, or {metric.name.replace('base', 'source')!r}."
            )
    if (steps is not None or quadrature is not None) and not any(m.uses_steps for m in chosen):
        raise MethodError(f"steps and quadrature belong to IG methods; given with {', '.join(m.name for m in chosen)}.")
    if batch_size is not None and batch_size < 1:
        raise MethodError(f"batch_size={batch_size}: expected 1 or more.")


def _only(nodes: Sequence[str] | None, found: Sequence[Group]) -> frozenset[str] | None:
    if nodes is None:
        return None
    known = {node.name for node in nodes_of(found, [None])}
    if odd := set(nodes) - known:
        raise MethodError(f"nodes={sorted(odd)[:3]}: no such nodes at this level.")
    return frozenset(nodes)


@dataclass(frozen=True)
class Attribution:
    """A checked request for scores: everything that its methods have in common."""

    model: Any
    task: str
    level: str
    methods: list[Method]
    groups: list[Group]
    pairs: list[TokenPair]
    positions: Positions
    metric: Metric
    direction: Direction
    ablation: Ablation
    batch_size: int
    seed: int
    steps: int
    quadrature: str
    only: frozenset[str] | None

    def score(self, show_progress: bool | None = None) -> dict[str, Scores]:
        """Run every batch once through every method. Raises: ScoreError for a score that is not finite.

        One attention implementation serves all runs of a call, so that differences of runs are differences of inputs.
        """
        with attention.selected(self.model.hf, None) if self.eager else nullcontext():
            return self._score(show_progress)

    @property
    def eager(self) -> bool:
        """Whether the runs use eager attention: where q, k, v are read or a rule acts inside attention."""
        return self.level == "qkv" or any(m.rules.attention != GRADIENT.attention for m in self.methods)

    def _score(self, show_progress: bool | None) -> dict[str, Scores]:
        nodes = nodes_of(self.groups, self.positions.labels)
        tables = {m.name: np.empty((len(self.pairs), len(nodes))) for m in self.methods}
        costs = {m.name: np.zeros(3) for m in self.methods}
        metrics: list[tuple[list[int], np.ndarray, np.ndarray | None]] = []
        batches = list(by_length([p.length for p in self.pairs], self.batch_size))
        with progress("scoring", len(batches) * sum(map(self._work, self.methods)), show_progress) as advance:
            for index in batches:
                batch = self._batch(index)
                for m in self.methods:
                    tables[m.name][index], cost = self._run(m, batch, self._options(index, advance))
                    costs[m.name] += cost * (len(index) / len(self.pairs), len(index) / len(self.pairs), 1)
                metrics.append((index, *self._metrics(batch)))
        base, source = _collect(metrics, len(self.pairs))
        return {m.name: self._scores(m, nodes, tables[m.name], costs[m.name], base, source) for m in self.methods}

    def _options(self, index: list[int], advance: Callable[[int], None]) -> Options:
        masks = self.positions.masks(index).to(self.model.device)
        generator = torch.Generator().manual_seed(self.seed)
        return Options(masks, self.steps, self.quadrature, generator, advance, self.only)

    def _work(self, m: Method) -> int:
        """Steps of the progress bar for one batch."""
        nodes = (len(self.only) if self.only else sum(g.n_units for g in self.groups)) * len(self.positions.labels)
        return nodes if m.exact else self.steps if m.uses_steps else 1

    def _batch(self, index: list[int]) -> Batch:
        pairs = [self.pairs[i] for i in index]
        partners = [self.pairs[self.ablation.partners[i]] for i in index] if self.ablation.partners else []
        return Batch(self.model, self.groups, pairs, self.metric, self.direction, self.ablation, partners)

    def _run(self, m: Method, batch: Batch, options: Options) -> tuple[np.ndarray, np.ndarray]:
        """Scores [batch node] of one method on one batch, and (forwards, backwards, seconds) that it took."""
        start, before = time.perf_counter(), np.array([batch.forwards, batch.backwards])
        by_group = m.function(batch, options, m.rules)
        flat = torch.cat([by_group[g].reshape(len(batch.pairs), -1).double().cpu() for g in self.groups], dim=1)
        after = np.array([batch.forwards, batch.backwards])
        return flat.numpy(), np.array([*(after - before), time.perf_counter() - start])

    def _metrics(self, batch: Batch) -> tuple[np.ndarray, np.ndarray | None]:
        source = batch.source_metric()
        return batch.base_metric().double().cpu().numpy(), None if source is None else source.double().cpu().numpy()

    def _scores(
        self,
        m: Method,
        nodes: Sequence[Any],
        table: np.ndarray,
        cost: np.ndarray,
        base: np.ndarray,
        source: np.ndarray | None,
    ) -> Scores:
        if self.metric.normalised:
            table = table / self._span(base, source)
        provenance = Provenance(
            method=m.name,
            level=self.level,
            positions=self.positions.mode,
            direction=self.direction,
            ablation=self.ablation.kind,
            metric=self.metric.name,
            unit=self.metric.unit,
            importance_sign=self.metric.importance_sign(self.direction),
            rules=m.rules.describe(),
            steps=self.steps if m.uses_steps else None,
            quadrature=self.quadrature if m.uses_steps else None,
            seed=self.seed,
            model=self.model.name,
            task=self.task,
            n_pairs=len(self.pairs),
            dtype=str(self.model.dtype).removeprefix("torch."),
            attention="eager" if self.eager else str(self.model.hf.config._attn_implementation),
            base_metric=float(base.mean()),
            source_metric=None if source is None else float(source.mean()),
            forwards=float(cost[0]),
            backwards=float(cost[1]),
            seconds=float(cost[2]),
            exact=m.exact,
        )
        scores = Scores(tuple(nodes), table, provenance)
        return scores if self.only is None else scores.select_components(self.only)

    def _span(self, base: np.ndarray, source: np.ndarray | None) -> float:
        """mean(clean) - mean(corrupt), the unit of a normalised metric."""
        if source is None:
            raise MetricError(f"metric {self.metric.name!r} needs the paired run.")
        span = float(source.mean() - base.mean()) * (1 if self.direction == "denoise" else -1)
        if abs(span) < 1e-9:
            raise MetricError(
                f"metric {self.metric.name!r}: clean and corrupt prompts have the same mean logit difference."
            )
        return span


def _collect(
    parts: Sequence[tuple[list[int], np.ndarray, np.ndarray | None]], n: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Metrics of base and source per example, in task order."""
    base, source = np.empty(n), np.empty(n)
    for index, b, s in parts:
        base[index] = b
        source[index] = np.nan if s is None else s
    return base, None if np.isnan(source).any() else source
