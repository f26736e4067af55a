"""What path patching found: the effect of senders on the metric through the inputs of receivers, and a table of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from interp.errors import MethodError, unknown
from interp.formatting.table import Table, lines_of
from interp.formatting.text import printed, visible
from interp.parts.nodes import Node
from interp.scores.per_example import standard_error

Ends = tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class PathEffect:
    """`per_example` [example]: metric(patched) - metric(base), in `unit`. `base_metric`: its mean over the examples."""

    senders: Ends
    receivers: Ends
    per_example: np.ndarray
    base_metric: float
    metric: str
    unit: str
    direction: str
    ablation: str
    model: str
    task: str
    through_mlps: bool
    pinned: bool

    @property
    def mean(self) -> float:
        """Mean effect over the examples."""
        return float(self.per_example.mean())

    @property
    def stderr(self) -> float:
        """Standard error of the mean; nan for one example."""
        return float(standard_error(self.per_example))

    @property
    def patched_metric(self) -> float:
        """Mean metric of the patched runs."""
        return self.base_metric + self.mean

    @property
    def name(self) -> str:
        """`a0.h3 + m1 -> a2.h1<q>`."""
        return f"{' + '.join(map(str, self.senders))} -> {' + '.join(map(str, self.receivers))}"

    @property
    def conventions(self) -> str:
        """What the number depends on, in words."""
        through = ", through MLPs" * self.through_mlps + ", receivers not pinned" * (not self.pinned)
        return f"{self.direction}, {self.ablation}{through}, {len(self.per_example)} pairs, unit: {self.unit}"

    def __str__(self) -> str:
        change = f"{self.metric} {self.base_metric:.4f} -> {self.patched_metric:.4f}"
        return visible(f"PathEffect({self.name}: {self.mean:+.4g} ± {self.stderr:.2g}, {change}, {self.conventions})")

    __repr__ = __str__


@dataclass(frozen=True, eq=False, repr=False)
class PathEffects(Table):
    """The effects of several pairs of one sender and one receiver, each pair patched alone; senders slowest. plot(): bars."""

    effects: tuple[PathEffect, ...]

    def __len__(self) -> int:
        return len(self.effects)

    def __iter__(self) -> Iterator[PathEffect]:
        return iter(self.effects)

    def __getitem__(self, ends: tuple[str, str]) -> PathEffect:
        """The effect of a pair, by the names of its sender and its receiver."""
        found = {(str(e.senders[0]), str(e.receivers[0])): e for e in self.effects}
        if ends not in found:
            raise MethodError(unknown("pair", "->".join(ends), map("->".join, found)))
        return found[ends]

    def to_pandas(self) -> Any:
        """A table: sender, receiver, effect, stderr, base_metric, patched_metric."""
        rows = [
            (*map(str, (*e.senders, *e.receivers)), e.mean, e.stderr, e.base_metric, e.patched_metric) for e in self
        ]
        names = ("sender", "receiver", "effect", "stderr", "base_metric", "patched_metric")
        return lines_of(names, rows)

    @property
    def order(self) -> list[PathEffect]:
        """The largest in size first."""
        return sorted(self.effects, key=lambda e: -abs(e.mean))

    @property
    def conventions(self) -> str:
        """What the numbers depend on, in words; empty where there are none."""
        return self.effects[0].conventions if self.effects else ""

    def __str__(self) -> str:
        """The ten largest."""
        told = f", {self.conventions}" if self.effects else ""
        lines = [f"PathEffects({len(self)} pairs of sender and receiver{told})"]
        lines += [f"  {e.name:<22} {e.mean:+.4g} ± {e.stderr:.2g}" for e in self.order[:10]]
        return printed("\n".join(lines))
