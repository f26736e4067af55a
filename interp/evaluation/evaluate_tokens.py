"""Judge attributions to tokens by what the model does when tokens are replaced: the same for texts, images and sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from interp.attribution.token_request import TokenOptions, plan
from interp.attribution.tokens.token_job import Reference
from interp.attribution.tokens.token_targets import Target
from interp.attribution.tokens.token_values import TokenAttribution
from interp.errors import MethodError, MetricError, unknown
from interp.evaluation.judged_values import Attributions, by_name, judged
from interp.evaluation.token_evaluation import MEASURES, TokenEvaluation
from interp.evaluation.token_judge import KNOWN, Judge
from interp.evaluation.token_truth import known_groups
from interp.given import kinds_checked
from interp.tasks.find import task as find_task
from interp.tasks.metric import Metric
from interp.tasks.metrics import get_metric
from interp.tasks.task import Task
from interp.whole_numbers import count


@kinds_checked
def evaluate_tokens(
    model: Any,
    task: Task | str | Path,
    attributions: Attributions,
    *,
    measures: Sequence[str] | Literal["all"] | None = None,
    truth: Any = None,
    metric: str | Metric | None = None,
    baseline: Reference = "corrupt",
    features: Any = None,
    target: Target | None = None,
    scaled: bool = False,
    orders: int = 5,
    draws: int = 32,
    radius: float = 0.02,
    seed: int = 0,
    limit: int | None = None,
    batch_size: int | None = None,
    show_progress: bool | None = None,
) -> TokenEvaluation:
    """How good attributions are: a row for each method and measure, with a 95 % bootstrap interval over the pairs.

    | measure | better | what it is | source |
    | --- | --- | --- | --- |
    | `deletion`, `insertion` | lower, higher | mean of the metric while tokens are replaced, or put in, the largest value first | Samek et al. 2017, Petsiuk et al. 2018 |
    | `comprehensiveness`, `sufficiency` | higher, lower | what it loses without the top 1, 5, 10, 20, 50 %, or with them alone | DeYoung et al. 2020 |
    | `infidelity, removal`, `infidelity, noisy baseline` | lower | squared error of the values as changes of the metric | Yeh et al. 2019 |
    | `completeness gap` | lower | how far the values' sum is from metric of prompt - metric of baseline | Sundararajan et al. 2017 |
    | `max-sensitivity` | lower | largest relative change of the values near the prompt | Yeh et al. 2019 |
    | `randomisation` | lower | rank correlation with the values of a model of shuffled weights (MPRT) | Adebayo et al. 2018 |
    | `AUROC`, `pointing` | higher | against what is known to matter | Zhang et al. 2018 |

    attributions: names of token methods, what `attribute_tokens` gave, a list of these, or a mapping of names to these or to numbers of your
    own, a row for each prompt. measures: names; None is all but the two that run the methods again, `"all"` has them too. truth: for the last two what
    is known to matter: a span of the task, or positions, for all pairs or a list of them. metric, features, target, limit: as in `attribute_tokens`; where an
    attribution is given, its metric and features are the default. baseline: what tokens are replaced by, for all methods alike; tokens that equal it cannot
    be judged. Methods by name take it too, where they can. scaled: bring values to their best scale before infidelity; values of another unit than
    the metric (saliency) have none without, and no completeness gap. orders: random orders, whose curves are the band. draws: of noise, for infidelity. radius: of
    max-sensitivity, in standard deviations of the prompt's embeddings.

    Metrics of which less is better are turned, and values with them but for those of another unit, which are sizes: the better answer is always more. Units: the metric's.
    Cost per pair: at most 30F for each method and each random order, 2F for each draw; sets of tokens that come twice are run once.
    max-sensitivity costs 8 times the method, randomisation once and a copy of the model.
    Raises: MethodError for unknown measures or methods, values of other prompts, groups or metrics, measures that need what is not there, prompts that
    equal their baselines; MetricError for a distance to another run, or a metric normalised over the task; TaskError.
    """
    named, chosen = by_name(attributions), _chosen(measures, truth)
    metric, features = _defaults(named, metric, features)
    _check_numbers(orders, draws, radius)
    options = TokenOptions(
        "feature-ablation", metric, baseline, features, target, seed=seed, limit=limit, batch_size=batch_size
    )
    base = plan(model, find_task(task, model), options)
    known = None if truth is None else known_groups(truth, base.pairs, base.groups)
    every = judged(base, named, show_progress)
    judge = Judge(base, every, chosen, known, scaled, orders, draws, float(radius), seed, measures not in (None, "all"))
    return judge.evaluated(show_progress)


def _check_numbers(orders: int, draws: int, radius: float) -> None:
    """Raises: MethodError for numbers of nothing, and a radius that is none."""
    for name, value in (("orders", orders), ("draws", draws)):
        count(value, name, MethodError)
    if not (isinstance(radius, (int, float)) and 0 < radius < np.inf):
        raise MethodError(f"radius={radius!r}: expected a positive number of standard deviations.")


def _defaults(named: Mapping[str, Any], metric: Any, features: Any) -> tuple[Any, Any]:
    """Metric and features, those of the first attribution that is given where none are named. Raises: MetricError."""
    first = next((one for one in named.values() if isinstance(one, TokenAttribution)), None)
    if first is not None:
        metric = first.metric if metric is None else metric
        own = first.features if first.features != "own" else list(first.places)
        features = own if features is None else features
    if get_metric(metric).normalised:
        raise MetricError(f"metric {get_metric(metric).name!r} is one of all pairs together; use 'logit_diff'.")
    return metric, "tokens" if features is None else features


def _chosen(measures: Any, truth: Any) -> tuple[str, ...]:
    """The names of the measures. Raises: MethodError for unknown ones, and for those of a truth that is not there."""
    if measures is None or measures == "all":
        return tuple(
            name
            for name, m in MEASURES.items()
            if (measures or not m.again) and (truth is not None or name not in KNOWN)
        )
    names = (measures,) if isinstance(measures, str) else tuple(measures)
    for name in names:
        if name not in MEASURES:
            raise MethodError(unknown("measure", name, MEASURES))
        if name in KNOWN and truth is None:
            raise MethodError(f"measure {name!r} needs truth=: the positions, or the span, that are known to matter.")
    return tuple(name for name in MEASURES if name in names)
