"""The methods that take gradients, each [batch pos] of one batch: captum's, and those of our rules.

Axis words: `batch pos d_model step`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from interp.attribution.tokens.draws import drawn
from interp.attribution.tokens.token_job import Batch, Job
from interp.precision import wide
from interp.rules.secants import mean_gradient
from interp.tasks.targets import last_of


def integrated_gradients(job: Job, batch: Batch) -> Tensor:
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
    return summed(found)


def gradient_x_input(job: Job, batch: Batch) -> Tensor:
    """x . dm/dx, by captum."""
    from captum.attr import InputXGradient

    job.model.check_gradients()
    return summed(
        InputXGradient(job.forward).attribute(batch.x.clone().requires_grad_(), additional_forward_args=batch.args)
    )


def saliency(job: Job, batch: Batch) -> Tensor:
    """sum over d_model of |dm/dx|, by captum."""
    from captum.attr import Saliency

    job.model.check_gradients()
    x = batch.x.clone().requires_grad_()
    return summed(Saliency(job.forward).attribute(x, additional_forward_args=batch.args))


def smooth_grad(job: Job, batch: Batch) -> Tensor:
    """sum over d_model of |mean over samples of dm/dx (x + e)|, e normal of `noise` standard deviations of the prompt's embeddings, by captum."""
    from captum.attr import NoiseTunnel, Saliency

    job.model.check_gradients()

    def one(alone: Batch) -> Tensor:
        found = NoiseTunnel(Saliency(job.forward)).attribute(
            alone.x.clone().requires_grad_(),
            nt_type="smoothgrad",
            nt_samples=job.sampling.samples,
            nt_samples_batch_size=min(job.size, job.sampling.samples),
            stdevs=job.sampling.noise * float(wide(alone.x).std()),
            additional_forward_args=alone.args,
            abs=False,
        )
        return summed(found.abs())

    return each_drawn(batch, one)


def gradient_shap(job: Job, batch: Batch) -> Tensor:
    """(x - b) . mean over samples of dm/dx at random points between b and x, by captum."""
    from captum.attr import GradientShap

    job.model.check_gradients()

    def one(alone: Batch) -> Tensor:
        total = torch.zeros_like(wide(alone.x))
        for n in _portions(job.sampling.samples, job.size):
            found = GradientShap(job.forward).attribute(
                alone.x.clone().requires_grad_(),
                baselines=alone.b,
                n_samples=n,
                additional_forward_args=alone.args,
            )
            total += wide(found.detach()) * (n / job.sampling.samples)
        return summed(total)

    return each_drawn(batch, one)


def relevance(job: Job, batch: Batch) -> Tensor:
    """x . rho(x): the embedding times its coefficient under the method's propagation rules."""
    given, targets = job.given(batch.args), batch.targets
    job.model.check_gradients()
    with torch.enable_grad():
        n, rules = targets.n_read, job.method.rules
        run = job.model.run(given, reads=job.entrance.sites, edits=batch.edits, rules=rules, logits_to_keep=n)
        metric = job.measure(run.logits, targets)
        rho = job.entrance.gradients(metric.sum(), run)
    return summed(job.method.rules.linear.relevance(job.entrance.values(run), rho))


def deeplift(job: Job, batch: Batch) -> Tensor:
    """(x - b) . m: with the gradient in which every operation's Jacobian is averaged between prompt and baseline."""
    given, targets = job.given(batch.args), batch.targets
    n = targets.n_read
    with torch.no_grad():
        other = job.model.run(given, edits=job.entrance.edits(batch.b), logits_to_keep=n, keep_operands=True)
    with torch.enable_grad():
        rules = job.method.rules.at_points(job.steps)
        run = job.model.run(
            given, reads=job.entrance.sites, edits=batch.edits, rules=rules, toward=other, logits_to_keep=n
        )
        logits = last_of(run.logits, targets.n_read)
        ends = logits.detach(), last_of(other.logits, targets.n_read)
        slope = mean_gradient(lambda y: job.metric(y, targets), *ends, job.steps)
        multiplier = job.entrance.gradients(logits, run, slope)
    return summed((batch.x - batch.b) * multiplier)


def each_drawn(batch: Batch, one: object) -> Tensor:
    """What `one` makes of each prompt alone, with the random numbers of its own seed, so that it does not depend on its batch."""
    rows = []
    for i, seed in enumerate(batch.seeds):
        with drawn(seed, batch.x.device):
            rows.append(one(batch.one(i)))  # type: ignore[operator]
    return torch.cat(rows)


def _portions(n: int, most: int) -> list[int]:
    """n as a sum of numbers of at most `most`."""
    return [most] * (n // most) + [n % most] * bool(n % most)


def summed(values: Tensor) -> Tensor:
    """[batch pos d_model] -> [batch pos], in float32 or better."""
    return wide(values.detach()).sum(-1)
