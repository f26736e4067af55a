"""The one driver: it batches by length, shares runs between methods, accumulates in float64 and records provenance."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from interp.attribution.batching.batches import Batch
from interp.attribution.features.feature_space import FeatureSpace
from interp.attribution.protocol.registry import Method, Options
from interp.attribution.protocol.spaces import part_scores
from interp.attribution.scoring.asked import Asked, Metrics, collected
from interp.attribution.scoring.together import NOTHING, Aside, in_turns, together
from interp.ledger import PASS
from interp.model.modules import attention
from interp.model.modules.lock import settled
from interp.progress import progress
from interp.scores.scores import Scores
from interp.tasks.lengths import by_length
from interp.whole_numbers import whole

LOW_ACCURACY: Final = 0.75


@dataclass(frozen=True)
class Attribution(Asked):
    """A checked request for scores, and how its methods are run."""

    def score(self, show_progress: bool | None = None) -> dict[str, Scores]:
        """Run every batch once through every method. Raises: ScoreError for a score that is not finite.

        One attention implementation serves all runs of a call, so that differences of runs are differences of inputs.
        """
        one_attention = attention.selected(self.model.hf, None) if self.eager else nullcontext()
        with settled(self.model.device), one_attention:
            return self._score(show_progress)

    def _score(self, show_progress: bool | None) -> dict[str, Scores]:
        parts = self.space.parts(self.positions.labels)
        tables = {m.name: np.empty((len(self.pairs), len(parts))) for m in self.methods}
        costs = {m.name: np.zeros(3) for m in self.methods}
        if isinstance(self.space, FeatureSpace):
            costs[self.methods[0].name][0] += self.space.spent()
        asides: dict[str, Aside] = {}
        metrics: Metrics = []
        indices = self.indices
        work = sum(self._work(m) * (1 if m.joint else len(self._batches(m))) for m in self.methods)
        with progress("scoring", work, show_progress) as advance:
            for index in indices:
                batch = self.batch(index)
                for m in self.methods:
                    if not m.together:
                        tables[m.name][index], cost = self._run(m, batch, self._options(index, advance))
                        costs[m.name] += cost * (len(index) / len(self.pairs), len(index) / len(self.pairs), 1)
                metrics.append((index, *self.metrics_of(batch)))
            for m in self.methods:
                if m.together:
                    tables[m.name], costs[m.name], asides[m.name] = self._run_jointly(m, self._batches(m), advance)
        base, source = collected(metrics, len(self.pairs))
        self._warn_if_wrong(source if self.direction == "denoise" else base)
        found = {
            m.name: self.scores_of(m, parts, tables[m.name], costs[m.name], metrics, asides.get(m.name, NOTHING))
            for m in self.methods
        }
        return found if self.only is None else {k: s.select_components(self.only) for k, s in found.items()}

    @property
    def indices(self) -> list[list[int]]:
        """The pairs of each batch."""
        return list(by_length([p.shape for p in self.pairs], self.memory.batch_size))

    def _batches(self, m: Method) -> list[list[int]]:
        """The same for one method: the pairs of each turn after those of the one before, where pairs take turns."""
        return (
            [index for index, _ in in_turns(m, self.pairs, self.memory.batch_size, self._generator)]
            if m.masked
            else self.indices
        )

    @property
    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(whole(self.seed, "seed"))

    def batch(self, index: list[int]) -> Batch:
        """The batch of the pairs at `index`, of one length."""
        return self.space.batch(self.model, self.pairs, index, self.metric, self.direction, self.ablation)

    def _options(self, index: list[int], advance: Callable[[int], None]) -> Options:
        masks = self.positions.masks(index).to(self.model.device)
        return Options(
            masks,
            self.steps,
            self.quadrature,
            self._generator,
            advance,
            self.only,
            self.tau,
            self.restart.machine,
            self.restart.resumes,
            self.memory.replay,
            self.masks,
        )

    def _work(self, m: Method) -> int:
        """Steps of the progress bar for one batch; for all batches of a joint method."""
        parts = (len(self.only) if self.only else self.space.n_parts) * len(self.positions.labels)
        if m.exact or m.joint:
            return parts
        if m.masked:  # also the empty and the whole model, and what it begins with
            budget = m.spends if self.masks.budget is None else self.masks.budget
            rounds = self.masks.rounds or (m.passes if budget is None else int(budget / PASS))
            return rounds + 2 + m.warm
        return self.steps * (self.space.n_sites if m.per_site else 1) if m.uses_steps else 1

    def _run(self, m: Method, batch: Batch, options: Options) -> tuple[np.ndarray, np.ndarray]:
        """Scores [batch part] of one method on one batch, and (forwards, backwards, seconds) that it took."""
        start, before = time.perf_counter(), np.array([batch.forwards, batch.backwards])
        flat = part_scores(m, batch, options)
        after = np.array([batch.forwards, batch.backwards])
        return flat.numpy(), np.array([*(after - before), time.perf_counter() - start])

    def _run_jointly(
        self, m: Method, indices: list[list[int]], advance: Callable[[int], None]
    ) -> tuple[np.ndarray, np.ndarray, Aside]:
        """The same for a method that needs all batches at once, and what it says beside its scores."""
        start = time.perf_counter()
        batches = [self.batch(index) for index in indices]
        turn = [turn for _, turn in in_turns(m, self.pairs, self.memory.batch_size, self._generator)]
        found, aside = together(m, batches, [self._options(index, advance) for index in indices], turn)
        table = np.empty((len(self.pairs), found[0].shape[1]))
        for index, flat in zip(indices, found, strict=True):
            table[index] = flat.numpy()
        passes = [
            sum(getattr(b, n) * len(i) for b, i in zip(batches, indices, strict=True))
            for n in ("forwards", "backwards")
        ]
        return table, np.array([*(n / len(self.pairs) for n in passes), time.perf_counter() - start]), aside

    def metrics_of(self, batch: Batch) -> tuple[np.ndarray, np.ndarray | None]:
        """The metric of the base and of the source run on every example of a batch."""
        source = batch.source_metric()
        return batch.base_metric().double().cpu().numpy(), None if source is None else source.double().cpu().numpy()

    def _warn_if_wrong(self, clean: np.ndarray | None) -> None:
        """A warning where the model gets many clean prompts wrong; known only for the logit difference."""
        if clean is None or self.metric.name not in ("logit_diff", "normalized_logit_diff"):
            return
        right = float((clean > 0).mean())
        if right < LOW_ACCURACY:
            warnings.warn(
                f"the model answers only {right:.0%} of the clean prompts of {self.task!r} right (below {LOW_ACCURACY:.0%}); "
                "a circuit for a task that the model cannot do means little.",
                stacklevel=4,
            )
