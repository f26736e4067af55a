"""How good a ranking is over all circuit sizes at once: CPR and CMD (Mueller 2025, MIB), Compactness, and the curve behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from circuits.circuit.circuit import CircuitError
from circuits.circuit.connect import connected, group_size
from circuits.circuit.selection import ranked
from circuits.evaluation.area_values import (
    UNDEFINED,
    Area,
    AreaPoint,
    Areas,
    RankingCurve,
    trapezoid_weights,
    under,
)
from circuits.evaluation.faithfulness import counted
from circuits.evaluation.ratio import Measured, conditions, measure
from circuits.evaluation.running.feature_runner import with_silent
from circuits.evaluation.running.runner import PartSet, Runner, check_parts, is_held_out
from circuits.evaluation.running.runners import runner_for
from circuits.evaluation.twins import Twins
from circuits.terms.kinds import kinds_checked
from interp.attribution.features.hosts import Dictionaries
from interp.parts.graph import Edge, Part
from interp.parts.nodes import FEATURES
from interp.scores.resampling import Estimate, interval
from interp.scores.scores import Ranking, Scores
from interp.tasks.metric import Metric
from interp.tasks.replacements import Ablation
from interp.tasks.task import Task
from interp.whole_numbers import count

FRACTIONS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
RANKINGS: Final[tuple[Ranking, ...]] = ("signed", "absolute")
#: Random circuits of each size.
N_RANDOM: Final = 5


@kinds_checked
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
    over k / n at the `fractions` (k rounded up to whole parts, each k once): the axis of fixed shares. Both are given over its
    logarithm and over the ranking's own sizes too: at level edges those on a path, as a share of the largest circuit's. The headline
    CPR takes the signed ranking, the headline CMD the absolute one. As f above 1 is no merit, the area under min(f, 1) stands
    beside, and Compactness = mean over the axis of max(0, 1 - |1 - f|): 1 where the smallest circuit is the model, and f = 2 counts
    as much as f = 0. Intervals resample examples and take the area again.

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
    """The sets of one size: the top of the ranking, the rest, and random circuits like the top; `own`: how many of the top can matter."""

    top: PartSet
    rest: PartSet
    twins: list[PartSet]
    own: int


def _rows(
    runner: Runner, scores: Scores, ranking: Ranking, sizes: Sequence[int], twins: Twins, n_random: int
) -> list[_Row]:
    order, full = [scores.parts[i] for i in ranked(scores, ranking)], frozenset(runner.parts)
    own = _own_sizes(order, sizes, runner.parts, scores.provenance.both_ways)
    tops = [frozenset(order[:size]) for size in sizes]
    return [_Row(top, full - top, twins.of(top, n_random), size) for top, size in zip(tops, own, strict=True)]


def _own_sizes(order: Sequence[Part], sizes: Sequence[int], parts: Sequence[Part], both_ways: bool) -> list[int]:
    """How many of the first parts can matter: edges on a path from the embedding to the logits, of other parts all."""
    edges = [part for part in order if isinstance(part, Edge)]
    if len(edges) < len(order):
        return list(sizes)
    group = group_size(part for part in parts if isinstance(part, Edge))
    return [connected(edges[:size], group, both_ways) for size in sizes]


def _curve(ranking: Ranking, rows: Sequence[_Row], found: Measured) -> RankingCurve:
    points = tuple(
        AreaPoint(
            len(row.top),
            found.estimate(row.top),
            found.estimate(row.rest),
            tuple(found.value(twin) for twin in row.twins),
            row.own,
        )
        for row in rows
    )
    shares = np.array([len(row.top) / (len(row.top) + len(row.rest)) for row in rows])
    own = np.array([row.own for row in rows]) / max(1, rows[-1].own)
    places = {"linear": shares, "log": np.log10(shares), "own": own}
    return RankingCurve(ranking, points, *(_area(axis, x, rows, found) for axis, x in places.items()))


def _area(axis: str, x: np.ndarray, rows: Sequence[_Row], found: Measured) -> Area:
    width, weights = float(x[-1] - x[0]), trapezoid_weights(x)
    if found.reason or not width:
        return Area(axis, width, UNDEFINED, UNDEFINED, None, None, UNDEFINED, None, UNDEFINED, None)
    f = np.array([found.value(row.top) for row in rows], dtype=np.float64)
    resampled = np.stack([found.resampled(row.top) for row in rows])
    random = np.array([[found.value(twin) for twin in row.twins] for row in rows], dtype=np.float64)

    def both(measure: str) -> tuple[Estimate, float]:
        own = weights / width if measure == "compactness" else weights
        value, other = float(own @ under(f, measure)), float((own @ under(random, measure)).mean())
        return interval(value, own @ under(resampled, measure), len(found.span)), other

    (cpr, random_cpr), (cmd, random_cmd) = both("cpr"), both("cmd")
    return Area(axis, width, cpr, cmd, random_cpr, random_cmd, *both("capped"), *both("compactness"))
