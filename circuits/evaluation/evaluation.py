"""What was measured of a circuit: faithfulness, completeness, the curve over sizes, the random baseline. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from circuits.circuit.saved import Saved
from circuits.terms.words import pairs_in_words
from interp.formatting.numbers import several
from interp.formatting.showing import card, figure
from interp.formatting.text import visible
from interp.scores.resampling import Estimate

Counts = Literal["nodes", "edges", "features"]
#: What an assessment is made of, in order: the names of its phases for who counts what it costs.
CURVE, TESTS, MINIMALITY, AREAS = ("curve", "tests", "minimality", "areas")
#: So much further from f = 1 under another ablation, a circuit is said to be made for its own.
SHORT: Final = 0.1


@dataclass(frozen=True)
class Point:
    """Circuits of one size on the faithfulness curve. `random`: the same of other circuits of that size and kinds, each once."""

    size: int
    faithfulness: Estimate
    random: tuple[float | None, ...]


@dataclass(frozen=True)
class OtherAblation:
    """A circuit judged once more, on the same pairs, with everything outside replaced by another `ablation`.

    `further`: |1 - f| here less |1 - f| under its own ablation, both on the same resamples of the pairs. `random`: f here of
    the first random circuits of its size. `reason`: why f is undefined here; the metrics are None where they are not finite.
    `passed_over`: the ablations that were tried before, each with why f says nothing under it.
    """

    ablation: str
    faithfulness: Estimate
    further: Estimate
    full: float | None
    empty: float | None
    circuit: float | None
    random: tuple[float | None, ...]
    reason: str = ""
    passed_over: tuple[str, ...] = ()

    @property
    def falls_short(self) -> bool:
        """Whether the circuit is made for its own ablation: by `SHORT` further from 1 here, and not by chance."""
        further = self.further
        return further.value is not None and further.value >= SHORT and (further.low is None or further.low > 0)

    def __str__(self) -> str:
        if self.faithfulness.value is None:
            return visible(f"under {self.ablation} ablation: faithfulness undefined ({self.reason})")
        random = [r for r in self.random if r is not None]
        beside = f", random circuits {min(random):.3f} to {max(random):.3f}" if random else ""
        return visible(f"under {self.ablation} ablation: faithfulness {self.faithfulness}{beside}")


@dataclass(frozen=True)
class Evaluation(Saved):
    """Measured on `n_pairs` pairs (`held_out`: none of them was used for the scores).

    faithfulness f(C) = (m(C) - m(empty)) / (m(full) - m(empty)), everything outside C ablated, m the mean over
    examples first; completeness: f of the complement (near 0 is good). `reason` says why they are undefined.
    `n_nodes`: how many parts there are at this level; `counts` says what they are, nodes or edges.
    `errors`: of a circuit of features, whether what the dictionaries do not make up was `kept` or `removed`.
    `random_above`: the fraction of random circuits of the circuit's size whose faithfulness is at least as near 1.
    `n_random`: how many of them were wanted at its size; a point has fewer where fewer others exist, or at another size.
    `other`: the circuit under another ablation; None where that was left out.
    """

    faithfulness: Estimate
    completeness: Estimate
    metric: str
    unit: str
    full: float
    empty: float
    circuit: float
    size: int
    n_nodes: int
    ablation: str
    n_pairs: int
    held_out: bool
    curve: tuple[Point, ...]
    random_above: float | None
    n_random: int
    seed: int
    reason: str = ""
    counts: Counts = "nodes"
    errors: Literal["", "kept", "removed"] = ""
    other: OtherAblation | None = None

    def __str__(self) -> str:
        errors, pairs = f", errors {self.errors}," if self.errors else "", pairs_in_words(self.n_pairs, self.held_out)
        head = f"Evaluation of {self.size} of {self.n_nodes} {self.counts}{errors} on {pairs}"
        if self.faithfulness.value is None:
            return visible(f"{head}: faithfulness undefined ({self.reason})")
        other = f"; {self.other}" if self.other is not None else ""
        return f"{head}: faithfulness {self.faithfulness}, completeness of the complement {self.completeness}, random circuits as good: {self._random()}{other}"

    __repr__ = __str__

    @property
    def n_twins(self) -> int:
        """How many random circuits of its own size it was compared with; 0 where there is no other of its size and kinds."""
        return next((len(p.random) for p in self.curve if p.size == self.size), self.n_random)

    def _random(self) -> str:
        if self.random_above is None:
            return "no other of this size and kinds" if not self.n_twins else "undefined"
        return f"{round(self.random_above * self.n_twins)} of {self.n_twins}"

    def _repr_html_(self) -> str:
        return str(card(self))

    def plot(self) -> Any:
        """A plotly figure of faithfulness over size: see `circuits.plot_evaluation`."""
        return figure(self)


@dataclass(frozen=True)
class Spent:
    """What some work took, in plain forwards of the pairs that it was done on: in all and by phase; and how many circuits were run."""

    forwards_total: float
    forwards_by_phase: Mapping[str, float]
    circuits_run: int

    def __str__(self) -> str:
        each = ", ".join(f"{phase} {n:.4g}" for phase, n in self.forwards_by_phase.items())
        runs = several(self.circuits_run, "run")
        return f"cost: {self.forwards_total:.4g} forwards of the pairs ({each}), {runs} of circuits"


def limits_in_words(target: float, at_most: float | None) -> str:
    """What is asked of f."""
    return f"f >= {target:g}" if at_most is None else f"{target:g} <= f <= {at_most:g}"


@dataclass(frozen=True)
class Search(Saved):
    """The smallest top of a ranking that was found with faithfulness at least `target`, and at most `at_most` where given.

    `size` None: none of up to `largest` parts of `n_parts`; `best`, of `best_size` parts, is then the nearest that was
    seen to those limits. `tried`: every size that was run, with its faithfulness. `reason`: why none is defined. `by`: the
    method and order of the ranking, empty in files of before.
    """

    target: float
    at_most: float | None
    size: int | None
    faithfulness: Estimate
    best_size: int | None
    best: Estimate
    largest: int
    n_parts: int
    counts: Counts
    tried: tuple[Point, ...]
    reason: str = ""
    by: str = ""

    def __str__(self) -> str:
        limits = limits_in_words(self.target, self.at_most)
        if self.reason:
            return visible(f"{limits}: undefined ({self.reason})")
        if self.size is not None:
            return f"{limits}: {self.size} of {self.n_parts} {self.counts}, f {self.faithfulness} ({self.how()})"
        share = self.largest / self.n_parts
        return f"{limits}: none up to {self.largest} of {self.n_parts} {self.counts} ({share:.1%}); best f {self.best} at {self.best_size}"

    __repr__ = __str__

    @property
    def exhaustive(self) -> bool:
        """Whether every size below the one that was found was tried."""
        return self.size is not None and len([point for point in self.tried if point.size <= self.size]) == self.size

    def how(self) -> str:
        """How sure it is that none is smaller, in words."""
        if self.size is None:
            return f"of sizes {self._sizes()}, none"
        if self.exhaustive:
            return "the smallest: every smaller size was tried"
        return f"the smallest found; sizes tried: {self._sizes()}; smaller ones not ruled out"

    def _sizes(self) -> str:
        return ", ".join(str(point.size) for point in self.tried)

    def _repr_html_(self) -> str:
        return str(card(self))
