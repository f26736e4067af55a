"""What a part of the stream does to the answer, measured with the final norm frozen at the run.

With x the stream that the part reads, and l(x) = scale * W_U N(x) + b its logits under the frozen norm N:

    logit, logit_diff      (l(x + part) - l(x)) . t, which is linear in the part and does not depend on x      t: answers, or answers minus wrong
    log_prob_increase      log p(answers | x + part) - log p(answers | x)

Axis words: `example part d_vocab`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from interp.errors import MetricError
from interp.registries import About, Registry

#: Logits of x [example d_vocab], of x with the part [example part d_vocab], the answers and the wrong tokens [example d_vocab] as weights.
Function = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Measure:
    """A measure of a part: (logits before, logits after, answers, wrong) to [example part].

    linear: whether parts add up to their sum in it, before a soft cap. needs_wrong: whether the task needs wrong answers.
    """

    name: str
    function: Function
    units: str
    formula: str
    linear: bool
    cost: str
    source: str
    needs_wrong: bool = False

    @property
    def about(self) -> About:
        return About(self.formula, self.units, self.cost, self.source)


def _of(logits: Tensor, weights: Tensor) -> Tensor:
    return torch.einsum("ekv,ev->ek", logits, weights.to(logits.dtype))


def log_probs(logits: Tensor, answers: Tensor) -> Tensor:
    """Log-probability of the answers together [example part]. logits: [example part d_vocab]; answers: [example d_vocab], not 0 at an answer."""
    logits = logits.double()
    own = logits.masked_fill((answers == 0)[:, None], -torch.inf)
    return torch.logsumexp(own, -1) - torch.logsumexp(logits, -1)


def _logit(before: Tensor, after: Tensor, answers: Tensor, wrong: Tensor) -> Tensor:
    return _of(after - before[:, None], answers)


def _logit_diff(before: Tensor, after: Tensor, answers: Tensor, wrong: Tensor) -> Tensor:
    return _of(after - before[:, None], answers - wrong)


def _increase(before: Tensor, after: Tensor, answers: Tensor, wrong: Tensor) -> Tensor:
    return log_probs(after, answers) - log_probs(before[:, None], answers)


MEASURES: Final = Registry(
    "measure of effects",
    "interp.measures",
    MetricError,
    (
        Measure(
            "logit",
            _logit,
            "logits",
            "what the part adds to the mean logit of the answers",
            True,
            "F + N D",
            "Elhage et al. 2021",
        ),
        Measure(
            "logit_diff",
            _logit_diff,
            "logits",
            "what it adds to that less the mean logit of the wrong ones",
            True,
            "F + N D",
            "Elhage et al. 2021",
            True,
        ),
        Measure(
            "log_prob_increase",
            _increase,
            "nats",
            "log p of the answers with the part less that without it, in front of all that is written later",
            False,
            "F + N D V once, N V per prompt",
            "Yu & Ananiadou 2024",
        ),
    ),
)
