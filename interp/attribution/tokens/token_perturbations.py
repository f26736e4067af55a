"""The methods that replace groups of positions by the baseline, each [batch pos] of one batch, by captum.

A position that equals its baseline changes nothing when it is replaced, so it is no player and costs no run: its value is 0.
Axis words: `batch pos d_model`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from interp.attribution.tokens.token_gradients import each_drawn
from interp.attribution.tokens.token_job import Batch, Job
from interp.errors import MethodError
from interp.precision import wide


def feature_ablation(job: Job, batch: Batch) -> Tensor:
    """m(prompt) - m(prompt with the baseline's embedding at one position, or at those of one group), by captum; every d_model has the same value."""
    from captum.attr import FeatureAblation

    if batch.places:
        positions = torch.tensor(_padded(batch), device=batch.x.device)[..., None]
    else:
        positions = torch.arange(batch.x.shape[1], device=batch.x.device)[None, :, None]
    with torch.no_grad():
        found = FeatureAblation(job.forward).attribute(
            batch.x,
            baselines=batch.b,
            additional_forward_args=batch.args,
            feature_mask=positions.expand(-1, -1, batch.x.shape[2]),
        )
    return found[..., 0].detach()  # type: ignore[no-any-return]


def occlusion(job: Job, batch: Batch) -> Tensor:
    """Mean over the windows of neighbours that hold a position of m(prompt) - m(prompt with the baseline in that window), by captum.

    Windows lie side by side in every place; on the patches of a picture they are squares. What is no patch is never replaced and has 0.
    """
    from captum.attr import Occlusion

    at = torch.tensor(job.grid or [list(range(batch.x.shape[1]))], device=batch.x.device)
    window = (min(job.sampling.window, at.shape[0]), job.sampling.window)
    if window[1] > at.shape[1]:
        raise MethodError(f"window={window[1]} with {at.shape[1]} positions in a row; expected at most as many.")

    def forward(grid: Tensor, whole: Tensor, *args: Tensor) -> Tensor:
        return job.forward(whole.clone().index_copy(1, at.flatten(), grid.flatten(1, 2)), *args)

    with torch.no_grad():
        found = Occlusion(forward).attribute(
            batch.x[:, at],
            sliding_window_shapes=(*window, batch.x.shape[2]),
            baselines=batch.b[:, at],
            additional_forward_args=(batch.x, *batch.args),
        )
    values = torch.zeros(batch.x.shape[:2], device=batch.x.device, dtype=found.dtype)
    return values.index_copy(1, at.flatten(), found[..., 0].flatten(1)).detach()


def shapley(job: Job, batch: Batch) -> Tensor:
    """Mean over orders of what a group changes when it is put in behind those before it, by captum: over `samples` random orders, over all of
    them where they are no more."""
    from captum.attr import ShapleyValues, ShapleyValueSampling

    def one(alone: Batch, mask: Tensor, n: int) -> Tensor:
        exact = math.factorial(n) <= job.sampling.samples
        method = ShapleyValues(job.forward) if exact else ShapleyValueSampling(job.forward)
        more = {} if exact else {"n_samples": job.sampling.samples}
        return _perturbed(job, method, alone, mask, **more)

    return _each(job, batch, one)


def kernel_shap(job: Job, batch: Batch) -> Tensor:
    """Weights of the linear model of which groups are there, fitted to `samples` random sets with the weights of Shapley's kernel, by captum."""
    from captum.attr import KernelShap

    return _each(job, batch, lambda *given: _fitted(job, KernelShap, *given))


def lime(job: Job, batch: Batch) -> Tensor:
    """Weights of the sparse linear model (lasso, 0.01) of which groups are there, fitted to `samples` random sets by nearness, by captum."""
    from captum.attr import Lime

    return _each(job, batch, lambda *given: _fitted(job, Lime, *given))


def _fitted(job: Job, kind: Any, alone: Batch, mask: Tensor, n: int) -> Tensor:
    """What a fit says of each group; of one group alone there is nothing to fit, and it is what replacing it changes."""
    if n == 1:
        change = wide(alone.clean - job.measured(alone.b, alone.args))
        return change[:, None].expand(1, mask.shape[1])
    return _perturbed(job, kind(job.forward), alone, mask, n_samples=job.sampling.samples)


def _perturbed(job: Job, method: Any, alone: Batch, mask: Tensor, **options: Any) -> Tensor:
    with torch.no_grad():
        found = method.attribute(
            alone.x,
            baselines=alone.b,
            additional_forward_args=alone.args,
            feature_mask=mask[..., None].expand(-1, -1, alone.x.shape[2]).contiguous(),  # captum views it
            perturbations_per_eval=job.size,
            **options,
        )
    return found[..., 0].detach()  # type: ignore[no-any-return]


def _each(job: Job, batch: Batch, one: Any) -> Tensor:
    """What `one` makes of each prompt, its players (groups that differ from their baseline) as a mask [1 pos] of 0 to n - 1, and n."""

    def alone(single: Batch) -> Tensor:
        differs = (single.x != single.b).any(-1)[0]
        own = torch.tensor(_padded(single)[0], device=single.x.device)
        players = torch.unique(own[differs])
        plays = torch.isin(own, players)
        if not len(players):
            return torch.zeros(1, len(own), device=single.x.device, dtype=wide(single.clean).dtype)
        # What does not play equals its baseline, so it may go along with the first player.
        mask = torch.where(plays, torch.searchsorted(players, own), 0)[None]
        return torch.where(plays, wide(one(single, mask, len(players))), 0)

    return each_drawn(batch, alone)


def _padded(batch: Batch) -> list[list[int]]:
    """The group of each position [batch pos]; what belongs to none, the tokens of an answer that are held, each by itself."""
    n = batch.x.shape[1]
    rows = batch.places or (tuple(range(n)),) * len(batch.x)
    return [[*row, *range(max(row) + 1, max(row) + 1 + n - len(row))] for row in rows]
