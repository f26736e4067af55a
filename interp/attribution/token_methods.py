"""The methods of token attribution, and the runs of one batch that they share.

Axis words: `batch pos d_model step`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from interp.attribution.batching.batches import EMBED
from interp.errors import MethodError, MetricError
from interp.model.edits import Edit
from interp.model.modules.lock import settled
from interp.precision import wide
from interp.progress import progress
from interp.registries import About, Registry
from interp.rules.rules import DEEPLIFT, GRADIENT, OWN, Rules
from interp.rules.secants import mean_gradient
from interp.tasks.lengths import by_length
from interp.tasks.metrics import Metric
from interp.tasks.targets import Targets, last_of, make_targets
from interp.tasks.task import TokenPair, run_of

Baseline = Literal["corrupt", "zero"]


@dataclass(frozen=True)
class Batch:
    """Prompts of one length. x, b: embeddings of prompt and baseline [batch pos d_model]; args: ids, answer sets, and tokens of
    answers of several (`Targets.forced`) where there are; clean: the metric of the prompts [batch]."""

    x: Tensor
    b: Tensor
    args: tuple[Tensor, ...]
    clean: Tensor

    @property
    def targets(self) -> Targets:
        """What the metric measures against."""
        return _targets(*self.args[1:])


@dataclass(frozen=True)
class Job:
    """Everything that the batches of one call have in common."""

    model: Any
    method: Method
    metric: Metric
    baseline: Baseline
    steps: int
    size: int

    def score(self, pairs: Sequence[TokenPair], show: bool | None) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Per pair: the values of its tokens, the metric of the clean prompt and (complete methods) of the baseline."""
        with settled(self.model.device):
            return self._score(pairs, show)

    def _score(self, pairs: Sequence[TokenPair], show: bool | None) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        rows, clean, base, corrupt = [np.empty(0)] * len(pairs), *np.zeros((3, len(pairs)))
        batches = list(by_length([pair.shape for pair in pairs], self.size))
        with progress("attributing", len(batches), show) as advance:
            for index in batches:
                batch = self.batch([pairs[i] for i in index])
                for i, row in zip(index, _numpy(self.method.function(self, batch)), strict=True):
                    rows[i] = row
                clean[index] = _numpy(batch.clean)
                if self.method.complete:
                    base[index] = _numpy(self.measured(batch.b, batch.args))
                if self.metric.normalised:
                    corrupt[index] = _numpy(self.run([pairs[i] for i in index], "corrupt")[1])
                advance(1)
        span = _span(clean, corrupt, self.metric) if self.metric.normalised else 1.0
        return [row / span for row in rows], clean / span, base / span

    def batch(self, pairs: list[TokenPair]) -> Batch:
        """The embeddings of prompts and baselines, and the metric of the prompts."""
        x, clean = self.run(pairs, "clean")
        b = self.run(pairs, "corrupt")[0] if self.baseline == "corrupt" else torch.zeros_like(x)
        return Batch(x, b, self.args(pairs, "clean"), clean)

    def args(self, pairs: list[TokenPair], which: str) -> tuple[Tensor, ...]:
        """Token ids [batch pos], or the main input of what is no text, and the answer sets [batch d_vocab]: what captum hands through to `forward`."""
        given = run_of([getattr(pair, which) for pair in pairs])
        ids = (given if isinstance(given, Tensor) else given.alone).to(self.model.device)
        targets = make_targets(pairs, self.model.layout.d_vocab, self.model.device)
        more = () if targets.forced is None else (targets.forced,)
        return ids, targets.answers, targets.wrong, *more

    def run(self, pairs: list[TokenPair], which: str) -> tuple[Tensor, Tensor]:
        """The embeddings [batch pos d_model] and the metric [batch] of the clean or corrupt prompts."""
        ids, *sets = self.args(pairs, which)
        targets = _targets(*sets)
        with torch.no_grad():
            run = self.model.run(ids, reads=[EMBED], logits_to_keep=targets.n_read)
        return run[EMBED], self.measure(run.logits, targets)

    def measure(self, logits: Tensor, targets: Targets) -> Tensor:
        """The metric [batch] of logits [batch pos d_vocab]."""
        return self.metric(last_of(logits, targets.n_read), targets)

    def measured(self, x: Tensor, args: tuple[Tensor, ...]) -> Tensor:
        """`forward` without gradient."""
        with torch.no_grad():
            return self.forward(x, *args)

    def forward(self, x: Tensor, ids: Tensor, *sets: Tensor) -> Tensor:
        """The metric [batch] of the model run on embeddings `x` [batch pos d_model]: the function that captum sees."""
        targets = _targets(*sets)
        run = self.model.run(ids, edits=[Edit(EMBED, lambda _: x)], logits_to_keep=targets.n_read)
        return self.measure(run.logits, targets)


def _targets(answers: Tensor, wrong: Tensor, forced: Tensor | None = None) -> Targets:
    return Targets(answers, wrong, forced=forced)


def _numpy(x: Tensor) -> np.ndarray:
    return np.asarray(x.detach().double().cpu())


def _span(clean: np.ndarray, corrupt: np.ndarray, metric: Metric) -> float:
    """mean(clean) - mean(corrupt), the unit of a normalised metric."""
    span = float(clean.mean() - corrupt.mean())
    if abs(span) < 1e-9:
        raise MetricError(f"metric {metric.name!r}: clean and corrupt prompts have the same mean logit difference.")
    return span


# ---------------------------------------------------------------- the methods: [batch pos] of one batch


