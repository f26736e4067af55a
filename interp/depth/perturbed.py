"""The full model with noise on what enters its final norm: what a choice among several outputs gains where there is nothing to choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from interp.depth.material import Material, Prompts
from interp.depth.outcomes import Outcome, log_probabilities, outcome
from interp.depth.removal import run_without, stream_sites, streams_of

#: The sizes of noise that are tried, in lengths of the stream.
SIZES: Final = np.geomspace(1e-2, 10, 12)


@dataclass(frozen=True, eq=False)
class Noise:
    """Noise on some prompts. kl: the mean KL divergence from the full model of each of `SIZES`, made to rise."""

    material: Material
    seed: int
    kl: np.ndarray

    @classmethod
    def of(cls, material: Material, seed: int) -> Noise:
        """Measure what noise of each size does."""
        total, n = np.zeros(len(SIZES)), 0
        bare = cls(material, seed, total)
        for i, prompts in enumerate(material):
            x, full = bare._full(prompts)
            each = [bare._perturbed(prompts, x, full, size, (i, 0, k)).kl for k, size in enumerate(SIZES)]
            total += [float(kl.double().sum()) for kl in each]
            n += each[0].numel()
        return cls(material, seed, np.maximum.accumulate(total / n))

    def best_of(self, divergences: Sequence[float]) -> tuple[float, float]:
        """The share of answers that the full model or some of as many perturbations, each of one of these mean KL divergences, gets right; and
        the mean KL that they have."""
        sizes = [self.size(kl) for kl in divergences]
        right, n, kl = 0, 0, 0.0
        for i, prompts in enumerate(self.material):
            x, full = self._full(prompts)
            found = [self._perturbed(prompts, x, full, size, (i, 1, k)) for k, size in enumerate(sizes)]
            some = torch.stack([outcome(prompts, full).right, *(one.right for one in found)]).any(0)
            right, n = right + int(some.sum()), n + some.numel()
            kl += sum(float(one.kl.double().sum()) for one in found) / max(1, len(found))
        return right / n, kl / n

    def size(self, kl: float) -> float:
        """The size of noise that has this mean KL divergence, between the sizes that were tried; the largest of them at most."""
        low = np.log(np.maximum(self.kl, 1e-12))
        return float(np.exp(np.interp(np.log(max(kl, 1e-12)), low + 1e-9 * np.arange(len(low)), np.log(SIZES))))

    def _full(self, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """The last stream of the full model, and its log-probabilities."""
        n = self.material.model.layout.n_layers
        run = run_without(self.material.model, prompts, (), reads=stream_sites(range(n)))
        return streams_of(run.reads, range(n), n)[n], log_probabilities(prompts, run.logits)

    def _perturbed(self, prompts: Prompts, x: Tensor, full: Tensor, size: float, draw: tuple[int, ...]) -> Outcome:
        """What the model says with noise of a size relative to each stream."""
        model: Any = self.material.model
        drawn = np.random.default_rng((self.seed, *draw)).standard_normal(tuple(x.shape), dtype=np.float32)
        noise = torch.from_numpy(drawn).to(x) * (size * x.norm(dim=-1, keepdim=True) / x.shape[-1] ** 0.5)
        n = model.layout.n_layers
        logits = run_without(model, prompts, (), streams={n: x + noise}, start=n).logits
        return outcome(prompts, log_probabilities(prompts, logits), full)
