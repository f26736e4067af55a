"""From logits to one number per example, with its unit and direction.

A metric reads the logits at the last real token of the prompt, [batch d_vocab], or at every position,
[batch pos d_vocab]; of an answer of several tokens those at all positions that give them. `toward` says what a metric measures the nearness of, and so which sign means important
(`importance_sign`):

* `clean`: how well the clean answer is given; patching an important node with the clean value raises it.
* `source`, `base`: nearness to the other run, or to the run that is patched. In either direction an important node
  brings the output nearer the first and away from the second. A distance falls as it comes nearer
  (`higher_is_better=False`), a projection rises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from interp.errors import MetricError, unknown
from interp.precision import wide
from interp.registries import About, Registry
from interp.tasks.reading.answers import SEVERAL
from interp.tasks.targets import Targets
from interp.tasks.task import Task

Direction = Literal["denoise", "noise"]
POSITIONS: Final = ("last", "all")
VOCABULARIES: Final = ("answers", "all")


@dataclass(frozen=True)
class Metric:
    """A named function `(logits, targets) -> [batch]`, and what its value means.

    `positions`: the function gets the logits at the `last` real token [batch d_vocab], or at `all` of them
    [batch pos d_vocab]. `normalised`: scores are divided by mean(clean) - mean(corrupt), so that 0 is the corrupt run and
    1 the clean one. `from_base`: a metric toward the source run that is measured from the base run, so its targets hold
    both. `vocabulary`: the function reads the logits of `all` tokens, or of the `answers` and wrong tokens only; then it may
    be given the columns of these alone, in logits and targets alike. `source`: a paper, where it is from one. `needs_wrong`: it
    reads the wrong tokens, so that pairs without any are refused; None: where it measures nearness to the clean answer.
    `several`: it takes an answer of several tokens; of a batch with one it gets the logits of all positions that give them,
    [batch pos d_vocab], and `targets.forced`.
    """

    name: str
    function: Callable[[Tensor, Targets], Tensor]
    unit: str
    description: str
    higher_is_better: bool = True
    toward: Literal["clean", "source", "base"] = "clean"
    normalised: bool = False
    positions: Literal["last", "all"] = "last"
    from_base: bool = False
    vocabulary: Literal["answers", "all"] = "all"
    source: str = ""
    needs_wrong: bool | None = None
    several: bool = False

    def __post_init__(self) -> None:
        if self.needs_wrong is None:
            object.__setattr__(self, "needs_wrong", self.toward == "clean")
        if self.positions not in POSITIONS:
            raise MetricError(unknown(f"positions of metric {self.name!r}", self.positions, POSITIONS))
        if self.vocabulary not in VOCABULARIES:
            raise MetricError(unknown(f"vocabulary of metric {self.name!r}", self.vocabulary, VOCABULARIES))
        if self.several and (self.positions, self.vocabulary) != ("last", "all"):
            raise MetricError(f"metric {self.name!r}: several=True goes with positions='last' and vocabulary='all'.")

    def __call__(self, logits: Tensor, targets: Targets) -> Tensor:
        """The value per example, in float32 or better.

        Raises: MetricError where it is not finite or misshapen, where the logits are those of other positions, or where there are
        no wrong tokens and it needs them.
        """
        if self.needs_wrong and not targets.all_wrong:
            raise MetricError(lacks_wrong(self.name, "a pair"))
        if targets.forced is not None and not self.several:
            raise MetricError(f"metric {self.name!r} reads an answer of one token; a pair has several. {SEVERAL}")
        expected = 2 if self.positions == "last" and targets.forced is None else 3
        if logits.ndim != expected:
            raise MetricError(
                f"metric {self.name!r} was given logits of shape {tuple(logits.shape)}; it reads the "
                f"{self.positions} position{'s' if expected == 3 else ''}: expected [batch{', pos' * (expected == 3)}, d_vocab]."
            )
        value = self.function(wide(logits), targets)
        if value.shape != logits.shape[:1]:
            raise MetricError(
                f"metric {self.name!r} gave shape {tuple(value.shape)}; expected one number per example ({logits.shape[0]},)."
            )
        if not bool(torch.isfinite(value).all()):
            raise MetricError(
                f"metric {self.name!r} is not finite on example {int((~torch.isfinite(value)).nonzero()[0])} of the batch."
            )
        return value

    @property
    def about(self) -> About:
        return About(self.description, self.unit, source=self.source)

    def importance_sign(self, direction: Direction) -> int:
        """+1 where a positive score means important, -1 where a negative one does."""
        nearer = 1 if self.higher_is_better else -1
        if self.toward == "clean":
            return nearer if direction == "denoise" else -nearer
        return nearer if self.toward == "source" else -nearer


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


def lacks_wrong(name: str, where: str) -> str:
    """What to say of a metric that needs wrong tokens, and of a pair without any."""
    return (
        f"metric {name!r} compares the answers with wrong ones, and {where} has no 'wrong'; give it, or choose a metric of the "
        "answers alone: 'log_prob' or 'cross_entropy'."
    )
