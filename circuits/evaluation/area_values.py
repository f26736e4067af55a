"""What the areas over circuit size are: CPR and CMD (Mueller 2025, MIB), the same capped, Compactness, each with its axis. Pure data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from circuits.circuit.circuit import CircuitError
from circuits.circuit.saved import Saved
from circuits.evaluation.evaluation import Counts
from circuits.terms.words import pairs_in_words
from interp.scores.resampling import Estimate
from interp.scores.scores import Ranking

Axis = Literal["linear", "log", "own"]
AXES: Final[tuple[Axis, ...]] = ("linear", "log", "own")
TOLERANCE: Final = 1e-9
UNDEFINED: Final = Estimate(None, None, None)


@dataclass(frozen=True)
class AreaPoint:
    """The first `size` parts of a ranking: f of them, f of the others (`completeness`) and f of random circuits.

    `own_size`: those of the parts that can matter: edges on a path from the embedding to the logits, of other parts all.
    """

    size: int
    faithfulness: Estimate
    completeness: Estimate
    random: tuple[float | None, ...]
    own_size: int | None = None


@dataclass(frozen=True)
class Area:
    """The areas of one curve on one axis, whose `width` is that from the smallest circuit to the largest.

    `cpr`: under f; `cmd`: under |1 - f|; `capped`: under min(f, 1), so that f above 1 is no merit; `compactness`: the mean over
    the axis of max(0, 1 - |1 - f|), in 0..1. `random_...`: the same of random circuits of the same sizes and kinds, at the places
    of the ranking's, mean over them. Divide by the width to compare axes. Raises: CircuitError where cpr + cmd < width, which no
    curve can give.
    """

    axis: str
    width: float
    cpr: Estimate
    cmd: Estimate
    random_cpr: float | None
    random_cmd: float | None
    capped: Estimate | None = None
    random_capped: float | None = None
    compactness: Estimate | None = None
    random_compactness: float | None = None

    def __post_init__(self) -> None:
        if self.cpr.value is not None and self.cmd.value is not None:
            excess = self.cpr.value + self.cmd.value - self.width
            if excess < -TOLERANCE * (1 + abs(self.cpr.value) + self.cmd.value):
                raise CircuitError(
                    f"areas on the {self.axis} axis: CPR {self.cpr.value:.6g} + CMD {self.cmd.value:.6g} is less than the "
                    f"width {self.width:.6g}; expected at least that, so one of them is wrong."
                )

    def __str__(self) -> str:
        named = (
            ("CPR", self.cpr, self.random_cpr),
            ("capped at f = 1", self.capped, self.random_capped),
            ("CMD", self.cmd, self.random_cmd),
            ("Compactness", self.compactness, self.random_compactness),
        )
        shown = (f"{name} {own} (random {_number(other)})" for name, own, other in named if own is not None)
        return f"{', '.join(shown)}, width {self.width:.3f}"


@dataclass(frozen=True)
class RankingCurve:
    """The curve of one ranking, and its areas on each axis: see `axis_in_words`. `own` None: of a version that had none."""

    ranking: Ranking
    points: tuple[AreaPoint, ...]
    linear: Area
    log: Area
    own: Area | None = None

    @property
    def areas(self) -> tuple[Area, ...]:
        """The area on each axis that there is."""
        return tuple(area for area in (self.linear, self.log, self.own) if area is not None)


@dataclass(frozen=True)
class Areas(Saved):
    """CPR, CMD and Compactness of scores. The axes count parts of the level: `counts` of `n_parts`. `reason`: why undefined."""

    signed: RankingCurve
    absolute: RankingCurve
    level: str
    counts: Counts
    n_parts: int
    method: str
    metric: str
    unit: str
    ablation: str
    n_pairs: int
    held_out: bool
    n_random: int
    seed: int
    reason: str = ""

    @property
    def cpr(self) -> Estimate:
        """The headline CPR: signed ranking, linear axis of fixed shares. Large is good."""
        return self.signed.linear.cpr

    @property
    def cmd(self) -> Estimate:
        """The headline CMD: absolute ranking, linear axis of fixed shares. Near 0 is good."""
        return self.absolute.linear.cmd

    @property
    def compactness(self) -> Estimate:
        """The headline Compactness: signed ranking, as CPR, log axis of fixed shares. Near 1 is good."""
        return self.signed.log.compactness or UNDEFINED

    def __str__(self) -> str:
        p = self.absolute.points
        sizes = f"share of {self.n_parts} {self.counts}, {p[0].size} to {p[-1].size}"
        head = f"Areas over circuit size ({sizes}) on {pairs_in_words(self.n_pairs, self.held_out)}"
        if self.reason:
            return f"{head}: undefined ({self.reason})"
        return "\n".join([head, *self._lines()])

    def _lines(self) -> Iterator[str]:
        for curve in (self.signed, self.absolute):
            for area in curve.areas:
                yield f"  {curve.ranking:<8} {area.axis:<6} {area}"
        for axis in dict.fromkeys(area.axis for area in self.signed.areas):
            yield f"  axis {axis}: {axis_in_words(axis, self.counts)}"


def axis_in_words(axis: str, counts: str) -> str:
    """What is on an axis of circuit sizes. counts: nodes, edges or features."""
    fixed = f"fixed shares of all {counts}"
    if axis != "own":
        return fixed if axis == "linear" else f"log10 of {fixed}"
    some = "edges on a path from embedding to logits" if counts == "edges" else counts
    return f"the ranking's own sizes, {some} as a share of those of the largest circuit"


def under(f: np.ndarray, measure: str) -> np.ndarray:
    """What an area is under, at each f: `cpr`, `cmd`, `capped` or `compactness` (whose area is divided by the width)."""
    if measure == "cpr":
        return f
    if measure == "capped":
        return np.asarray(np.minimum(f, 1.0))
    distance = np.abs(1 - f)
    return np.asarray(distance if measure == "cmd" else np.maximum(0.0, 1 - distance))


def trapezoid_weights(x: np.ndarray) -> np.ndarray:
    """Weights w with w . y = the area under straight lines through (x, y), x ascending [point]; they sum to the width."""
    steps = np.diff(x)
    return np.asarray((np.append(steps, 0.0) + np.append(0.0, steps)) / 2)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
