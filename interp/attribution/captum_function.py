"""A model and a task as a function, inputs, baselines and further arguments, which any class of captum takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from interp.attribution.token_request import TokenOptions, plan
from interp.attribution.tokens.token_job import Reference
from interp.attribution.tokens.token_targets import Target
from interp.errors import MetricError, TaskError
from interp.given import kinds_checked
from interp.tasks.find import task as find_task
from interp.tasks.lengths import listed
from interp.tasks.metric import Metric
from interp.tasks.metrics import get_metric
from interp.tasks.task import Task


class CaptumFunction(NamedTuple):
    """What captum's classes take. f: `f(x, *args)` is the metric [batch] of the live model run on the embeddings x [batch pos d_model];
    inputs, baselines: those of the clean prompts and what replaces them [batch pos d_model]; args: token ids and answers, batch first."""

    f: Callable[..., Tensor]
    inputs: Tensor
    baselines: Tensor
    args: tuple[Tensor, ...]


@kinds_checked
def captum_function(
    model: Any,
    task: Task | str | Path,
    *,
    metric: str | Metric | None = None,
    baseline: Reference = "corrupt",
    target: Target | None = None,
    limit: int | None = None,
) -> CaptumFunction:
    """`(f, inputs, baselines, args)` for any class of captum: `IntegratedGradients(f).attribute(inputs, baselines, additional_forward_args=args)`.

    The function is of embeddings, not of token ids, so that captum's classes for layers and neurons, which walk between inputs, work on it too:
    `LayerConductance(f, model.hf.model.layers[3].mlp)`. They see the model's own modules. metric, baseline, target: as in `attribute_tokens`.

    Raises: MetricError for a distance to another run, or a metric that is normalised over the task; TaskError for prompts of several
    lengths; MethodError for a baseline of another size. Units: those of the metric. Cost: 2F, and 1F for each call of f.
    """
    if get_metric(metric).normalised:
        raise MetricError(f"metric {get_metric(metric).name!r} is one of all pairs together; use 'logit_diff'.")
    options = TokenOptions(metric=metric, baseline=baseline, target=target, limit=limit)
    request = plan(model, find_task(task, model), options)
    lengths = [pair.length for pair in request.pairs]
    if len(set(lengths)) > 1:
        raise TaskError(
            f"captum takes prompts of one length in a call; task {request.task.name!r} has {listed(lengths)} tokens. Give pairs of one length: "
            "interp.task(..., length='commonest'), or one pair at a time."
        )
    batch = request.job.batch(list(request.pairs))
    return CaptumFunction(request.job.forward, batch.x, batch.b, batch.args)
