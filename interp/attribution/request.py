"""From what the user asks for to a checked request: every error of the input is raised here, before any work."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from interp.attribution.auto.verified import LeftOut, may_run, usable, verified
from interp.attribution.batching.positions import align
from interp.attribution.batching.quadrature import DEFAULT_QUADRATURE, DEFAULT_STEPS
from interp.attribution.checks import Checked, check
from interp.attribution.features.feature_space import FeatureSpace
from interp.attribution.features.hosts import resolved
from interp.attribution.net_levels.net_space import NetSpace
from interp.attribution.protocol.registry import MaskSettings, Method, with_start
from interp.attribution.protocol.spaces import Space, space_of
from interp.attribution.request_options import Request, ShownRequest, ShownRequestOfOne
from interp.attribution.scoring.driver import Attribution
from interp.attribution.scoring.memory import Work, plan_memory, survey_batch
from interp.dictionaries.dictionary import Dictionary
from interp.errors import MethodError, TaskError, unknown
from interp.given import checker, kinds_checked
from interp.option import taken
from interp.parts.graph import KeyValue
from interp.parts.layout import NET_LEVELS
from interp.parts.named_inputs import Example
from interp.parts.nodes import FEATURES
from interp.parts.sites import Site
from interp.rules.rules import GRADIENT, preset
from interp.scores.scores import Scores
from interp.tasks.ablations import ABLATIONS
from interp.tasks.find import alike
from interp.tasks.find import task as find_task
from interp.tasks.metric import Metric
from interp.tasks.metrics import check_wrong
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.replacements import Ablation
from interp.tasks.task import Task
from interp.whole_numbers import is_whole, whole

P = ParamSpec("P")
Value = TypeVar("Value")
Found = TypeVar("Found", covariant=True)


class OnTask(Protocol[P, Found]):
    """A function of a model, a task and options by keyword."""

    def __call__(self, model: Any, task: Task | str | Path, *args: P.args, **options: P.kwargs) -> Found: ...


def takes(
    options: Callable[P, Value], called: str | None = None
) -> Callable[[Callable[[Any, Any, Value], Found]], OnTask[P, Found]]:
    """Let a function of (model, task, value) be called with the fields of a frozen value of options as keywords.

    Its signature then names them all, those that are needed first. called: the function that users know, where it is another one.
    Raises: TypeError for an option that does not exist or is missing.
    """
    own = inspect.get_annotations(options)
    given = sorted(fields(options), key=lambda f: (f.default is not MISSING, f.name not in own))  # type: ignore[arg-type]
    names = [f.name for f in given]

    def register(function: Callable[[Any, Any, Value], Found]) -> OnTask[P, Found]:
        written, name = inspect.signature(function), called or function.__name__
        check_kinds = checker(function, called=name)
        model_and_task = list(written.parameters.values())[:2]
        signature = written.replace(parameters=[*model_and_task, *map(_keyword, given)])

        @functools.wraps(function)
        def call(model: Any, task: Task | str | Path, *args: P.args, **kwargs: P.kwargs) -> Found:
            check_kinds((model, task), {})
            if odd := [option for option in kwargs if option not in names]:
                raise TypeError(f"{name}(): {unknown('option', odd[0], names)}")
            try:
                signature.bind(model, task, *args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{name}(): {error}.") from None
            whole_ones: dict[str, Any] = {
                option: whole(value, option) if is_whole(value) else value for option, value in kwargs.items()
            }
            return function(model, task, options(*args, **whole_ones))

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        call.__annotations__["return"] = signature.return_annotation
        return call

    return register


def _keyword(option: Field[Any]) -> inspect.Parameter:
    default = inspect.Parameter.empty if option.default is MISSING else option.default
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option.type)


@takes(ShownRequestOfOne)
def attribute(model: Any, task: Task | str | Path, asked: ShownRequestOfOne) -> Scores:
    """Scores of every node of `level` by one method. See `prepare` for what each option means."""
    request = taken(Request, asked, methods=[asked.method])
    return plan(model, task, request).score(asked.show_progress)[asked.method]


@takes(ShownRequest)
def attribute_all(model: Any, task: Task | str | Path, asked: ShownRequest) -> dict[str, Scores]:
    """Scores of every node of `level` by several methods, which share the runs on clean and corrupt prompts.

    See `prepare` for what each option means. Returns: method -> `Scores` in the metric's unit: metric(patched) -
    metric(base) or its estimate. Raises: what `prepare` raises, and ScoreError for a score that is not finite.
    """
    return Compared(plan(model, task, asked).score(asked.show_progress))


class Compared(dict[str, Scores]):
    """Scores by method: a dictionary that shows itself in a line for each, or as their tables."""

    def __repr__(self) -> str:
        return "\n".join(
            [f"scores of {len(self)} methods, by name:", *(str(s).partition("\n")[0] for s in self.values())]
        )

    def _repr_html_(self) -> str:
        return "".join(scores._repr_html_() for scores in self.values())


@takes(Request)
def prepare(model: Any, task: Task | str | Path, asked: Request) -> Attribution:
    """Check every option against the model and the task; `.score()` then does the work.

    task: a `Task`, the name of a built-in one, or a task file.
    level: `resid`, `blocks`, `heads`, `qkv`, `neurons`, `edges` or `features`; of nets without blocks `modules` or `channels`. positions: `all` patches all positions of a node together;
    `each`, `end` and `spans` score positions apart (the default of `resid` is `each`, which refuses `all`).
    direction: `denoise` (clean values into the corrupt run; the default for counterfactual) or `noise`.
    steps, quadrature: for IG methods, 8 midpoints by default. parts: score only these nodes or edges, by name.
    allow_unsupported: take the plain gradient where a rule set has no rule, instead of an error.
    kv, split_positions: at level `edges`, whether K/V readers are `shared` by their group (the default) or `split` per query head, and
    whether the position embedding is a writer of its own. tau: the threshold of ACDC, in the metric's unit.
    rounds, start, backward: of searches on masks (`iterated`, `learned`, `portfolio`): how many masked runs; the method whose order
    `learned` begins with (`relp`); the rule preset in the place of the gradient. In the place of rounds they take a `budget` in
    forward equivalents, such as '150F', of all that they cost.
    max_memory: bytes, or text such as '2GiB', that scoring may take above the model; batches are made to fit.
    n, chance, budget, ranking: of method `auto`: look for the top `n` (10) of this ranking (`absolute`), to which a part
    outside belongs with `chance` (0.01) at most, on average over draws; spend '60s', or '200F' or 200 forward equivalents
    (100) after the presets, or what it costs to score one part where that is more.
    dictionaries: of level `features`, {site that one makes up: `Dictionary`}, or a folder of them. Its nodes are the features that
    are active in some run, and each site's error.

    Raises: MethodError, MetricError, TaskError, SiteError, UnsupportedRuleError, DictionaryError.
    """
    return plan(model, task, asked)


@kinds_checked
def learned_ablation(
    model: Any,
    task: Task | str | Path,
    kind: str = "optimal",
    *,
    level: str,
    seed: int = 0,
    batch_size: int | None = None,
    kv: KeyValue = "shared",
    split_positions: bool = False,
) -> Ablation:
    """Optimal ablation for the parts of a level, learned on these prompts, to give to `circuits.evaluate` for others.

    level: any but features. Scores of the same prompts, seed and batch size have the same values. Cost: see
    `interp.learning.optimal.FORWARDS`. Raises: MethodError for a kind that learns nothing, TaskError, SiteError.
    """
    if ABLATIONS[kind].learn is None:
        raise MethodError(f"ablation {kind!r} learns nothing: give its name where an ablation is asked for.")
    asked = Request(methods=["atp"], level=level, ablation=kind, seed=seed, batch_size=batch_size)
    graph = {"kv": kv, "split_positions": split_positions} if level == "edges" else {}
    return plan(model, task, replace(asked, **graph)).ablation  # type: ignore[arg-type]


def plan(
    model: Any, task: Task | str | Path, asked: Request, ablation: Ablation | None = None, called: str | None = None
) -> Attribution:
    """`prepare`, of options that are a value already. ablation: one that was learned on these pairs. called: see `check`."""
    checked = check(asked, called)
    model.check_level(asked.level)
    task = _task(model, task, checked.positions)
    check_wrong(checked.metric, task)
    given = resolved(model, asked.level, asked.dictionaries)
    methods, left_out = _methods(model, asked, checked)
    _check_stacks(model, asked, checked, methods)
    pairs = _pairs(model, task, asked.ablation, checked.metric)
    aligned = align(checked.positions, pairs if asked.stack is None else [pair.of_stack(asked.stack) for pair in pairs])
    space = _space(model, asked, given, pairs)
    may = may_run(methods, asked.level == "edges", left_out) if checked.search else methods
    learns = ablation is None and ABLATIONS[asked.ablation].learn is not None
    masks = MaskSettings(**checked.masks, keep=asked.max_memory is None)
    work = Work.of(
        model, space, with_start(may, masks), checked.metric, pairs, len(aligned.labels), keep=masks.keep, learns=learns
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
        metric=checked.metric,
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
    backward = [preset(asked.backward)] if asked.backward is not None else []
    for rules in (*(m.rules for m in with_start(methods, MaskSettings(**checked.masks))), *backward):
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
    """The parts of the level: of features those that are active in some run. Raises: MethodError for edges of what is no text."""
    if asked.level == "edges" and not model.takes_text:
        raise MethodError(
            f"level 'edges': {type(model.hf).__name__} takes no text, and what its embedding writes is not known as tokens and positions. Use "
            "'heads', 'blocks', 'qkv', 'neurons' or 'resid'."
        )
    if asked.level in NET_LEVELS:
        return NetSpace.of(model, asked.level)
    if asked.level == "edges" and any(isinstance(pair.clean, Example) for pair in pairs):
        raise MethodError(
            "level 'edges': what the embedding of a model writes for token types is not known apart. Use 'heads', 'blocks', 'qkv', 'neurons' or "
            "'resid'."
        )
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
