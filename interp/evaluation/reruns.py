"""Measures that run the method again: near the prompt, and on a model whose weights are shuffled.

Axis words: `batch pos d_model`.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from interp.attribution.tokens.draws import drawn, seed_of
from interp.attribution.tokens.token_job import Batch, Job
from interp.precision import wide
from interp.scores.resampling import spearman


def max_sensitivity(
    job: Job, batch: Batch, values: np.ndarray, *, draws: int, radius: float, seed: int
) -> float | None:
    """max over draws of |values(x + e) - values(x)| / |values(x)|, Euclidean, every number of e uniform within `radius` standard deviations of
    the prompt's embeddings. None where all values are 0. Random numbers of the method itself are the same in every draw.

    batch: of one prompt. Source: Yeh et al. 2019, definition 4. Cost: `draws` times the method.
    """
    size = float(np.linalg.norm(values))
    if size == 0:
        return None
    furthest = 0.0
    for k in range(draws):
        x = wide(batch.x)
        with drawn(seed_of(seed, k), x.device):
            noise = radius * float(x.std()) * (2 * torch.rand_like(x) - 1)
        if batch.places:  # the tokens of a target stay as they are
            noise[:, len(batch.places[0]) :] = 0
        furthest = max(furthest, float(np.linalg.norm(_again(job, batch, (x + noise).to(batch.x.dtype)) - values)))
    return furthest / size


def _again(job: Job, batch: Batch, x: torch.Tensor) -> np.ndarray:
    """The values of one prompt, from other embeddings, or of another model."""
    return job.values(replace(batch, x=x, clean=job.measured(x, batch.args), moved=True))[0]


def shuffled(model: Any, seed: int) -> Any:
    """A copy of a model in which the numbers of each parameter are in random order: its scale stays, what it learned does not. The model itself
    is left as it is. Memory: the parameters once more."""
    found = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in found.hf.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return found


def randomisation(job: Job, other: Any, batch: Batch, values: np.ndarray) -> float | None:
    """The rank correlation of values with those of `other`, a model of shuffled weights, at the same embeddings and baseline. None where either does not
    vary, or of fewer than three groups.

    A method that explains the model gives about 0; one that shows the input whatever the model is gives 1. batch: of one prompt.
    Source: Adebayo et al. 2018 (all layers at once). Cost: once the method.
    """
    if len(values) < 3:
        return None
    again = _again(replace(job, model=other), batch, batch.x)
    found = spearman(values[None], again[None])[0]
    return None if np.isnan(found) else float(found)
