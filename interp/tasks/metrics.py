"""The metrics that have a name, their formulas, and one of them by what is asked for."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from interp.errors import MetricError
from interp.registries import Registry
from interp.tasks.metric import Metric, lacks_wrong
from interp.tasks.targets import Targets
from interp.tasks.task import Task


def _logit_diff(logits: Tensor, t: Targets) -> Tensor:
    return (logits * (t.answers - t.wrong).to(logits.dtype)).sum(-1)


def _together(values: Tensor, among: Tensor) -> Tensor:
    """logsumexp over the columns where `among` is not 0 -> [batch]."""
    return torch.logsumexp(values.masked_fill(among == 0, -torch.inf), dim=-1)


def _log_prob(logits: Tensor, t: Targets) -> Tensor:
    """Of an answer of several tokens the sum over them, each behind those before it: positions are [batch pos d_vocab] then."""
    own, logits = t.answered, _several(logits)
    log_probs = torch.log_softmax(logits, dim=-1)
    if t.forced is None:
        return _together(log_probs[:, own], t.answers[:, own])
    before = log_probs[:, :-1].gather(2, t.forced.clamp(min=0)[:, :, None]).squeeze(2)
    last = _together(log_probs[:, -1, own], t.answers[:, own])
    return last + torch.where(t.forced >= 0, before, 0.0).sum(-1)


def _several(logits: Tensor) -> Tensor:
    """The logits. Raises: MetricError for one alone, which has no probability but 1."""
    if logits.shape[-1] < 2:
        raise MetricError("this model has one output, which is no distribution; use metric 'logit', or 'l2_source'.")
    return logits


def _behind_first(x: Tensor) -> Tensor:
    """What is at positions 1 and up. Raises: MetricError where there are none."""
    if x.shape[1] < 2:
        raise MetricError(
            "this metric reads outputs at positions 1 and up, and there is one output for a prompt; use 'l2_source'."
        )
    return x[:, 1:]


def _prob_diff(logits: Tensor, t: Targets) -> Tensor:
    signs = (t.answers > 0).to(logits.dtype) - (t.wrong > 0).to(logits.dtype)
    return (torch.softmax(_several(logits), dim=-1) * signs).sum(-1)


def _reference(logits: Tensor | None, which: str) -> Tensor:
    if logits is None:
        raise MetricError(f"a distance to the {which} run was asked for where there is no {which} run.")
    return logits


def _kl(logits: Tensor, reference: Tensor) -> Tensor:
    p = torch.log_softmax(_several(reference.to(logits.dtype)), dim=-1)
    return (p.exp() * (p - torch.log_softmax(logits, dim=-1))).sum(-1)


def _l2(logits: Tensor, reference: Tensor) -> Tensor:
    return (logits - reference.to(logits.dtype)).square().sum(-1)


def _largest_change(logits: Tensor, t: Targets) -> Tensor:
    """max over pos >= 1 and outputs of |logits - base|; position 0 (BOS) has no defined output.

    Raises: MetricError under a gradient: that of a maximum of sizes speaks of one output only, and of none at the base.
    """
    if logits.requires_grad:
        raise MetricError("metric 'largest_change' is for exact methods only; use 'projection' for gradients.")
    return _behind_first(logits - _reference(t.base, "base").to(logits.dtype)).abs().flatten(1).amax(-1)


def _projection(logits: Tensor, t: Targets) -> Tensor:
    """sum over pos >= 1 and outputs of (logits - base) . (source - base) / |source - base|; 0 where the runs are equal."""
    base = _reference(t.base, "base").to(logits.dtype)
    way = _behind_first(_reference(t.source, "source").to(logits.dtype) - base).flatten(1)
    length = way.norm(dim=-1, keepdim=True)
    unit = torch.where(length > 0, way / length.where(length > 0, 1), 0)
    return ((logits - base)[:, 1:].flatten(1) * unit).sum(-1)


METRICS: Final = Registry(
    "metric",
    "interp.metrics",
    MetricError,
    (
        Metric(
            "logit_diff",
            _logit_diff,
            "logits",
            "mean logit of the answers minus mean logit of the wrong ones",
            vocabulary="answers",
        ),
        Metric(
            "normalized_logit_diff",
            _logit_diff,
            "fraction of clean - corrupt",
            "logit difference, 0 at corrupt and 1 at clean",
            normalised=True,
            vocabulary="answers",
        ),
        Metric(
            "logit",
            lambda x, t: (x * t.answers.to(x.dtype)).sum(-1),
            "logits",
            "mean logit of the answers; of a similarity the similarity",
            needs_wrong=False,
            vocabulary="answers",
        ),
        Metric(
            "log_prob", _log_prob, "nats", "log-probability of the answers together", needs_wrong=False, several=True
        ),
        Metric(
            "cross_entropy",
            lambda x, t: -_log_prob(x, t),
            "nats",
            "minus the log-probability of the answers",
            higher_is_better=False,
            needs_wrong=False,
            several=True,
        ),
        Metric(
            "kl_source",
            lambda x, t: _kl(x, _reference(t.source, "source")),
            "nats",
            "KL(source run || this run)",
            False,
            "source",
        ),
        Metric(
            "l2_source",
            lambda x, t: _l2(x, _reference(t.source, "source")),
            "logits squared",
            "squared distance of the logits to the source run",
            False,
            "source",
        ),
        Metric(
            "kl_base",
            lambda x, t: _kl(x, _reference(t.base, "base")),
            "nats",
            "KL(base run || this run); exact and IG methods only",
            False,
            "base",
        ),
        Metric(
            "l2_base",
            lambda x, t: _l2(x, _reference(t.base, "base")),
            "logits squared",
            "squared distance of the logits to the base run; exact and IG methods only",
            False,
            "base",
        ),
        Metric(
            "largest_change",
            _largest_change,
            "logits",
            "largest change of any output, at positions 1 and up, against the base run; exact methods only",
            False,
            "base",
            positions="all",
        ),
        Metric(
            "projection",
            _projection,
            "logits",
            "how far the outputs, at positions 1 and up, have moved along the line from the base to the source run",
            toward="source",
            positions="all",
            from_base=True,
        ),
        Metric(
            "logsumexp",
            lambda x, t: _together(x, t.answers) - _together(x, t.wrong),
            "logits",
            "logsumexp of the answers' logits minus logsumexp of the wrong ones': the log-odds of the two sets",
            vocabulary="answers",
        ),
        Metric(
            "prob_diff",
            _prob_diff,
            "probability",
            "probability of the answers together minus that of the wrong ones",
            source="Hanna et al. 2023",
        ),
    ),
)


def get_metric(metric: str | Metric | None) -> Metric:
    """A metric by name; None is `logit_diff`. Raises: MetricError with the near names."""
    if isinstance(metric, Metric):
        return metric
    name = "logit_diff" if metric is None else metric
    if callable(name):
        raise MetricError(
            "metric: given a function; wrap it with its unit: interp.Metric(name, function, unit, description)."
        )
    return METRICS[name]


def check_wrong(metric: Metric, task: Task) -> None:
    """Raises: MetricError where the metric reads wrong tokens and a pair of the task has none, naming the pair."""
    lacking = next((i for i, pair in enumerate(task.pairs) if not pair.has_wrong), None)
    if metric.needs_wrong and lacking is not None:
        raise MetricError(lacks_wrong(metric.name, task.where(lacking)))
