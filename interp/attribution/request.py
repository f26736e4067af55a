"""From what the user asks for to a checked request: every error of the input is raised here, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from interp.ablations import check_direction, make_ablation
from interp.attribution import node_methods  # noqa: F401 - registers the methods
from interp.attribution.batches import default_batch_size
from interp.attribution.driver import Attribution
from interp.attribution.positions import align
from interp.attribution.quadrature import quadrature as points
from interp.attribution.registry import Method, get_method
from interp.errors import MethodError, MetricError
from interp.metrics import Metric, get_metric
from interp.nodes import Group, groups, nodes_of
from interp.rules import GRADIENT
from interp.scores import Scores
from interp.tasks.find import task as find_task
from interp.tasks.task import Task

DEFAULT_STEPS: Final = 8
DEFAULT_QUADRATURE: Final = "midpoint"


def attribute(
    model: Any,
    task: Task | str | Path,
    *,
    method: str,
    level: str,
    positions: str | None = None,
    direction: str | None = None,
    ablation: str = "counterfactual",
    metric: str | Metric | None = None,
    steps: int | None = None,
    quadrature: str | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Scores:
    """Scores of every node of `level` by one method. See `prepare` for what each option means, and for further ones."""
    return attribute_all(
        model,
        task,
        methods=[method],
        level=level,
        positions=positions,
        direction=direction,
        ablation=ablation,
        metric=metric,
        steps=steps,
        quadrature=quadrature,
        batch_size=batch_size,
        seed=seed,
        **options,
    )[method]


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
    task = find_task(task, model)
    chosen, measure = [get_method(name) for name in methods], get_metric(metric)
    way = check_direction(ablation, direction)
    _check_methods(chosen, steps, quadrature, batch_size)
    _check_metric(chosen, measure, ablation)
    where = _positions_mode(level, positions)
    found = groups(level, model.layout)
    for m in chosen:
        if m.rules != GRADIENT and not allow_unsupported:
            model.coverage(m.rules).check()
    pairs = task.tokenize(model.tokenizer, model.layout.d_vocab)
    model.check_length(max(p.length for p in pairs))
    aligned = align(where, pairs)
    size = batch_size or default_batch_size(model, max(p.length for p in pairs))
    replaced = make_ablation(ablation, model, pairs, [g.site for g in found], seed, size)  # type: ignore[arg-type]
    only = _only(nodes, found)
    return Attribution(
        model=model,
        task=task.name,
        level=level,
        methods=chosen,
        groups=found,
        pairs=pairs,
        positions=aligned,
        metric=measure,
        direction=way,
        ablation=replaced,
        batch_size=size,
        seed=seed,
        steps=DEFAULT_STEPS if steps is None else steps,
        quadrature=quadrature or DEFAULT_QUADRATURE,
        only=only,
        special_tokens=" and ".join(
            sorted({"ids of the task" if p.ids else "the tokeniser's own" for p in task.pairs})
        ),
    )


def _positions_mode(level: str, positions: str | None) -> str:
    if level == "resid" and positions == "all":
        raise MethodError(
            "level 'resid' with positions='all' patches the whole residual stream, which gives the same number at every "
            "layer. Use positions='each', 'end' or 'spans'."
        )
    return positions or ("each" if level == "resid" else "all")


def _check_methods(chosen: Sequence[Method], steps: int | None, quadrature: str | None, batch_size: int | None) -> None:
    if not chosen or len({m.name for m in chosen}) < len(chosen):
        raise MethodError(f"methods={[m.name for m in chosen]}: expected one or more, each once.")
    if (steps is not None or quadrature is not None) and not any(m.uses_steps for m in chosen):
        raise MethodError(f"steps and quadrature belong to IG methods; given with {', '.join(m.name for m in chosen)}.")
    points(quadrature or DEFAULT_QUADRATURE, DEFAULT_STEPS if steps is None else steps)
    if batch_size is not None and batch_size < 1:
        raise MethodError(f"batch_size={batch_size}: expected 1 or more.")


def _check_metric(chosen: Sequence[Method], metric: Metric, ablation: str) -> None:
    """Refuse a metric that is flat where a method looks, or that needs a run which the ablation does not have."""
    for m in chosen:
        if m.base_point and metric.toward == "base":
            raise MetricError(
                f"metric {metric.name!r} is flat at the base run, so {m.name} would score every node 0. "
                f"Use exact, an IG method, or {metric.name.replace('base', 'source')!r}."
            )
    if metric.toward == "source" and ablation in ("mean", "zero"):
        raise MetricError(f"metric {metric.name!r} is a distance to a source run; {ablation} ablation has none.")
    if metric.normalised and ablation != "counterfactual":
        raise MetricError(f"metric {metric.name!r} needs the paired run; use counterfactual ablation or 'logit_diff'.")


def _only(nodes: Sequence[str] | None, found: Sequence[Group]) -> frozenset[str] | None:
    if nodes is None:
        return None
    known = {node.name for node in nodes_of(found, [None])}
    if odd := set(nodes) - known:
        raise MethodError(f"nodes={sorted(odd)[:3]}: no such nodes at this level.")
    return frozenset(nodes)
