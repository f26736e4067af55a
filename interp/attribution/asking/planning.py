"""From what the user asks for to a checked request: every error of the input is raised here, before any work."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interp.attribution.asking.checks import Checked, check
from interp.attribution.asking.request_options import Request
from interp.attribution.auto.verified import LeftOut, may_run, usable, verified
from interp.attribution.batching.batch_sizes import survey_batch
from interp.attribution.batching.positions import align
from interp.attribution.batching.quadrature import DEFAULT_QUADRATURE, DEFAULT_STEPS
from interp.attribution.edges.writers import NOT_APART
from interp.attribution.features.feature_space import FeatureSpace
from interp.attribution.features.hosts import resolved
from interp.attribution.net_levels.net_space import NetSpace
from interp.attribution.protocol.registry import MaskSettings, Method, with_start
from interp.attribution.protocol.spaces import Space, space_of
from interp.attribution.scoring.driver import Attribution
from interp.attribution.scoring.memory import Work, plan_memory
from interp.dictionaries.dictionary import Dictionary
from interp.errors import MethodError, TaskError
from interp.parts.layout import NET_LEVELS
from interp.parts.named_inputs import Example
from interp.parts.nodes import FEATURES
from interp.parts.sites import Site
from interp.rules.rules import GRADIENT, preset
from interp.tasks.ablations import ABLATIONS
from interp.tasks.find import alike
from interp.tasks.find import task as find_task
from interp.tasks.metric import Metric
from interp.tasks.metrics import check_wrong
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.replacements import Ablation
from interp.tasks.task import Task


def plan(
    model: Any, task: Task | str | Path, asked: Request, ablation: Ablation | None = None, called: str | None = None
) -> Attribution:
    """`prepare`, of options that are a value already. ablation: one that was learned on these pairs. called: see `check`."""
    checked = check(asked, called)
    model, metric = checked.metric.on(model)
    model.check_level(asked.level)
    task = _task(model, task, checked.positions)
    check_wrong(metric, task)
    given = resolved(model, asked.level, asked.dictionaries)
    methods, left_out = _methods(model, asked, checked)
    _check_stacks(model, asked, checked, methods)
    pairs = _pairs(model, task, asked.ablation, metric)
    aligned = align(checked.positions, pairs if asked.stack is None else [pair.of_stack(asked.stack) for pair in pairs])
    space = _space(model, asked, given, pairs)
    may = may_run(methods, asked.level == "edges", left_out) if checked.search else methods
    learns = ablation is None and ABLATIONS[asked.ablation].learn is not None
    masks = MaskSettings(**checked.masks, keep=asked.max_memory is None)
    work = Work.of(
        model, space, with_start(may, masks), metric, pairs, len(aligned.labels), keep=masks.keep, learns=learns
    )
    memory = plan_memory(work, batch_size=asked.batch_size, limit=asked.max_memory)
    request = Attribution(
        model=model,
        task=task.name,
        level=asked.level,
        methods=methods,
        space=space,
        pairs=pairs,
        positions=aligned,
        metric=metric,
        direction=checked.direction,
        ablation=space.ablation(ablation or asked.ablation, model, pairs, asked.seed, memory.batch_size),
        memory=memory,
        seed=asked.seed,
        steps=DEFAULT_STEPS if asked.steps is None else asked.steps,
        quadrature=asked.quadrature or DEFAULT_QUADRATURE,
        only=None if asked.parts is None else space.named(asked.parts),
        special_tokens=_special_tokens(task),
        tau=asked.tau,
        masks=masks,
    )
    return _searching(request, asked, left_out) if checked.search else request


def _task(model: Any, task: Task | str | Path, positions: str) -> Task:
    """The task; of a name or a file with prompts of one length where every position is scored, and a warning that says so."""
    if isinstance(task, Task) or positions != "each":
        return find_task(task, model)
    found, said = alike(task, model)
    if said:
        warnings.warn(said, stacklevel=5)
    return found


def _methods(model: Any, asked: Request, checked: Checked) -> tuple[list[Method], LeftOut]:
    """What is run at first, and what `auto` leaves out. Raises: UnsupportedRuleError for rules that do not cover the model."""
    methods: list[Method] = checked.methods
    left_out: LeftOut = ()
    if checked.search:
        presets, left_out = usable(
            model, asked.level == "edges", checked.metric, asked.ablation, asked.allow_unsupported
        )
        methods = list({m.name: m for m in (*methods, *presets) if not m.search}.values())
    if any(m.uses_gradients for m in methods):
        model.check_gradients()
    starts, other = with_start(methods, MaskSettings(**checked.masks)), asked.backward is not None
    backward = [preset(str(asked.backward))] if other else []
    for rules in (*(m.rules for m in starts if not (m.masked and other)), *backward):
        if rules != GRADIENT and not asked.allow_unsupported:
            model.coverage(rules).check()
    return methods, left_out


def _check_stacks(model: Any, asked: Request, checked: Checked, methods: Sequence[Method]) -> None:
    """Raises: MethodError for what needs one stream, where a model has several; SiteError for a stack that it has not."""
    layout = model.layout
    if asked.stack is not None:
        layout.stack(asked.stack)
    if not layout.others:
        return
    names = " and ".join(stack.name or "decoder" for stack in layout.stacks)
    alone = asked.level in ("edges", FEATURES)
    if alone or ABLATIONS[asked.ablation].learn is not None:
        what = f"level {asked.level!r}" if alone else f"{asked.ablation} ablation"
        raise MethodError(
            f"{what}: this model has several streams ({names}); levels heads, blocks, qkv, neurons and resid work, with other ablations."
        )
    if checked.positions != "all" and (asked.stack is None or checked.positions == "spans" or asked.level == "qkv"):
        prefixes = " or ".join(repr(stack.name) for stack in layout.stacks)
        raise MethodError(
            f"positions={checked.positions!r}: this model has several streams ({names}) with positions of their own; say whose: stack={prefixes}, "
            "with positions 'each' or 'end', at any level but qkv."
        )
    if odd := [m.name for m in methods if m.unsigned or m.masked or m.joint]:
        raise MethodError(
            f"method {odd[0]!r}: this model has several streams ({names}), and it knows one; use another method."
        )


def _pairs(model: Any, task: Task, ablation: str, metric: Metric) -> list[TokenPair]:
    """The pairs of the task as tokens, none longer than the model's context. Raises: TaskError also where patching from the paired
    prompt would change nothing."""
    pairs = task.tokenize(model.tokenizer, model.outputs, several=metric.several)
    same = next((i for i, pair in enumerate(pairs) if pair.clean == pair.corrupt), None)
    if same is not None and ABLATIONS[ablation].paired:
        raise TaskError(
            f"{task.where(same)}: 'clean' and 'corrupt' are the same; there is nothing to patch. Give another corrupt prompt, "
            "or an ablation that needs none, such as zero or mean."
        )
    model.check_length(max(pair.length for pair in pairs))
    return pairs


def _space(model: Any, asked: Request, given: Mapping[Site, Dictionary], pairs: list[TokenPair]) -> Space:
    """The parts of the level: of features those that are active in some run. Raises: MethodError for positions apart from tokens in what
    has no tokens alone."""
    if asked.level in NET_LEVELS:
        return NetSpace.of(model, asked.level)
    if asked.split_positions and any(isinstance(pair.clean, Example) for pair in pairs):
        raise MethodError(NOT_APART)
    if asked.level != FEATURES:
        return space_of(model, asked.level, asked.kv or "shared", asked.split_positions, asked.stack)
    at_once = survey_batch(model, max(p.longest for p in pairs), asked.batch_size, asked.max_memory)
    return FeatureSpace.of(model, given, pairs, asked.ablation, at_once)


def _special_tokens(task: Task) -> str:
    """Where the special tokens of the prompts come from."""
    return " and ".join(sorted({"ids of the task" if p.ids else "the tokeniser's own" for p in task.pairs}))


def _searching(request: Attribution, asked: Request, left_out: LeftOut) -> Attribution:
    """The request with what `auto` was told."""
    return verified(
        request,
        n=asked.n,
        chance=asked.chance,
        budget=asked.budget,
        ranking=asked.ranking or "absolute",
        steps=asked.steps,
        requested=asked.methods,
        left_out=left_out,
    )
