"""Circuits of several tasks, or of several groups of examples, each judged on the pairs of every one: whose parts do for whom?

Axis words: `circuit task`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from circuits.circuit.circuit import CircuitError
from interp.errors import InterpError
from interp.formatting.numbers import number
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed


@dataclass(frozen=True, eq=False, repr=False)
class Transfer(Table):
    """faithfulness [circuit task]: of the circuit of a row, found on one half of its pairs, on the other half of the pairs of a column;
    nan where that is undefined. low, high: its 95 % interval over pairs. random: the median faithfulness there of random circuits with as many
    parts of each kind; nan where there are none.

    jaccard [circuit task]: shared parts over all parts of two circuits; by_chance: the same of random ones. parts: of each circuit, from
    most to least important. n_pairs: that each is judged on.
    """

    fault: ClassVar[type[InterpError]] = CircuitError

    names: tuple[str, ...]
    faithfulness: np.ndarray = field(metadata=along(0, 1, finite=False))
    low: np.ndarray = field(metadata=along(0, 1, finite=False))
    high: np.ndarray = field(metadata=along(0, 1, finite=False))
    random: np.ndarray = field(metadata=along(0, 1, finite=False))
    jaccard: np.ndarray = field(metadata=along(0, 1))
    by_chance: np.ndarray = field(metadata=along(0, 1))
    parts: tuple[tuple[str, ...], ...]
    n_parts: int
    n_pairs: tuple[int, ...]
    held_out: bool
    counts: str
    model: str
    method: str
    ablation: str
    metric: str

    def __post_init__(self) -> None:
        n = len(self.names)
        grids = ("faithfulness", "low", "high", "random", "jaccard", "by_chance")
        check_sizes(self, **{name: (getattr(self, name).shape, (n, n)) for name in grids})
        check_sizes(self, parts=((len(self.parts),), (n,)), n_pairs=((len(self.n_pairs),), (n,)))

    @property
    def own(self) -> float:
        """Mean faithfulness of circuits on pairs of their own; nan where one is undefined."""
        return float(np.mean(np.diag(self.faithfulness)))

    @property
    def others(self) -> float:
        """The same on pairs of the others."""
        n = len(self.names)
        return float(np.mean(self.faithfulness[~np.eye(n, dtype=bool)]))

    def to_pandas(self) -> Any:
        """A row for each circuit and task: circuit, task, parts, f, f_low, f_high, random_f, shared (Jaccard), shared_by_chance, pairs."""
        n = len(self.names)
        first, second = (grid.ravel() for grid in np.indices((n, n)))
        values = {"f": self.faithfulness, "f_low": self.low, "f_high": self.high, "random_f": self.random}
        values |= {"shared": self.jaccard, "shared_by_chance": self.by_chance}
        named = {"circuit": [self.names[i] for i in first], "task": [self.names[j] for j in second]}
        sizes = {"parts": [len(self.parts[i]) for i in first]}
        return rows_of(
            named | sizes | {k: v.ravel() for k, v in values.items()} | {"pairs": [self.n_pairs[j] for j in second]}
        )

    def __str__(self) -> str:
        where = "held-out pairs" if self.held_out else "the pairs that they were found on"
        lines = [
            f"Transfer({len(self.names)} circuits by {self.method}, {self.model}, {self.ablation}, {where}): faithfulness on their own "
            f"{number(self.own, 3)}, on others {number(self.others, 3)}"
        ]
        for i, name in enumerate(self.names):
            cells = [
                f"{number(f, 2)} (random {number(r, 2)})"
                for f, r in zip(self.faithfulness[i], self.random[i], strict=True)
            ]
            lines.append(f"  {name} [{len(self.parts[i])} of {self.n_parts} {self.counts}]: {', '.join(cells)}")
        return printed("\n".join(lines))
