"""The smallest faithful circuit: which top of a ranking is the first that keeps what the whole model does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from circuits.circuit.circuit import CircuitError
from circuits.circuit.selection import ranked
from circuits.evaluation.evaluation import Point, Search
from circuits.evaluation.faithfulness import counted, spread
from circuits.evaluation.ratio import measure
from circuits.evaluation.running.runner import Runner, check_parts
from circuits.evaluation.running.runners import runner_for
from circuits.terms.kinds import kinds_checked
from interp.attribution.features.hosts import Dictionaries
from interp.scores.resampling import Estimate
from interp.scores.scores import Ranking, Scores
from interp.tasks.metric import Metric
from interp.tasks.replacements import Ablation
from interp.tasks.task import Task
from interp.whole_numbers import count

#: Of so few parts every size is tried.
FEW: Final = 8


@kinds_checked
def smallest_faithful(model: Any, task: Task | str | Path, scores: Scores, **options: Any) -> int | None:
    """The size of the smallest faithful top of the ranking found, None where there is none; `options` as in `find_smallest`."""
    return find_smallest(model, task, scores, **options).size


@kinds_checked
def find_smallest(
    model: Any,
    task: Task | str | Path,
    scores: Scores,
    *,
    target: float = 0.9,
    at_most: float | None = None,
    largest: int | None = None,
    every: bool = False,
    ranking: Ranking = "absolute",
    ablation: str | Ablation = "counterfactual",
    metric: str | Metric | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    max_memory: int | str | None = None,
    show_progress: bool | None = None,
    dictionaries: Dictionaries | None = None,
    errors: str = "kept",
) -> Search:
    """The smallest top of the ranking with target <= f (<= at_most) that is found, of `largest` parts at most.

    Sizes are tried in steps on a log axis until f enters the limits or jumps over them, then halved between that size and
    the one before, which finds the smallest where f grows with size there: about a dozen runs. Smaller ones are not ruled
    out, as `tried` and the text say; with `every` all sizes are tried, and they are. The pairs may be those of the scores
    (the circuit is then judged on others) or others.

    Cost: at most one forward per size tried. Raises: CircuitError for limits that leave nothing.
    """
    runner = runner_for(
        model, task, scores, ablation=ablation, metric=metric, seed=seed, batch_size=batch_size,
        max_memory=max_memory, dictionaries=dictionaries, errors=errors,
    )  # fmt: skip
    return find_smallest_on(
        runner, scores, target=target, at_most=at_most, largest=largest, every=every, ranking=ranking, seed=seed,
        show_progress=show_progress,
    )  # fmt: skip


def find_smallest_on(
    runner: Runner,
    scores: Scores,
    *,
    target: float = 0.9,
    at_most: float | None = None,
    largest: int | None = None,
    every: bool = False,
    ranking: Ranking = "absolute",
    seed: int = 0,
    show_progress: bool | None = None,
) -> Search:
    """`find_smallest` with a runner that is already made."""
    order = [scores.parts[i] for i in ranked(scores, ranking)]
    check_parts(runner, order, scores.provenance.level)
    if target <= 0 or (at_most is not None and at_most < target):
        raise CircuitError(f"target={target}, at_most={at_most}: expected 0 < target <= at_most.")
    if largest is not None:
        count(largest, "largest", CircuitError, expected="1 part or more")
    limit = min(len(order), largest or len(order))
    sizes = list(range(1, limit + 1)) if every else steps_of(limit)
    tops = {size: frozenset(order[:size]) for size in (sizes if every else ())}
    found = measure(runner, tops.values(), seed=seed, show_progress=show_progress)

    def distance(size: int) -> float:
        """How far f is from the limits: negative below, 0 within, positive above."""
        found.add(runner, tops.setdefault(size, frozenset(order[:size])), show_progress)
        f = found.value(tops[size]) or 0.0
        return f - target if f < target else max(0.0, f - (f if at_most is None else at_most))

    hit = None if found.reason else _first_within(distance, sizes)
    best = hit if hit is not None or found.reason else min(sorted(tops), key=lambda size: abs(distance(size)))
    tried = tuple(Point(size, found.estimate(top), ()) for size, top in sorted(tops.items()))
    at = {point.size: point.faithfulness for point in tried}
    undefined = Estimate(None, None, None)
    return Search(
        target, at_most, hit, at.get(hit or 0, undefined), best, at.get(best or 0, undefined),
        limit, len(runner.parts), counted(scores.provenance.level), tried, found.reason, f"{scores.provenance.method} ({ranking})",
    )  # fmt: skip


def steps_of(n: int) -> list[int]:
    """The sizes that a search for the smallest circuit tries before it halves: all where there are few parts."""
    return list(range(1, n + 1)) if n <= FEW else spread(n)


def _first_within(distance: Callable[[int], float], sizes: Sequence[int]) -> int | None:
    """The first size within the limits, looked for between sizes where f enters or jumps over them; the rest is not asked for."""
    low = 0
    for high in sizes:
        if np.sign(distance(high)) != (np.sign(distance(low)) if low else -1):
            hit = _halve(distance, low, high)
            if hit is not None:
                return hit
        low = high
    return None


def _halve(distance: Callable[[int], float], low: int, high: int) -> int | None:
    """The smallest size within the limits between one that is outside and one on another side of them."""
    hit, outside = (high if distance(high) == 0 else None), np.sign(distance(low)) if low else -1
    while high - low > 1:
        middle = (low + high) // 2
        side = np.sign(distance(middle))
        low, high = (middle, high) if side == outside else (low, middle)
        hit = middle if side == 0 else hit
    return hit
