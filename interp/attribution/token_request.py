"""What is asked of a token attribution, checked against model and task before any work, and how it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from torch import Tensor

from interp.attribution.batching.batch_sizes import default_batch_size
from interp.attribution.token_methods import METHODS, get_token_method
from interp.attribution.tokens.patch_masks import grid_of, patch_places
from interp.attribution.tokens.token_features import Groups, grouped
from interp.attribution.tokens.token_job import Job, Method, Reference, Sampling
from interp.attribution.tokens.token_targets import Target, aimed, of_token, tokens_of
from interp.attribution.tokens.token_values import TokenAttribution
from interp.errors import MethodError, MetricError
from interp.model.modules.calling import needed_inputs
from interp.parts.named_inputs import Example
from interp.tasks.metric import Metric
from interp.tasks.metrics import check_wrong, get_metric
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task
from interp.whole_numbers import count

DEFAULT_STEPS: Final = 32


@dataclass(frozen=True, eq=False)
class TokenOptions:
    """The options of `attribute_tokens`, as its page says them; None is the method's own."""

    method: str = "integrated-gradients"
    metric: str | Metric | None = None
    baseline: Reference | None = None
    features: Any = "tokens"
    target: Target | None = None
    per_token: bool = False
    steps: int | None = None
    samples: int | None = None
    window: int | None = None
    noise: float | None = None
    seed: int = 0
    limit: int | None = None
    batch_size: int | None = None
    stack: str | None = None


@dataclass(frozen=True, eq=False)
class TokenRequest:
    """A checked request: the task as it was given and as it is scored, its pairs as ids, the groups of each clean prompt, and the job that
    scores them."""

    options: TokenOptions
    given: Task
    task: Task
    pairs: tuple[TokenPair, ...]
    groups: tuple[Groups, ...]
    job: Job

    def score(self, show_progress: bool | None = None) -> TokenAttribution:
        """The values of every prompt."""
        rows, clean, base = self.job.score(self.pairs, show_progress)
        delta = clean - base - np.array([row.sum() for row in rows])
        job, method = self.job, self.job.method
        return TokenAttribution(
            tokens=tuple(own.names for own in self.groups),
            values=tuple(tuple(row.tolist()) for row in rows),
            clean_metric=tuple(clean.tolist()),
            delta=tuple(delta.tolist()) if method.complete else None,
            method=method.name,
            metric=job.metric.name,
            unit=job.metric.unit + method.unit,
            baseline="own" if isinstance(job.baseline, Tensor) else job.baseline,
            steps=job.steps if method.takes_steps else None,
            rules=method.rules.at_points(job.steps).describe(),
            model=job.model.name,
            task=self.task.name,
            features=self.options.features if isinstance(self.options.features, str) else "own",
            places=job.places,
            target=self._target_texts(),
            per_token=self._per_token(show_progress) if self.options.per_token else None,
            samples=job.sampling.samples or None,
            window=job.sampling.window or None,
            noise=job.sampling.noise or None,
            seed=job.sampling.seed if job.sampling.samples else None,
        )

    def _target_texts(self) -> tuple[tuple[str, ...], ...]:
        if self.options.target is None:
            return ()
        return tuple(tuple(map(self.job.model.output_text, tokens_of(pair))) for pair in self.pairs)

    def _per_token(self, show: bool | None) -> tuple[tuple[tuple[float, ...], ...], ...]:
        """The values of each token of each target: one more attribution for each token of the longest."""
        lengths = [len(tokens_of(pair)) for pair in self.pairs]
        each = [replace(self.job, metric=of_token(k)).score(self.pairs, show)[0] for k in range(max(lengths))]
        return tuple(tuple(tuple(each[k][i].tolist()) for k in range(n)) for i, n in enumerate(lengths))


def plan(model: Any, task: Task, options: TokenOptions) -> TokenRequest:
    """A checked request. Raises: as `attribute_tokens`."""
    method, metric = get_token_method(options.method), _metric(options)
    _check(method, metric, options)
    model, metric = metric.on(model)
    given, task = task, task.limit(options.limit)
    if options.target is not None:
        task = aimed(task, options.target, model.tokenizer)
    check_wrong(metric, task)
    pairs = task.tokenize(model.tokenizer, model.outputs, several=metric.several)
    held = options.target is not None
    stack = _stack(model, options.stack)
    groups = _groups(model, task, pairs, options.features, answers=not held, stack=stack)
    names, main = _names(model, pairs[0])
    job = Job(
        model,
        method,
        metric,
        method.baselines[0] if options.baseline is None else options.baseline,
        int(options.steps or method.rules.secants or DEFAULT_STEPS),
        options.batch_size or default_batch_size(model, max(pair.longest for pair in pairs)),
        _sampling(method, options),
        tuple(own.places for own in groups) if held or not _single(options.features) else (),
        held,
        _grid(pairs, groups) if method.window else (),
        stack,
        names,
        main,
    )
    return TokenRequest(options, given, task, tuple(pairs), tuple(groups), job)


