"""From what the user asks for to a checked request: every error of the input is raised here, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interp.attribution.auto.verified import may_run, usable, verified
from interp.attribution.batching.positions import align
from interp.attribution.batching.quadrature import DEFAULT_QUADRATURE, DEFAULT_STEPS
from interp.attribution.checks import check
from interp.attribution.features.feature_space import FeatureSpace
from interp.attribution.features.hosts import Dictionaries, resolved
from interp.attribution.protocol.spaces import Space, space_of
from interp.attribution.scoring.driver import Attribution
from interp.attribution.scoring.memory import Work, plan_memory, survey_batch
from interp.parts.graph import KeyValue
from interp.parts.nodes import FEATURES
from interp.rules.rules import GRADIENT
from interp.scores.scores import Scores
from interp.tasks.find import task as find_task
from interp.tasks.metrics import Metric
from interp.tasks.task import Task


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
    return Compared(prepare(model, task, methods=methods, level=level, **options).score(show_progress))


class Compared(dict[str, Scores]):
    """Scores by method: a dictionary that shows itself in a line for each, or as their tables."""

    def __repr__(self) -> str:
        return "\n".join(
            [f"scores of {len(self)} methods, by name:", *(str(s).partition("\n")[0] for s in self.values())]
        )

    def _repr_html_(self) -> str:
        return "".join(scores._repr_html_() for scores in self.values())


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
    chosen, measure, way, where = check(
        methods, level=level, positions=positions, direction=direction, ablation=ablation, metric=metric, steps=steps,
        quadrature=quadrature, batch_size=batch_size, parts=parts, kv=kv, split_positions=split_positions, tau=tau,
        max_memory=max_memory, n=n, chance=chance, budget=budget, ranking=ranking,
    )  # fmt: skip
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