def _integrated_gradients(job: Job, batch: Batch) -> Tensor:
    """(x - b) . sum_k w_k dm/dx (b + alpha_k (x - b)), by captum with Gauss-Legendre points.

    captum's trapezoid weights sum to (n - 1) / n, so that rule is not used.
    """
    from captum.attr import IntegratedGradients

    job.model.check_gradients()
    found = IntegratedGradients(job.forward).attribute(
        batch.x,
        baselines=batch.b,
        additional_forward_args=batch.args,
        n_steps=job.steps,
        method="gausslegendre",
        internal_batch_size=max(job.size, len(batch.x)),
    )
    return _summed(found)


def _feature_ablation(job: Job, batch: Batch) -> Tensor:
    """m(prompt) - m(prompt with the baseline's embedding at one position), by captum; every d_model has the same value."""
    from captum.attr import FeatureAblation

    positions = torch.arange(batch.x.shape[1], device=batch.x.device)[None, :, None]
    with torch.no_grad():
        found = FeatureAblation(job.forward).attribute(
            batch.x,
            baselines=batch.b,
            additional_forward_args=batch.args,
            feature_mask=positions.expand(1, -1, batch.x.shape[2]),
        )
    return found[..., 0].detach()  # type: ignore[no-any-return]


def _gradient_x_input(job: Job, batch: Batch) -> Tensor:
    """x . dm/dx, by captum."""
    from captum.attr import InputXGradient

    job.model.check_gradients()
    return _summed(
        InputXGradient(job.forward).attribute(batch.x.clone().requires_grad_(), additional_forward_args=batch.args)
    )


def _relevance(job: Job, batch: Batch) -> Tensor:
    """x . rho(x): the embedding times its coefficient under the method's propagation rules."""
    ids, targets = batch.args[0], batch.targets
    job.model.check_gradients()
    with torch.enable_grad():
        run = job.model.run(ids, reads=[EMBED], rules=job.method.rules, logits_to_keep=targets.n_read)
        metric = job.measure(run.logits, targets)
        (rho,) = torch.autograd.grad(metric.sum(), [run[EMBED]])
    return _summed(run[EMBED] * rho)


def _deeplift(job: Job, batch: Batch) -> Tensor:
    """(x - b) . m: with the gradient in which every operation's Jacobian is averaged between prompt and baseline."""
    ids, targets = batch.args[0], batch.targets
    with torch.no_grad():
        edit = Edit(EMBED, lambda _: batch.b)
        other = job.model.run(ids, edits=[edit], logits_to_keep=targets.n_read, keep_operands=True)
    with torch.enable_grad():
        rules = job.method.rules.at_points(job.steps)
        run = job.model.run(ids, reads=[EMBED], rules=rules, toward=other, logits_to_keep=targets.n_read)
        logits = last_of(run.logits, targets.n_read)
        ends = logits.detach(), last_of(other.logits, targets.n_read)
        slope = mean_gradient(lambda y: job.metric(y, targets), *ends, job.steps)
        (multiplier,) = torch.autograd.grad(logits, [run[EMBED]], slope)
    return _summed((batch.x - batch.b) * multiplier)


def _summed(values: Tensor) -> Tensor:
    """[batch pos d_model] -> [batch pos], in float32 or better."""
    return wide(values.detach()).sum(-1)


@dataclass(frozen=True)
class Method:
    """One way to score tokens, in units of the metric. `complete`: the values sum to m(clean) - m(baseline) as the steps grow."""

    name: str
    function: Callable[[Job, Batch], Tensor]
    baselines: tuple[Baseline, ...]
    formula: str
    cost: str
    paper: str
    rules: Rules = GRADIENT
    complete: bool = False

    @property
    def about(self) -> About:
        return About(self.formula, "the metric's", self.cost, self.paper)


METHODS: Final = Registry(
    "token method",
    "interp.token_methods",
    MethodError,
    (
        Method(
            "integrated-gradients",
            _integrated_gradients,
            ("corrupt", "zero"),
            formula="(x - b) . sum_k w_k dm/dx(b + alpha_k (x - b))",
            cost="2F + K (F + B)",
            paper="Sundararajan et al. 2017",
            complete=True,
        ),
        Method(
            "feature-ablation",
            _feature_ablation,
            ("corrupt", "zero"),
            formula="m(prompt) - m(prompt with b at one position)",
            cost="(2 + P) F",
            paper="Zeiler and Fergus 2014",
        ),
        Method(
            "gradient-x-input",
            _gradient_x_input,
            ("zero",),
            formula="x . dm/dx",
            cost="2F + 1B",
            paper="Shrikumar et al. 2016",
        ),
        *(
            Method(own.name, _relevance, ("zero",), "x . rho(x)", "2F + 1B", own.source, own.rules)
            for own in OWN
            if own.rules != GRADIENT and not own.rules.secants
        ),
        Method(
            "deeplift",
            _deeplift,
            ("corrupt", "zero"),
            formula="(x - b) . m, m averaged between both runs",
            cost="5F + 1B",
            paper="Shrikumar et al. 2017",
            rules=DEEPLIFT,
            complete=True,
        ),
    ),
)
#: The names of captum's methods that would be wrong here.
_REFUSED: Final = {
    "lrp": "captum's LRP has no rule for GELU, SiLU and LayerNorm and raises there; use 'relp', 'relp-ah' or 'attnlrp'",
    "deep-lift": (
        "captum's DeepLift hooks activation modules of a kind that these models do not have and then silently equals "
        "gradient x input; use 'deeplift', which averages every operation"
    ),
}


def get_token_method(name: str) -> Method:
    """The method of this name. Raises: MethodError with the reason for a refused one, the near names for another."""
    if reason := _REFUSED.get(name):
        raise MethodError(f"token method {name!r} is refused: {reason}.")
    return METHODS[name]
