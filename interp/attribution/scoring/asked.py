"""What is asked for, alike for all methods of a request, and what the provenance of their scores says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from interp.attribution.batching.positions import Positions
from interp.attribution.exact.machine import Restart, find_restart
from interp.attribution.exact.node_patches import REPLAYED
from interp.attribution.features.feature_space import FeatureSpace
from interp.attribution.protocol.registry import MaskSettings, Method, with_start
from interp.attribution.protocol.spaces import EdgeSpace, NodeSpace, Space
from interp.attribution.scoring.memory import Memory
from interp.attribution.scoring.together import NOTHING, Aside
from interp.errors import MetricError
from interp.model.modules.lock import settled
from interp.parts.graph import Part
from interp.rules.rules import Rules, preset
from interp.scores.provenance import Provenance
from interp.scores.scores import Scores
from interp.tasks.metric import Direction, Metric
from interp.tasks.pairs.token_pairs import TokenPair, digest
from interp.tasks.replacements import Ablation

Metrics = list[tuple[list[int], np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Asked:
    """What all methods of a request have in common."""

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

    @property
    def eager(self) -> bool:
        """Whether the runs use eager attention: where q, k, v are read, a rule acts inside attention, or attention is
        redone for some positions; at edges always."""
        redone = self.restart.machine is not None and not self.restart.machine.whole
        ruled = any(m.rules.in_attention for m in self.methods)
        return self.model.layout.entry is None and (redone or ruled or self.level in ("qkv", "edges"))

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
        base, source = collected(metrics, len(self.pairs))
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
            rules=self.rules_of(m).describe(),
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

    def rules_of(self, m: Method) -> Rules:
        """What stands for the gradient: the method's own rules, or the preset that a search on masks was given."""
        other = preset(self.masks.backward) if m.masked and self.masks.backward else m.rules
        return other.at_points(self.steps)

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
        both_ways, graph = self.positions.mode != "all" and not self.model.layout.causal, self.space.graph
        return {"kv": graph.kv, "split_positions": graph.split_positions, "both_ways": both_ways}

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


def collected(parts: Metrics, n: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Metrics of base and source per example, in task order."""
    base, source = np.empty(n), np.empty(n)
    for index, b, s in parts:
        base[index] = b
        source[index] = np.nan if s is None else s
    return base, None if np.isnan(source).any() else source
