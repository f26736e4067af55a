"""`TokenEvaluation`: how good attributions are, measure by measure, with intervals over the pairs and what random orders give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from interp.errors import MethodError
from interp.formatting.plain import plain
from interp.formatting.table import Table, lines_of
from interp.formatting.text import printed, visible
from interp.scores.resampling import Estimate

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Measure:
    """A way to judge values: which is better, in which unit (`{}` is the metric's), and in a sentence. again: it runs the method again, which
    costs as much as that; it is left out unless it is asked for."""

    name: str
    better: Better
    unit: str
    sentence: str
    again: bool = False


#: Every measure, in the order of the table.
MEASURES: Final[Mapping[str, Measure]] = {
    m.name: m
    for m in (
        Measure("deletion", "lower", "{}", "mean of the metric while groups are replaced, the largest value first"),
        Measure("insertion", "higher", "{}", "mean of the metric while groups are put in, the largest value first"),
        Measure("comprehensiveness", "higher", "{}", "what the metric loses without the top 1, 5, 10, 20, 50 %"),
        Measure("sufficiency", "lower", "{}", "what the metric loses with the top 1, 5, 10, 20, 50 % alone"),
        Measure(
            "infidelity, removal",
            "lower",
            "{} squared",
            "squared error of values as changes, groups replaced at random",
        ),
        Measure("infidelity, noisy baseline", "lower", "{} squared", "the same, each group near its baseline"),
        Measure("completeness gap", "lower", "{}", "|sum of the values - (metric of prompt - metric of baseline)|"),
        Measure("max-sensitivity", "lower", "share", "largest relative change of the values near the prompt", True),
        Measure("randomisation", "lower", "rank correlation", "with the values of a model of shuffled weights", True),
        Measure("AUROC", "higher", "share", "of groups that matter above those that do not"),
        Measure("pointing", "higher", "share", "of prompts whose largest value is of a group that matters"),
    )
}


@dataclass(frozen=True)
class Judgement:
    """One measure of one method. `estimate`: mean over the pairs, with its 95 % bootstrap interval. `random`: mean of random orders, and the
    lowest and highest of them; None where orders say nothing. `per_pair`: None where the measure says nothing of a pair."""

    method: str
    measure: str
    better: Better
    unit: str
    estimate: Estimate
    random: Estimate | None
    per_pair: tuple[float | None, ...]

    @property
    def n(self) -> int:
        """The pairs that it is a mean of."""
        return sum(value is not None for value in self.per_pair)


@dataclass(frozen=True)
class Curve:
    """The metric along one curve, mean over the pairs, at the shares of groups that are replaced or put in: of a method with its 95 %
    interval, of `random` orders with the lowest and the highest of them."""

    method: str
    kind: Literal["deletion", "insertion"]
    shares: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


#: What the curves of random orders are called.
RANDOM: Final = "random"


@dataclass(frozen=True, repr=False)
class TokenEvaluation(Table):
    """A row for each method and measure, and the curves. n_pairs: how many were judged; groups: how many of a prompt can be replaced, mean.

    scaled: whether values were brought to their best scale for infidelity. plot(): deletion and insertion with the band of random orders.
    """

    rows: tuple[Judgement, ...]
    curves: tuple[Curve, ...]
    n_pairs: int
    groups: float
    metric: str
    unit: str
    baseline: str
    features: str
    scaled: bool
    orders: int
    draws: int
    seed: int
    model: str
    task: str

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, in the order in which they were given."""
        return tuple(dict.fromkeys(row.method for row in self.rows))

    def __getitem__(self, key: tuple[str, str]) -> Judgement:
        """The row of a method and a measure. Raises: MethodError."""
        for row in self.rows:
            if (row.method, row.measure) == key:
                return row
        known = ", ".join(dict.fromkeys(row.measure for row in self.rows))
        raise MethodError(f"no {key}; there are methods {', '.join(self.methods)} and measures {known}.")

    def to_pandas(self) -> Any:
        """One line for each method and measure."""
        names = (
            "method",
            "measure",
            "better",
            "value",
            "low",
            "high",
            "random",
            "random_low",
            "random_high",
            "unit",
            "n",
        )
        lines = []
        for row in self.rows:
            own, other = row.estimate, row.random or Estimate(None, None, None)
            values = (own.value, own.low, own.high, other.value, other.low, other.high)
            lines.append((row.method, row.measure, row.better, *values, row.unit, row.n))
        return lines_of(names, lines)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, for JSON."""
        return plain(self)  # type: ignore[no-any-return]

    def __str__(self) -> str:
        head = (
            f"TokenEvaluation({self.task} on {self.model}, {self.n_pairs} pairs of {self.groups:.3g} groups that differ from baseline {self.baseline}, "
            f"{self.metric} in {self.unit})"
        )
        lines = [f"  {row.method}: {row.measure} {row.estimate}" + _beside(row) for row in self.rows]
        return printed("\n".join(map(visible, (head, *lines))))


def _beside(row: Judgement) -> str:
    return f", random orders {row.random}" if row.random is not None else ""
