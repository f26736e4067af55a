"""How good a ranking is over all circuit sizes at once: CPR and CMD (Mueller 2025, MIB), and the curve behind them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from circuits.circuit.circuit import CircuitError
from circuits.circuit.saved import Saved
from circuits.circuit.selection import ranked
from circuits.evaluation.evaluation import Counts, Estimate
from circuits.evaluation.faithfulness import counted
from circuits.evaluation.ratio import Measured, conditions, interval, measure
from circuits.evaluation.running.feature_runner import with_silent
from circuits.evaluation.running.runner import PartSet, Runner, check_parts, is_held_out
from circuits.evaluation.running.runners import runner_for
from circuits.evaluation.twins import Twins
from circuits.terms.words import pairs_in_words
from interp.attribution.features.hosts import Dictionaries
from interp.parts.nodes import FEATURES
from interp.scores.scores import Ranking, Scores
from interp.tasks.ablations import Ablation
from interp.tasks.metrics import Metric
from interp.tasks.task import Task
from interp.whole_numbers import count

FRACTIONS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
RANKINGS: Final[tuple[Ranking, ...]] = ("signed", "absolute")
TOLERANCE: Final = 1e-9
#: Random circuits of each size.
N_RANDOM: Final = 5


@dataclass(frozen=True)
class AreaPoint:
    """The first `size` parts of a ranking: f of them, f of the others (`completeness`) and f of random circuits."""

    size: int
    faithfulness: Estimate
    completeness: Estimate
    random: tuple[float | None, ...]


@dataclass(frozen=True)
class Area:
    """Both areas of one curve on one axis, whose `width` is that from the smallest circuit to the whole model.

    `cpr`: under f; `cmd`: under |1 - f|; `random_cpr`, `random_cmd`: the same of random circuits of the same sizes and
    kinds, mean over them. Divide by the width to compare axes. Raises: CircuitError where cpr + cmd < width, which no
    curve can give.
    """

    axis: str
    width: float
    cpr: Estimate
    cmd: Estimate
    random_cpr: float | None
    random_cmd: float | None

    def __post_init__(self) -> None:
        if self.cpr.value is not None and self.cmd.value is not None:
            excess = self.cpr.value + self.cmd.value - self.width
            if excess < -TOLERANCE * (1 + abs(self.cpr.value) + self.cmd.value):
                raise CircuitError(
                    f"areas on the {self.axis} axis: CPR {self.cpr.value:.6g} + CMD {self.cmd.value:.6g} is less than the "
                    f"width {self.width:.6g}; expected at least that, so one of them is wrong."
                )


@dataclass(frozen=True)
class RankingCurve:
    """The curve of one ranking, and its areas on the `linear` axis (size / all) and the `log` one (log10 of that)."""

    ranking: Ranking
    points: tuple[AreaPoint, ...]
    linear: Area
    log: Area


@dataclass(frozen=True)
class Areas(Saved):
    """CPR and CMD of scores. The axis counts parts of the level: `counts` of `n_parts`. `reason`: why undefined."""

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
        """The headline CPR: signed ranking, linear axis. Large is good."""
        return self.signed.linear.cpr

    @property
    def cmd(self) -> Estimate:
        """The headline CMD: absolute ranking, linear axis. Near 0 is good."""
        return self.absolute.linear.cmd

    def __str__(self) -> str:
        p = self.absolute.points
        sizes = f"share of {self.n_parts} {self.counts}, {p[0].size} to {p[-1].size}"
        head = f"Areas over circuit size ({sizes}) on {pairs_in_words(self.n_pairs, self.held_out)}"
        if self.reason:
            return f"{head}: undefined ({self.reason})"
        return "\n".join([head, *self._lines()])

    def _lines(self) -> Iterator[str]:
        for curve in (self.signed, self.absolute):
            for a in (curve.linear, curve.log):
                yield (
                    f"  {curve.ranking:<8} {a.axis:<6} CPR {a.cpr} (random {_number(a.random_cpr)}), "
                    f"CMD {a.cmd} (random {_number(a.random_cmd)}), width {a.width:.3f}"
                )


def ranking_areas(
    model: Any,
    task: Task | str | Path,
    scores: Scores,
    *,
    fractions: Sequence[float] = FRACTIONS,
    ablation: str | Ablation = "counterfactual",
    metric: str | Metric | None = None,
    n_random: int = N_RANDOM,
    held_out: bool | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    show_progress: bool | None = None,
    dictionaries: Dictionaries | None = None,
    errors: str = "kept",
) -> Areas:
    """CPR and CMD of the signed and the absolute ranking, and the faithfulness and completeness curves.

    CPR = area under f(C_k), CMD = area under |1 - f(C_k)|, C_k the first k parts of the ranking, by the trapezoid rule
    over k / n at the `fractions` (k rounded up to whole parts, each k once). The headline CPR takes the signed ranking,
    the headline CMD the absolute one. Intervals resample examples and take the area again.

    Source: Mueller 2025, MIB. Cost: 2 (2 + n_random) forwards per fraction. Raises: CircuitError.
    """
    runner = runner_for(
        model, task, scores, ablation=ablation, metric=metric, seed=seed, batch_size=batch_size,
        dictionaries=dictionaries, errors=errors,
    )  # fmt: skip
    return ranking_areas_on(
        runner, scores, fractions=fractions, n_random=n_random, held_out=held_out, seed=seed, show_progress=show_progress
    )  # fmt: skip


def ranking_areas_on(
    runner: Runner,
    scores: Scores,
    *,
    fractions: Sequence[float] = FRACTIONS,
    n_random: int = N_RANDOM,
    held_out: bool | None = None,
    seed: int = 0,
    show_progress: bool | None = None,
) -> Areas:
    """`ranking_areas` with a runner that is already made."""
    p, n = scores.provenance, len(runner.parts)
    count(n_random, "n_random", CircuitError, expected=f"at least 1; {N_RANDOM} is the default")
    if p.level == FEATURES:
        scores = with_silent(scores, runner.parts)
    _check_complete(runner, scores)
    sizes, twins = area_sizes(n, fractions), Twins(runner.parts, seed)
    unseen = is_held_out(p.pairs, runner.pairs, held_out)
    signed, absolute = (_rows(runner, scores, ranking, sizes, twins, n_random) for ranking in RANKINGS)
    sets = (parts for row in (*signed, *absolute) for parts in (row.top, row.rest, *row.twins))
    found = measure(runner, sets, seed=seed, show_progress=show_progress)
    return Areas(
        signed=_curve("signed", signed, found),
        absolute=_curve("absolute", absolute, found),
        level=p.level,
        n_parts=n,
        method=p.method,
        unit=runner.metric.unit,
        n_random=n_random,
        **conditions(runner, found, counted(p.level), unseen, seed),
    )


def area_sizes(n: int, fractions: Sequence[float] = FRACTIONS) -> list[int]:
    """Whole numbers of parts, each once: every fraction of `n`, rounded up as `discover(fraction=...)` rounds.

    Raises: CircuitError for fractions out of range, or where fewer than two sizes are left.
    """
    if odd := [f for f in fractions if not 0 < f <= 1]:
        raise CircuitError(f"fraction {odd[0]}: expected more than 0 and at most 1.")
    # The product is rounded first: 0.07 * 100 is a little more than 7 in floating point.
    sizes = sorted({math.ceil(round(f * n, 9)) for f in fractions})
    if len(sizes) < 2:
        raise CircuitError(f"an area needs two sizes; {len(fractions)} fractions of {n} parts give {len(sizes)}.")
    return sizes


def _check_complete(runner: Runner, scores: Scores) -> None:
    """Refuse scores of some parts only: their curve would not end at the whole model. Raises: CircuitError."""
    check_parts(runner, [scores.parts[i] for i in ranked(scores, "absolute")], scores.provenance.level)
    if missing := set(runner.parts) - set(scores.parts):
        raise CircuitError(
            f"scores of {len(scores.parts)} parts lack {len(missing)} of the {len(runner.parts)} of this level, such as "
            f"{min(part.name for part in missing)}; areas need the scores of all."
        )


@dataclass(frozen=True)
class _Row:
    """The sets of one size: the top of the ranking, the rest, and random circuits like the top."""

    top: PartSet
    rest: PartSet
    twins: list[PartSet]


def _rows(
    runner: Runner, scores: Scores, ranking: Ranking, sizes: Sequence[int], twins: Twins, n_random: int
) -> list[_Row]:
    order, full = [scores.parts[i] for i in ranked(scores, ranking)], frozenset(runner.parts)
    tops = [frozenset(order[:size]) for size in sizes]
    return [_Row(top, full - top, twins.of(top, n_random)) for top in tops]


def _curve(ranking: Ranking, rows: Sequence[_Row], found: Measured) -> RankingCurve:
    points = tuple(
        AreaPoint(
            len(row.top),
            found.estimate(row.top),
            found.estimate(row.rest),
            tuple(found.value(twin) for twin in row.twins),
        )
        for row in rows
    )
    shares = np.array([len(row.top) / (len(row.top) + len(row.rest)) for row in rows])
    return RankingCurve(
        ranking, points, _area("linear", shares, rows, found), _area("log", np.log10(shares), rows, found)
    )


def _area(axis: str, x: np.ndarray, rows: Sequence[_Row], found: Measured) -> Area:
    width, weights = float(x[-1] - x[0]), trapezoid_weights(x)
    if found.reason:
        undefined = Estimate(None, None, None)
        return Area(axis, width, undefined, undefined, None, None)
    f = np.array([found.value(row.top) for row in rows], dtype=np.float64)
    resampled = np.stack([found.resampled(row.top) for row in rows])
    random = np.array([[found.value(twin) for twin in row.twins] for row in rows], dtype=np.float64)
    n = len(found.span)
    return Area(
        axis,
        width,
        interval(float(weights @ f), weights @ resampled, n),
        interval(float(weights @ abs(1 - f)), weights @ abs(1 - resampled), n),
        float((weights @ random).mean()),
        float((weights @ abs(1 - random)).mean()),
    )


def trapezoid_weights(x: np.ndarray) -> np.ndarray:
    """Weights w with w . y = the area under straight lines through (x, y), x ascending [point]; they sum to the width."""
    steps = np.diff(x)
    return np.asarray((np.append(steps, 0.0) + np.append(0.0, steps)) / 2)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
