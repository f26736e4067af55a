"""The one driver: it batches by length, shares runs between methods, accumulates in float64 and records provenance."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from interp import attention
from interp.ablations import Ablation
from interp.attribution.batches import Batch, by_length
from interp.attribution.positions import Positions
from interp.attribution.registry import Method, Options
from interp.errors import MetricError
from interp.metrics import Direction, Metric
from interp.nodes import Group, nodes_of
from interp.progress import progress
from interp.rules import GRADIENT
from interp.scores import Provenance, Scores
from interp.tasks.task import TokenPair, digest

LOW_ACCURACY: Final = 0.75


@dataclass(frozen=True)
class Attribution:
    """A checked request for scores: everything that its methods have in common."""

    model: Any
    task: str
    level: str
    methods: list[Method]
    groups: list[Group]
    pairs: list[TokenPair]
    positions: Positions
    metric: Metric
    direction: Direction
    ablation: Ablation
    batch_size: int
    seed: int
    steps: int
    quadrature: str
    only: frozenset[str] | None
    special_tokens: str

    def score(self, show_progress: bool | None = None) -> dict[str, Scores]:
        """Run every batch once through every method. Raises: ScoreError for a score that is not finite.

        One attention implementation serves all runs of a call, so that differences of runs are differences of inputs.
        """
        device = self.model.device.type
        one_attention = attention.selected(self.model.hf, None) if self.eager else nullcontext()
        with torch.inference_mode(False), torch.autocast(device, enabled=False), one_attention:
            return self._score(show_progress)

    @property
    def eager(self) -> bool:
        """Whether the runs use eager attention: where q, k, v are read or a rule acts inside attention."""
        return self.level == "qkv" or any(m.rules.attention != GRADIENT.attention for m in self.methods)

    def _score(self, show_progress: bool | None) -> dict[str, Scores]:
        nodes = nodes_of(self.groups, self.positions.labels)
        tables = {m.name: np.empty((len(self.pairs), len(nodes))) for m in self.methods}
        costs = {m.name: np.zeros(3) for m in self.methods}
        metrics: list[tuple[list[int], np.ndarray, np.ndarray | None]] = []
        batches = list(by_length([p.length for p in self.pairs], self.batch_size))
        with progress("scoring", len(batches) * sum(map(self._work, self.methods)), show_progress) as advance:
            for index in batches:
                batch = Batch.of(self.model, self.groups, self.pairs, index, self.metric, self.direction, self.ablation)
                for m in self.methods:
                    tables[m.name][index], cost = self._run(m, batch, self._options(index, advance))
                    costs[m.name] += cost * (len(index) / len(self.pairs), len(index) / len(self.pairs), 1)
                metrics.append((index, *self._metrics(batch)))
        base, source = _collect(metrics, len(self.pairs))
        self._warn_if_wrong(source if self.direction == "denoise" else base)
        return {m.name: self._scores(m, nodes, tables[m.name], costs[m.name], base, source) for m in self.methods}

    def _options(self, index: list[int], advance: Callable[[int], None]) -> Options:
        masks = self.positions.masks(index).to(self.model.device)
        generator = torch.Generator().manual_seed(self.seed)
        return Options(masks, self.steps, self.quadrature, generator, advance, self.only)

    def _work(self, m: Method) -> int:
        """Steps of the progress bar for one batch."""
        nodes = (len(self.only) if self.only else sum(g.n_units for g in self.groups)) * len(self.positions.labels)
        return nodes if m.exact else self.steps if m.uses_steps else 1

    def _run(self, m: Method, batch: Batch, options: Options) -> tuple[np.ndarray, np.ndarray]:
        """Scores [batch node] of one method on one batch, and (forwards, backwards, seconds) that it took."""
        start, before = time.perf_counter(), np.array([batch.forwards, batch.backwards])
        by_group = m.function(batch, options, m.rules)
        flat = torch.cat([by_group[g].reshape(len(batch.pairs), -1).double().cpu() for g in self.groups], dim=1)
        after = np.array([batch.forwards, batch.backwards])
        return flat.numpy(), np.array([*(after - before), time.perf_counter() - start])

    def _metrics(self, batch: Batch) -> tuple[np.ndarray, np.ndarray | None]:
        source = batch.source_metric()
        return batch.base_metric().double().cpu().numpy(), None if source is None else source.double().cpu().numpy()

    def _scores(
        self,
        m: Method,
        nodes: Sequence[Any],
        table: np.ndarray,
        cost: np.ndarray,
        base: np.ndarray,
        source: np.ndarray | None,
    ) -> Scores:
        if self.metric.normalised:
            span, corrupt = self._span(base, source)
            table, base = table / span, (base - corrupt) / span
            source = None if source is None else (source - corrupt) / span
        provenance = Provenance(
            method=m.name,
            level=self.level,
            positions=self.positions.mode,
            direction=self.direction,
            ablation=self.ablation.kind,
            metric=self.metric.name,
            unit=self.metric.unit,
            importance_sign=self.metric.importance_sign(self.direction),
            rules=m.rules.describe(),
            steps=self.steps if m.uses_steps else None,
            quadrature=self.quadrature if m.uses_steps else None,
            seed=self.seed,
            model=self.model.name,
            task=self.task,
            n_pairs=len(self.pairs),
            dtype=str(self.model.dtype).removeprefix("torch."),
            attention="eager" if self.eager else str(self.model.hf.config._attn_implementation),
            base_metric=float(base.mean()),
            source_metric=None if source is None else float(source.mean()),
            forwards=float(cost[0]),
            backwards=float(cost[1]),
            seconds=float(cost[2]),
            exact=m.exact,
            coefficients_at=m.coefficients_at,
            special_tokens=self.special_tokens,
            pairs=digest(self.pairs),
        )
        scores = Scores(tuple(nodes), table, provenance)
        return scores if self.only is None else scores.select_components(self.only)

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


def _collect(
    parts: Sequence[tuple[list[int], np.ndarray, np.ndarray | None]], n: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Metrics of base and source per example, in task order."""
    base, source = np.empty(n), np.empty(n)
    for index, b, s in parts:
        base[index] = b
        source[index] = np.nan if s is None else s
    return base, None if np.isnan(source).any() else source
