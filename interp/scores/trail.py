"""What a search tried, as values that are kept with its scores: fits of the estimates, rounds, costs, the certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from interp.formatting.plain import rebuilt
from interp.scores.certificate import Certificate

Role = Literal["top", "random", "check", "all"]
#: Fields that files of before lack.
_LATER: Final = ("weights", "sure", "within", "near", "off_at_most", "off_chance")


@dataclass(frozen=True)
class Fit:
    """How one method agreed with exact patching on the calibration sample of one kind.

    `n`: parts compared. `pearson`: None below 3 parts or where one side does not vary. `error`: mean absolute residual
    of those drawn at random, or of all where these are few, each with the slope of the others, in the metric's unit. `slope`: what
    its estimates alone would be multiplied by. `chosen`: whether it counts in the kind's estimates, and `weights`: how much, in those of
    the smallest and of the largest parts; None in files of before, where the one that is chosen counts `slope`.
    """

    method: str
    kind: str
    n: int
    pearson: float | None
    error: float
    slope: float
    chosen: bool
    weights: tuple[float, float] | None = None


@dataclass(frozen=True)
class Round:
    """Exact patching of some parts. `what`: why these. `cost`: forward equivalents. `seconds`: how long it took."""

    what: str
    parts: int
    cost: float
    seconds: float


@dataclass(frozen=True)
class Point:
    """One part that was scored exactly to judge the estimates. `estimate`: of before the random check."""

    name: str
    kind: str
    estimate: float
    exact: float
    role: Role


@dataclass(frozen=True)
class Search:
    """Everything that method `auto` tried, in order, and what may be said of the result.

    `left_out`: method -> why it was not tried. `estimates_cost`: forward equivalents of the presets, which the budget
    does not count. `spent`: of all that it counts. `radius`: a part outside, drawn at random, differs by more from its estimate of
    before the random check with a chance of at most `radius_chance`; None where nothing is estimated or nothing was checked. What the
    check then moved an estimate by is added in the scores' `error`.
    """

    tried: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    fits: tuple[Fit, ...]
    rounds: tuple[Round, ...]
    points: tuple[Point, ...]
    budget: str
    ranking: str
    estimates_cost: float
    spent: float
    radius: float | None
    radius_chance: float | None
    certificate: Certificate

    def chosen(self) -> dict[str, tuple[str, ...]]:
        """Kind -> the methods that count in its estimates."""
        kinds = dict.fromkeys(fit.kind for fit in self.fits)
        return {kind: tuple(fit.method for fit in self.fits if fit.kind == kind and fit.chosen) for kind in kinds}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without what a search of before did not state: so it is written as it was."""
        return asdict(self, dict_factory=lambda items: {k: v for k, v in items if v is not None or k not in _LATER})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Search:
        """The inverse of `to_dict`, also after JSON. Raises: TypeError, KeyError for other data."""
        return rebuilt(cls, data)  # type: ignore[no-any-return]

    def __str__(self) -> str:
        lines = [str(self.certificate)]
        lines += [f"  {kind}: {', '.join(methods)}" for kind, methods in self.chosen().items()]
        lines += [f"  {r.what}: {r.parts} parts, {r.cost:.1f} forward equivalents" for r in self.rounds]
        return "\n".join(lines)