#: Features that are the positions themselves.
_EACH: Final = ("tokens", "patches", "frames")


def _single(features: Any) -> bool:
    return isinstance(features, str) and features in _EACH


def _metric(options: TokenOptions) -> Metric:
    """The metric: of a target its log-probability, where none is named."""
    return get_metric("log_prob" if options.target is not None and options.metric is None else options.metric)


def _groups(
    model: Any, task: Task, pairs: Sequence[TokenPair], features: Any, *, answers: bool, stack: str
) -> list[Groups]:
    rows = [(pair, ids, task.where(i)) for i, (pair, ids) in enumerate(zip(task.pairs, pairs, strict=True))]
    return grouped(model, rows, features, answers=answers, stack=stack)


def _names(model: Any, pair: TokenPair) -> tuple[tuple[str, ...], str]:
    """What a model that reads several things calls them, and the main one; nothing of one that reads one."""
    if isinstance(pair.clean, Example) and len(needed_inputs(model.hf)) > 1:
        return tuple(sorted(pair.clean.tensors)), pair.clean.main
    return (), ""


def _stack(model: Any, asked: str | None) -> str:
    """Whose tokens: of a model with several stacks those of the first, which reads the prompts. Raises: SiteError for one that it has not."""
    found = model.layout.stacks[0] if asked is None else model.layout.stack(asked)
    return str(found.name)


def _grid(pairs: Sequence[TokenPair], groups: Sequence[Groups]) -> tuple[tuple[int, ...], ...]:
    """How the positions lie in rows and columns, where they are patches. Raises: MethodError for pictures of several sizes."""
    if not isinstance(pairs[0].clean, Example) or not patch_places(groups[0].names):
        return ()
    if len({own.names for own in groups}) > 1:
        raise MethodError("occlusion: pictures of several sizes in one call; give those of one size at a time.")
    return grid_of(groups[0].names, "occlusion")


def _sampling(method: Method, options: TokenOptions) -> Sampling:
    """What the method takes of these options, or its own. Raises: MethodError for one that it does not take."""
    given = {name: getattr(options, name) for name in ("samples", "window", "noise")}
    for name, value in given.items():
        if value is not None and not getattr(method, name):
            takes = [m.name for m in METHODS.values() if getattr(m, name)]
            raise MethodError(f"{name}={value} belongs to {' and '.join(takes)}; given with {method.name}.")
    own = {name: getattr(method, name) if value is None else value for name, value in given.items()}
    return Sampling(**own, seed=count(options.seed, "seed", MethodError, least=0))


def _check(method: Method, metric: Metric, options: TokenOptions) -> None:
    if metric.toward != "clean":
        raise MetricError(
            f"metric {metric.name!r} is a distance to another run; token attribution explains one prompt. "
            "Use 'logit_diff', 'log_prob' or 'cross_entropy'."
        )
    _check_baseline(method, options.baseline)
    if options.steps is not None and not method.takes_steps:
        raise MethodError(
            f"steps={options.steps} belongs to integrated-gradients and deeplift; given with {method.name}."
        )
    for name in ("steps", "samples", "window", "limit", "batch_size"):
        if (value := getattr(options, name)) is not None:
            count(value, name, MethodError)
    if options.noise is not None and not (isinstance(options.noise, (int, float)) and 0 < options.noise < np.inf):
        raise MethodError(f"noise={options.noise!r}: expected a positive number of standard deviations.")
    if method.window and not _single(options.features):
        raise MethodError(
            f"features with {method.name}: its window slides over single positions; expected {', '.join(map(repr, _EACH))}. Use "
            "'feature-ablation' for groups."
        )
    if options.per_token and (options.target is None or metric.name != "log_prob"):
        raise MethodError("per_token=True: expected a target, whose tokens it is about, and metric 'log_prob'.")


def _check_baseline(method: Method, baseline: Reference | None) -> None:
    """Raises: MethodError for a baseline that the method does not take."""
    own = isinstance(baseline, Tensor)
    if baseline is None or (own and len(method.baselines) > 1) or (not own and baseline in method.baselines):
        return
    given = f"of shape {list(baseline.shape)}" if isinstance(baseline, Tensor) else repr(baseline)
    expected = " or ".join(map(repr, method.baselines))
    raise MethodError(f"baseline {given} with {method.name}: expected {expected}.")
