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
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import Tensor

from interp.errors import MetricError, unknown
from interp.precision import wide
from interp.registries import About
from interp.tasks.reading.answers import SEVERAL
from interp.tasks.targets import Targets

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
    [batch pos d_vocab], and `targets.forced`. `reads`: the sites that it measures instead of the logits, such as `("resid_post.2",)`: the
    function then gets a mapping of their names to what stands there, [batch ...] at the last position or [batch pos ...]; `"logits"` is one of
    the names. A probe, a neuron, a feature's direction are metrics of that kind; parts behind what is read are no parts then.
    """

    name: str
    function: Callable[[Any, Targets], Tensor]
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
    reads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_reads()
        if self.needs_wrong is None:
            object.__setattr__(self, "needs_wrong", self.toward == "clean" and not self.reads)
        if self.positions not in POSITIONS:
            raise MetricError(unknown(f"positions of metric {self.name!r}", self.positions, POSITIONS))
        if self.vocabulary not in VOCABULARIES:
            raise MetricError(unknown(f"vocabulary of metric {self.name!r}", self.vocabulary, VOCABULARIES))
        if self.several and (self.positions, self.vocabulary) != ("last", "all"):
            raise MetricError(f"metric {self.name!r}: several=True goes with positions='last' and vocabulary='all'.")

    def _check_reads(self) -> None:
        """Raises: MetricError for sites that are no tuple of names, and for what speaks of logits alone."""
        if isinstance(self.reads, str) or not all(isinstance(name, str) and name for name in self.reads):
            raise MetricError(
                f"metric {self.name!r}: reads={self.reads!r:.80}; expected names of sites, such as ('resid_post.2',)."
            )
        object.__setattr__(self, "reads", tuple(self.reads))
        if self.reads and (self.several or self.vocabulary != "all"):
            raise MetricError(
                f"metric {self.name!r} reads {', '.join(self.reads)}: several= and vocabulary= speak of logits."
            )

    def on(self, model: Any) -> tuple[Any, Metric]:
        """The model whose runs end with what the metric reads, and the metric of that; both as they are for a metric of the logits.
        Raises: SiteError for a site that the model has not."""
        if not self.reads or model.outcome is not None:
            return model, self
        view = model.ending_at(self.reads)
        name = f"{self.name} of {', '.join(view.outcome.names)}"
        return view, replace(self, name=name, function=partial(_of_reads, self.function, view.outcome))

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


def _of_reads(function: Callable[[Any, Targets], Tensor], outcome: Any, joined: Tensor, targets: Targets) -> Tensor:
    """A function of reads, of these side by side."""
    return function(outcome.parts(joined), targets)


def lacks_wrong(name: str, where: str) -> str:
    """What to say of a metric that needs wrong tokens, and of a pair without any."""
    return (
        f"metric {name!r} compares the answers with wrong ones, and {where} has no 'wrong'; give it, or choose a metric of the "
        "answers alone: 'logit', 'log_prob' or 'cross_entropy'."
    )
