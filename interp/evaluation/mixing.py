"""One prompt with some of its groups replaced by the baseline: what the measures ask of the model.

Axis words: `set group pos d_model`.
"""

from __future__ import annotations

import numpy as np
import torch

from interp.attribution.tokens.token_job import Batch, Job
from interp.precision import wide


class Mixed:
    """A prompt whose groups can be replaced. Each set is run once, whoever asks for it.

    players: the groups that differ from their baseline, which alone can change anything. sign: -1 where a lower metric is the better answer; all
    values are then turned, so that more is always better.
    """

    def __init__(self, job: Job, batch: Batch) -> None:
        """batch: of this one prompt."""
        self.job, self.batch = job, batch
        self.sign = 1 if job.metric.higher_is_better else -1
        n = batch.x.shape[1]
        own = np.array(batch.places[0] if batch.places else range(n))
        differs = (batch.x != batch.b).any(-1)[0].cpu().numpy()[: len(own)]
        self.players = np.unique(own[differs])
        #: The place of each position's group among the players, -1 of what does not play [pos].
        self.places = np.full(n, -1)
        for place, group in enumerate(self.players):
            self.places[: len(own)][own == group] = place
        self._seen: dict[bytes, float] = {}

    @property
    def n(self) -> int:
        """How many groups can be replaced."""
        return len(self.players)

    def values(self, kept: np.ndarray) -> np.ndarray:
        """The metric [set] of prompts that keep a share of each player, 1 of the prompt and 0 of the baseline [set player]."""
        kept = np.asarray(kept, dtype=np.float64)
        keys = [row.tobytes() for row in kept]
        new = [i for i, key in enumerate(dict.fromkeys(keys)) if key not in self._seen]
        rows = np.array([np.frombuffer(key) for key in dict.fromkeys(keys)]).reshape(-1, self.n)
        for start in range(0, len(new), self.job.size):
            index = new[start : start + self.job.size]
            for i, value in zip(index, self._run(rows[index]), strict=True):
                self._seen[rows[i].tobytes()] = float(value)
        return np.array([self._seen[key] for key in keys])

    def _run(self, kept: np.ndarray) -> np.ndarray:
        x, b = self.batch.x, self.batch.b
        shares = np.concatenate([kept, np.ones((len(kept), 1))], 1)[:, self.places]
        c = torch.as_tensor(shares, device=x.device).to(wide(x).dtype)[..., None]
        mixed = torch.where(c == 1, x, (c * wide(x) + (1 - c) * wide(b)).to(x.dtype))
        args = tuple(a.expand(len(kept), *a.shape[1:]) for a in self.batch.args)
        return self.sign * np.asarray(self.job.measured(mixed, args).double().cpu())

    def whole(self) -> float:
        """The metric of the prompt."""
        return float(self.values(np.ones((1, self.n)))[0])

    def empty(self) -> float:
        """The metric with everything replaced."""
        return float(self.values(np.zeros((1, self.n)))[0])
