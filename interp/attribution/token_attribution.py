"""Attribution to input tokens: how much each token of the clean prompt contributes to the metric.

The gradient and perturbation methods are captum's, applied to the embedding (site `embed`) of the live model; the
relevance methods are the rule sets of `interp.rules.rules`. Axis words: `batch pos d_model step`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from interp.attribution.batching.batches import default_batch_size
from interp.attribution.token_methods import Baseline, Job, Method, get_token_method
from interp.errors import MethodError, MetricError
from interp.formatting.showing import figure
from interp.formatting.table import Table, check_sizes, lines_of
from interp.formatting.text import token, visible
from interp.given import kinds_checked
from interp.parts.named_inputs import Example
from interp.parts.texts import token_text
from interp.tasks.find import task as find_task
from interp.tasks.metrics import Metric, check_wrong, get_metric
from interp.tasks.task import Prompt, Task
from interp.whole_numbers import count

DEFAULT_STEPS: Final = 32


@dataclass(frozen=True, repr=False)
class TokenAttribution(Table):
    """A number per token of every clean prompt, in the metric's unit.

    tokens, values: per pair, one text and one number per token. clean_metric: the metric of each clean prompt, in
    the same unit (a normalised one is divided by its span, not shifted).
    delta: m(clean) - m(baseline) - sum of the values, per pair, where the method promises that this is 0; else None.
    steps: points on the path, for integrated gradients. rules: the propagation rules of a relevance method.
    """

    tokens: tuple[tuple[str, ...], ...]
    values: tuple[tuple[float, ...], ...]
    clean_metric: tuple[float, ...]
    delta: tuple[float, ...] | None
    method: str
    metric: str
    unit: str
    baseline: Baseline
    steps: int | None
    rules: str
    model: str
    task: str

    def __post_init__(self) -> None:
        n = (len(self.tokens),)
        check_sizes(self, values=(list(map(len, self.values)), list(map(len, self.tokens))))
        check_sizes(self, clean_metric=((len(self.clean_metric),), n), delta=((len(self.delta or self.tokens),), n))

    @property
    def totals(self) -> tuple[float, ...]:
        """The sum over the tokens of each pair."""
        return tuple(sum(row) for row in self.values)

    def to_pandas(self) -> Any:
        """A table: pair, position, token, value."""
        rows = [
            (pair, position, own, value)
            for pair, (tokens, values) in enumerate(zip(self.tokens, self.values, strict=True))
            for position, (own, value) in enumerate(zip(tokens, values, strict=True))
        ]
        return lines_of(("pair", "position", "token", "value"), rows)

    def plot(self, example: int = 0, **options: Any) -> Any:
        """A plotly figure of one prompt."""
        return figure(self, example=example, **options)

    def __str__(self) -> str:
        head = f"TokenAttribution({self.method}, {len(self.tokens)} prompts, {self.metric} in {self.unit}, baseline {self.baseline})"
        if not self.tokens:
            return visible(head)
        pairs = zip(self.tokens[0], self.values[0], strict=True)
        first = " ".join(f"{token(t)} {v:+.3f}" for t, v in list(pairs)[-12:])
        return f"{visible(head)}\n  first prompt: {'… ' if len(self.tokens[0]) > 12 else ''}{first}"


@kinds_checked
def attribute_tokens(
    model: Any,
    task: Task | str | Path,
    *,
    method: str = "integrated-gradients",
    metric: str | Metric | None = None,
    baseline: Baseline | None = None,
    steps: int | None = None,
    limit: int | None = None,
    batch_size: int | None = None,
    show_progress: bool | None = None,
) -> TokenAttribution:
    """What each token of the clean prompts contributes to the metric at the last position, or where the answer is given.

    | method | value of token p (x: its embedding, b: its baseline) | baseline | cost |
    | --- | --- | --- | --- |
    | `integrated-gradients` | (x - b) . mean over the path of dm/dx, Gauss-Legendre | corrupt, zero | steps (F + B) |
    | `deeplift` | (x - b) . m, m the gradient with every operation averaged between prompt and baseline | corrupt, zero | 5F + 1B |
    | `feature-ablation` | m(prompt) - m(prompt with b in place of x) | corrupt, zero | 1F per token |
    | `gradient-x-input` | x . dm/dx | zero | 1F + 1B |
    | `relp`, `relp-ah`, `attnlrp`, `cp-lrp`, `gim` | x . rho(x), rho the relevance coefficient | zero | 1F + 1B |

    x is the site `embed`: token and position embedding as the first block reads them. baseline `corrupt` is that of the
    paired prompt, so that only tokens that differ can score; `zero` is the zero vector. The first listed is the default.
    steps: points of integrated gradients (32 by default) and of each softmax of `deeplift` (8); `delta` shows whether they were enough (with `zero` they rarely are:
    a norm turns fast near the zero vector). limit: the first so many pairs.

    Units: those of the metric. Source: Sundararajan et al. 2017 (integrated gradients), Zeiler & Fergus 2014 (ablation),
    Shrikumar et al. 2016 (gradient x input), `interp.rules.rules` for the others; captum 0.9 (Kokhlikyan et al. 2020).
    Raises: MethodError for an unknown or refused method, or options that do not belong to it; MetricError for a
    distance to another run; UnsupportedRuleError where a rule set does not cover the model; TaskError.
    """
    chosen, measure = get_token_method(method), get_metric(metric)
    _check(chosen, measure, baseline, steps, limit, batch_size)
    task = find_task(task, model).limit(limit)
    check_wrong(measure, task)
    pairs = task.tokenize(model.tokenizer, model.outputs, several=measure.several)
    size = batch_size or default_batch_size(model, max(pair.longest for pair in pairs))
    job = Job(
        model,
        chosen,
        measure,
        baseline or chosen.baselines[0],
        int(steps or chosen.rules.secants or DEFAULT_STEPS),
        size,
    )
    rows, clean, base = job.score(pairs, show_progress)
    delta = clean - base - np.array([row.sum() for row in rows])
    return TokenAttribution(
        tokens=tuple(_texts(model, pair.clean) for pair in pairs),
        values=tuple(tuple(row.tolist()) for row in rows),
        clean_metric=tuple(clean.tolist()),
        delta=tuple(delta.tolist()) if chosen.complete else None,
        method=chosen.name,
        metric=measure.name,
        unit=measure.unit,
        baseline=job.baseline,
        steps=job.steps if chosen.complete else None,
        rules=chosen.rules.at_points(job.steps).describe(),
        model=model.name,
        task=task.name,
    )


def _check(
    chosen: Method, metric: Metric, baseline: str | None, steps: int | None, limit: int | None, batch_size: int | None
) -> None:
    if metric.toward != "clean":
        raise MetricError(
            f"metric {metric.name!r} is a distance to another run; token attribution explains one prompt. "
            "Use 'logit_diff', 'log_prob' or 'cross_entropy'."
        )
    if baseline is not None and baseline not in chosen.baselines:
        raise MethodError(
            f"baseline {baseline!r} with {chosen.name}: expected {' or '.join(map(repr, chosen.baselines))}."
        )
    if steps is not None and not chosen.complete:
        raise MethodError(f"steps={steps} belongs to integrated-gradients and deeplift; given with {chosen.name}.")
    for name, value in (("steps", steps), ("limit", limit), ("batch_size", batch_size)):
        if value is not None:
            count(value, name, MethodError)


def _texts(model: Any, prompt: Prompt) -> tuple[str, ...]:
    """The texts of a prompt's tokens, or the names of its positions where it is no text."""
    if isinstance(prompt, Example):
        return model.positions(prompt)  # type: ignore[no-any-return]
    return tuple(token_text(model.tokenizer, i) for i in prompt)
