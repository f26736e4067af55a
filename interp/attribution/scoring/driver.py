"""The one driver: it batches by length, shares runs between methods, accumulates in float64 and records provenance."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch

from interp.attribution.batching.batches import Batch
from interp.attribution.batching.positions import Positions
from interp.attribution.exact.machine import Restart, find_restart
from interp.attribution.exact.node_patches import REPLAYED
from interp.attribution.features.feature_space import FeatureSpace
from interp.attribution.protocol.registry import MaskSettings, Method, Options, with_start
from interp.attribution.protocol.spaces import EdgeSpace, NodeSpace, Space, part_scores
from interp.attribution.scoring.memory import Memory
from interp.attribution.scoring.together import NOTHING, Aside, in_turns, together
from interp.errors import MetricError
from interp.ledger import PASS
from interp.model.modules import attention
from interp.model.modules.lock import settled
from interp.parts.graph import Part
from interp.progress import progress
from interp.rules.rules import preset
from interp.scores.scores import Provenance, Scores
from interp.tasks.lengths import by_length
from interp.tasks.metric import Direction, Metric
from interp.tasks.pairs.token_pairs import TokenPair, digest
from interp.tasks.replacements import Ablation
from interp.whole_numbers import whole

LOW_ACCURACY: Final = 0.75
Metrics = list[tuple[list[int], np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Attribution:
    """A checked request for scores: everything that its methods have in common."""

    model: Any
    task: str
    level: str
    methods: list[Method]
    space: Space
    pairs: list[TokenPair]
    positions: Positions
    metric: Metric
    direction: Direction
    ablation: Ablation
    memory: Memory
    seed: int
    steps: int
    quadrature: str
    only: frozenset[str] | None
    special_tokens: str
    tau: float | None = None
    masks: MaskSettings = field(default_factory=MaskSettings)

    @cached_property
    def restart(self) -> Restart:
        """How exact patching restarts the model in the middle; looked for where a method is exact."""
        if not any(m.exact for m in with_start(self.methods, self.masks)):
            return Restart(None, "no exact method")
        if (
            not self.model.layout.others
            and isinstance(self.space, NodeSpace)
            and (odd := {g.kind for g in self.space.groups} - REPLAYED)
        ):
            return Restart(None, f"nodes of kind {min(odd)!r} are not known to replays.")
        with settled(self.model.device):
            return find_restart(self.model)

    def score(self, show_progress: bool | None = None) -> dict[str, Scores]:
        """Run every batch once through every method. Raises: ScoreError for a score that is not finite.

        One attention implementation serves all runs of a call, so that differences of runs are differences of inputs.
        """
        one_attention = attention.selected(self.model.hf, None) if self.eager else nullcontext()
        with settled(self.model.device), one_attention:
            return self._score(show_progress)

    @property
    def eager(self) -> bool:
        """Whether the runs use eager attention: where q, k, v are read, a rule acts inside attention, or attention is
        redone for some positions; at edges always."""
        redone = self.restart.machine is not None and not self.restart.machine.whole
        ruled = any(m.rules.in_attention for m in self.methods)
        return self.model.layout.entry is None and (redone or ruled or self.level in ("qkv", "edges"))

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
        base, source = _collect(metrics, len(self.pairs))
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

    def scores_of(
        self,
        m: Method,
        parts: Sequence[Part],
        table: np.ndarray,
        cost: np.ndarray,
        metrics: Metrics,
        aside: Aside = NOTHING,
    ) -> Scores:
        """What a method found, with its provenance. table [example part]; cost: forwards, backwards, seconds; metrics: of
        every batch its examples and what `metrics_of` says of them."""
        base, source = _collect(metrics, len(self.pairs))
        tau = aside.tau
        if self.metric.normalised:
            span, corrupt = self._span(base, source)
            table = table if m.unit else table / (abs(span) if m.unsigned else span)
            base = (base - corrupt) / span
            tau = None if tau is None else tau / abs(span)
            source = None if source is None else (source - corrupt) / span
        provenance = Provenance(
            method=m.name,
            unit=m.unit or self.metric.unit,
            importance_sign=1 if m.unit or m.unsigned else self.metric.importance_sign(self.direction),
            rules=self._rules(m),
            steps=self.steps if m.uses_steps or m.rules.secants else None,
            quadrature=self.quadrature if m.uses_steps else None,
            base_metric=float(base.mean()),
            source_metric=None if source is None else float(source.mean()),
            forwards=float(cost[0]),
            backwards=float(cost[1]),
            seconds=float(cost[2]),
            exact=m.exact,
            engine=str(self.restart) if m.exact else "",
            coefficients_at=m.coefficients_at,
            tau=tau,
            unsigned=m.unsigned,
            masks=aside.said,
            **self._asked(),
        )
        return Scores(tuple(parts), table, provenance)

    def _rules(self, m: Method) -> str:
        """What stands for the gradient: the method's own rules, or the preset that a search on masks was given."""
        other = preset(self.masks.backward) if m.masked and self.masks.backward else m.rules
        return other.at_points(self.steps).describe()

    def _asked(self) -> dict[str, Any]:
        """What the provenance of every method says alike: what was asked of which model, and how it ran."""
        return {
            "level": self.level,
            "positions": self.positions.mode,
            "direction": self.direction,
            "ablation": self.ablation.kind,
            "constants": str(self.ablation.learned or ""),
            "metric": self.metric.name,
            "seed": self.seed,
            "model": self.model.name,
            "task": self.task,
            "n_pairs": len(self.pairs),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "attention": "eager" if self.eager else str(getattr(self.model.config, "_attn_implementation", "none")),
            "special_tokens": self.special_tokens,
            "pairs": digest(self.pairs),
            **self._graph(),
        }

    def _graph(self) -> dict[str, Any]:
        """Which graph the edges belong to, or which dictionaries the features."""
        if isinstance(self.space, FeatureSpace):
            return {"dictionaries": self.space.dictionaries}
        if not isinstance(self.space, EdgeSpace):
            return {}
        return {"kv": self.space.graph.kv, "split_positions": self.space.graph.split_positions}

    def _span(self, base: np.ndarray, source: np.ndarray | None) -> tuple[float, float]:
        """mean(clean) - mean(corrupt), the unit of a normalised metric, and mean(corrupt), its zero."""
        if source is None:
            raise MetricError(f"metric {self.metric.name!r} needs the paired run.")
        clean, corrupt = (source, base) if self.direction == "denoise" else (base, source)
        span = float(clean.mean() - corrupt.mean())
        if abs(span) < 1e-9:
            raise MetricError(
                f"metric {self.metric.name!r}: clean and corrupt prompts have the same mean logit difference."
            )
        return span, float(corrupt.mean())

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


def _collect(parts: Metrics, n: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Metrics of base and source per example, in task order."""
    base, source = np.empty(n), np.empty(n)
    for index, b, s in parts:
        base[index] = b
        source[index] = np.nan if s is None else s
    return base, None if np.isnan(source).any() else source
