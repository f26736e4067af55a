"""From what the user asks for to a checked request: every error of the input is raised here, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from interp.ablations import check_direction
from interp.attribution import (  # noqa: F401 - they register
    atp_star,
    edge_methods,
    edge_patching,
    flow_routes,
    node_methods,
    patching,
)
from interp.attribution.driver import Attribution
from interp.attribution.memory import Work, plan_memory, survey_batch
from interp.attribution.positions import align
from interp.attribution.quadrature import quadrature as points
from interp.attribution.registry import METHODS, Method, get_method
from interp.attribution.spaces import Space, space_of
from interp.auto.run import may_run, usable, verified
from interp.errors import MethodError, MetricError
from interp.features.dictionaries import Dictionaries, resolved
from interp.features.space import FeatureSpace
from interp.graph import KeyValue
from interp.metrics import Metric, get_metric
from interp.nodes import FEATURES
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
    parts: Sequence[str] | None = None,
    allow_unsupported: bool = False,
    kv: KeyValue = "shared",
    split_positions: bool = False,
    tau: float | None = None,
    max_memory: int | str | None = None,
    n: int | None = None,
    chance: float | None = None,
    budget: str | float | None = None,
    ranking: str | None = None,
    dictionaries: Dictionaries | None = None,
) -> Attribution:
    """Check every option against the model and the task; `.score()` then does the work.

    task: a `Task`, the name of a built-in one, or a task file.
    level: `resid`, `blocks`, `heads`, `qkv`, `neurons`, `edges` or `features`. positions: `all` patches all positions of a node together;
    `each`, `end` and `spans` score positions apart (the default of `resid` is `each`, which refuses `all`).
    direction: `denoise` (clean values into the corrupt run; the default for counterfactual) or `noise`.
    steps, quadrature: for IG methods, 8 midpoints by default. parts: score only these nodes or edges, by name.
    allow_unsupported: take the plain gradient where a rule set has no rule, instead of an error.
    kv, split_positions: at level `edges`, whether K/V readers are `shared` by their group or `split` per query head, and
    whether the position embedding is a writer of its own. tau: the threshold of ACDC, in the metric's unit.
    max_memory: bytes, or text such as '2GiB', that scoring may take above the model; batches are made to fit.
    n, chance, budget, ranking: of method `auto`: look for the top `n` (10) of this ranking (`absolute`), to which a part
    outside belongs with `chance` (0.01) at most, on average over draws; spend '60s', or '200F' or 200 forward equivalents
    (100) after the presets, or the fixed cost of the calls (a few times 3) where that is more.
    dictionaries: of level `features`, {site that one makes up: `Dictionary`}, or a folder of them. Its nodes are the features that
    are active in some run, and each site's error.

    Raises: MethodError, MetricError, TaskError, SiteError, UnsupportedRuleError, DictionaryError.
    """
    task = find_task(task, model)
    chosen, measure = [get_method(name) for name in methods], get_metric(metric)
    way = check_direction(ablation, direction)
    _check_methods(chosen, level, steps, quadrature, batch_size)
    _check_metric(chosen, measure, ablation)
    _check_edges(chosen, level, way, ablation, kv, split_positions, tau, positions, parts, measure)
    where = _positions_mode(level, positions)
    _check_search(chosen, parts, where, n=n, chance=chance, budget=budget, ranking=ranking)
    given = resolved(model, level, dictionaries)
    search = any(m.search for m in chosen)
    left_out: tuple[tuple[str, str], ...] = ()
    if search:
        presets, left_out = usable(model, level == "edges", measure, allow_unsupported)
        chosen = list({m.name: m for m in (*chosen, *presets) if not m.search}.values())
    for m in chosen:
        if m.rules != GRADIENT and not allow_unsupported:
            model.coverage(m.rules).check()
    pairs = task.tokenize(model.tokenizer, model.layout.d_vocab)
    model.check_length(max(p.length for p in pairs))
    aligned = align(where, pairs)
    if level == FEATURES:
        at_once = survey_batch(model, max(p.length for p in pairs), batch_size, max_memory)
        found: Space = FeatureSpace.of(model, given, pairs, ablation, at_once)
    else:
        found = space_of(model, level, kv, split_positions)
    work = Work(
        model=model,
        space=found,
        methods=may_run(chosen, level == "edges", left_out) if search else chosen,
        metric=measure,
        length=max(p.length for p in pairs),
        columns=found.n_parts * len(aligned.labels),
        examples=len(pairs),
    )
    memory = plan_memory(work, batch_size=batch_size, limit=max_memory)
    replaced = found.ablation(ablation, model, pairs, seed, memory.batch_size)
    only = None if parts is None else found.named(parts)
    request = Attribution(
        model=model,
        task=task.name,
        level=level,
        methods=chosen,
        space=found,
        pairs=pairs,
        positions=aligned,
        metric=measure,
        direction=way,
        ablation=replaced,
        memory=memory,
        seed=seed,
        steps=DEFAULT_STEPS if steps is None else steps,
        quadrature=quadrature or DEFAULT_QUADRATURE,
        only=only,
        special_tokens=" and ".join(
            sorted({"ids of the task" if p.ids else "the tokeniser's own" for p in task.pairs})
        ),
        tau=tau,
    )
    if not search:
        return request
    return verified(
        request,
        n=n,
        chance=chance,
        budget=budget,
        ranking=ranking or "absolute",
        steps=steps,
        requested=methods,
        left_out=left_out,
    )


def _check_search(chosen: Sequence[Method], parts: Sequence[str] | None, where: str, **options: Any) -> None:
    """Refuse options of `auto` without it, and those that have no meaning with it."""
    search = any(m.search for m in chosen)
    if not search and (given := [name for name, value in options.items() if value is not None]):
        raise MethodError(
            f"{' and '.join(given)}: for method auto only; given with {', '.join(m.name for m in chosen)}."
        )
    if search and parts is not None:
        raise MethodError(
            "method auto chooses what it patches; parts has no meaning for it. Use 'exact' for some parts."
        )
    if search and where != "all":
        raise MethodError(
            f"method auto ranks parts at all positions together, given positions={where!r}: use 'all' (level 'resid' has none)."
        )


def _positions_mode(level: str, positions: str | None) -> str:
    if level == "resid" and positions == "all":
        raise MethodError(
            "level 'resid' with positions='all' patches the whole residual stream, which gives the same number at every "
            "layer. Use positions='each', 'end' or 'spans'."
        )
    return positions or ("each" if level == "resid" else "all")


def _check_edges(
    chosen: Sequence[Method],
    level: str,
    direction: str,
    ablation: str,
    kv: str,
    split_positions: bool,
    tau: float | None,
    positions: str | None,
    parts: Sequence[str] | None,
    metric: Metric,
) -> None:
    """Refuse what has no meaning at this level, or for a method of it."""
    if level != "edges" and (kv != "shared" or split_positions):
        raise MethodError(f"kv and split_positions belong to level 'edges'; given with level {level!r}.")
    if tau is not None and not any(m.joint for m in chosen):
        raise MethodError(f"tau belongs to method acdc; given with {', '.join(m.name for m in chosen)}.")
    if tau is not None and tau < 0:
        raise MethodError(f"tau={tau}: expected 0 or more.")
    for m in chosen:
        if m.needs_run and ablation in ("mean", "zero"):
            raise MethodError(f"{m.name} takes gradients at the source run; {ablation} ablation has none.")
        if m.noise and direction != "noise":
            raise MethodError(f"{m.name} cuts edges out of the clean run: give direction='noise'.")
        if m.joint and parts is not None:
            raise MethodError(f"{m.name} decides on every edge in turn; parts has no meaning for it.")
        if m.joint and tau is not None and metric.normalised:
            raise MethodError(f"tau and the normalised metric {metric.name!r}: give tau in logits, with 'logit_diff'.")
        if m.joint and positions not in (None, "all"):
            raise MethodError(f"{m.name} cuts whole edges; positions={positions!r} has no meaning for it.")


def _check_methods(
    chosen: Sequence[Method], level: str, steps: int | None, quadrature: str | None, batch_size: int | None
) -> None:
    for m in chosen:
        if not m.scores(level):
            able = ", ".join(name for name, other in METHODS.items() if other.scores(level))
            raise MethodError(f"method {m.name!r} scores {m.levels}, not level {level!r}; there: {able}.")
    if not chosen or len({m.name for m in chosen}) < len(chosen):
        raise MethodError(f"methods={[m.name for m in chosen]}: expected one or more, each once.")
    if (steps is not None or quadrature is not None) and not any(m.uses_steps or m.search for m in chosen):
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
