"""What a run says of what follows: cross-entropy, how far it is from the full model, and how often it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from interp.depth.material import Prompts
from interp.errors import InterpError
from interp.precision import wide
from interp.scores.resampling import resample_weights


@dataclass(frozen=True, eq=False)
class Outcome:
    """One run at the places that are read: cross-entropy in nats, the KL divergence from the full model in nats, and whether the most probable
    token is right, each [batch read]."""

    cross_entropy: Tensor
    kl: Tensor
    right: Tensor


def log_probabilities(prompts: Prompts, logits: Tensor) -> Tensor:
    """The log-probabilities at the places that are read [batch read d_vocab]. Raises: InterpError for logits that are not finite."""
    found = torch.log_softmax(wide(prompts.read(logits)), dim=-1)
    if not bool(torch.isfinite(found.amax(-1)).all()):
        raise InterpError(
            "logits of this run are not finite; expected a model whose runs are, also without some of its layers."
        )
    return found


def outcome(prompts: Prompts, found: Tensor, full: Tensor | None = None) -> Outcome:
    """What log-probabilities [batch read d_vocab] say; full: those of the full model, by default the same."""
    answers = prompts.answers.to(found.device)
    each = found.gather(-1, answers.clamp_min(0)).masked_fill(answers < 0, -torch.inf)
    right = (found.argmax(-1, keepdim=True) == answers).any(-1)
    kl = torch.zeros_like(each[..., 0]) if full is None else _divergence(full, found)
    return Outcome(-each.logsumexp(-1), kl, right)


def _divergence(full: Tensor, found: Tensor) -> Tensor:
    """KL(full || found) [batch read] in nats; a token that the full model bans adds nothing."""
    gap = torch.where(full == -torch.inf, 0.0, full - found)
    return (full.exp() * gap).sum(-1)


@dataclass(eq=False)
class Sums:
    """Sums over the places of each prompt [prompt, (cross-entropy, kl, right)], and how many places there are [prompt]."""

    n_prompts: int
    sums: np.ndarray = field(init=False)
    n: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.sums, self.n = np.zeros((self.n_prompts, 3)), np.zeros(self.n_prompts)

    def add(self, places: Sequence[int], found: Outcome) -> None:
        """The prompts at these places."""
        each = torch.stack([found.cross_entropy, found.kl, found.right.to(found.kl)], -1).double().sum(1)
        self.sums[list(places)] = each.cpu().numpy()
        self.n[list(places)] = found.kl.shape[1]

    @property
    def mean(self) -> np.ndarray:
        """Mean over all places: cross-entropy, KL, share right."""
        return np.asarray(self.sums.sum(0) / self.n.sum())

    def interval(self, seed: int) -> tuple[float, float]:
        """The 95 % bootstrap interval of the cross-entropy, over prompts; of one prompt the value itself."""
        if self.n_prompts == 1:
            return (float(self.mean[0]),) * 2
        weights = resample_weights(self.n_prompts, seed)
        low, high = np.quantile(weights @ self.sums[:, 0] / (weights @ self.n), [0.025, 0.975])
        return float(low), float(high)
