"""From logits to one number per example, with its unit and direction.

Every metric reads the logits at the last real token of the prompt, [batch d_vocab]. `toward` says what a metric
measures the nearness of, and so which sign means important (`importance_sign`):

* `clean`: how well the clean answer is given; patching an important node with the clean value raises it.
* `source`, `base`: a distance to the other run, or to the run that is patched; an important node lowers the first
  and raises the second, in either direction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from interp.errors import MetricError, unknown
from interp.tasks.task import TokenPair

Direction = Literal["denoise", "noise"]


@dataclass(frozen=True)
class Targets:
    """What a batch is measured against.

    `answers`, `wrong` [batch d_vocab]: 1 / size on the tokens of the set, 0 elsewhere. `source`, `base`: logits of
    the two runs at the position read [batch d_vocab], without gradient.
    """

    answers: Tensor
    wrong: Tensor
    source: Tensor | None = None
    base: Tensor | None = None


@dataclass(frozen=True)
class Metric:
    """A named function `(logits [batch d_vocab], targets) -> [batch]` of the logits at the last real token.

    `normalised`: scores are divided by mean(clean) - mean(corrupt), so that 0 is the corrupt run and 1 the clean one.
    """

    name: str
    function: Callable[[Tensor, Targets], Tensor]
    unit: str
    description: str
    higher_is_better: bool = True
    toward: Literal["clean", "source", "base"] = "clean"
    normalised: bool = False

    def __call__(self, logits: Tensor, targets: Targets) -> Tensor:
        """The value per example, in float32 or better. Raises: MetricError where it is not finite or misshapen."""
        value = self.function(logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits, targets)
        if value.shape != logits.shape[:1]:
            raise MetricError(
                f"metric {self.name!r} gave shape {tuple(value.shape)}; expected one number per example ({logits.shape[0]},)."
            )
        if not bool(torch.isfinite(value).all()):
            raise MetricError(
                f"metric {self.name!r} is not finite on example {int((~torch.isfinite(value)).nonzero()[0])} of the batch."
            )
        return value

    def importance_sign(self, direction: Direction) -> int:
        """+1 where a positive score means important, -1 where a negative one does."""
        if self.toward != "clean":
            return -1 if self.toward == "source" else 1
        return (1 if direction == "denoise" else -1) * (1 if self.higher_is_better else -1)


def _logit_diff(logits: Tensor, t: Targets) -> Tensor:
    return (logits * (t.answers - t.wrong).to(logits.dtype)).sum(-1)


def _log_prob(logits: Tensor, t: Targets) -> Tensor:
    log_probs = torch.log_softmax(logits, dim=-1)
    return torch.logsumexp(log_probs.masked_fill(t.answers == 0, -torch.inf), dim=-1)


def _reference(logits: Tensor | None, which: str) -> Tensor:
    if logits is None:
        raise MetricError(f"a distance to the {which} run was asked for where there is no {which} run.")
    return logits


def _kl(logits: Tensor, reference: Tensor) -> Tensor:
    p = torch.log_softmax(reference.to(logits.dtype), dim=-1)
    return (p.exp() * (p - torch.log_softmax(logits, dim=-1))).sum(-1)


def _l2(logits: Tensor, reference: Tensor) -> Tensor:
    return (logits - reference.to(logits.dtype)).square().sum(-1)


METRICS: Final = {
    m.name: m
    for m in (
        Metric("logit_diff", _logit_diff, "logits", "mean logit of the answers minus mean logit of the wrong ones"),
        Metric(
            "normalized_logit_diff",
            _logit_diff,
            "fraction of clean - corrupt",
            "logit difference, 0 at corrupt and 1 at clean",
            normalised=True,
        ),
        Metric("log_prob", _log_prob, "nats", "log-probability of the answers together"),
        Metric(
            "cross_entropy",
            lambda x, t: -_log_prob(x, t),
            "nats",
            "minus the log-probability of the answers",
            higher_is_better=False,
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
    )
}


def get_metric(metric: str | Metric | None) -> Metric:
    """A metric by name; None is `logit_diff`. Raises: MetricError with the near names."""
    if isinstance(metric, Metric):
        return metric
    name = "logit_diff" if metric is None else metric
    if callable(name):
        raise MetricError(
            "metric: given a function; wrap it with its unit: interp.Metric(name, function, unit, description)."
        )
    if name not in METRICS:
        raise MetricError(unknown("metric", name, METRICS))
    return METRICS[name]


def make_targets(pairs: list[TokenPair], d_vocab: int, device: torch.device) -> Targets:
    """The answer sets of a batch, without the runs."""
    answers, wrong = torch.zeros(2, len(pairs), d_vocab, device=device, dtype=torch.float64)
    for i, pair in enumerate(pairs):
        answers[i, list(pair.answers)] = 1 / len(pair.answers)
        wrong[i, list(pair.wrong)] = 1 / len(pair.wrong)
    return Targets(answers, wrong)
