"""Tests of "sufficient" and "necessary" against random circuits of the same size and kinds (Shi et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.circuit.saved import Saved
from circuits.evaluation.evaluation import Counts
from circuits.evaluation.faithfulness import counted
from circuits.evaluation.ratio import conditions, measure
from circuits.evaluation.running.runner import PartSet, Runner, check_parts, is_held_out
from circuits.evaluation.running.runners import runner_for
from circuits.evaluation.twins import Twins
from circuits.terms.kinds import kinds_checked
from interp.errors import unknown
from interp.tasks.task import Task
from interp.whole_numbers import whole

Claim = Literal["sufficient", "necessary"]
CLAIMS: Final[tuple[Claim, ...]] = ("sufficient", "necessary")
Verdict = Literal["better than random", "worse than random", "not told apart", "undefined"]


@dataclass(frozen=True)
class HypothesisTest(Saved):
    """One claim about a circuit, tested against `n_random` random ones of the same size and kinds.

    Sufficient: `statistic` is |1 - f(C)|, how far the circuit alone is from the whole model; small is better.
    Necessary: it is |1 - f(complement of C)|, how far the model without the circuit is from the whole one; large is
    better. `p`: two-sided; `smallest_p`: the least that so many random circuits allow; `verdict` at level `alpha`.
    `reason`: why undefined.
    """

    claim: Claim
    statistic: float | None
    random: tuple[float, ...]
    p: float | None
    smallest_p: float
    verdict: Verdict
    alpha: float
    size: int
    counts: Counts
    n_random: int
    metric: str
    ablation: str
    n_pairs: int
    held_out: bool
    seed: int
    reason: str = ""

    def __str__(self) -> str:
        head = f"{self.claim}: {self.verdict}"
        if self.statistic is None or self.p is None:
            return f"{head} ({self.reason})"
        note = "" if self.smallest_p < self.alpha else f"; too few random circuits for a verdict at {self.alpha:g}"
        what = "|1 - f(C)|" if self.claim == "sufficient" else "|1 - f(complement)|"
        middle = float(np.median(self.random))
        return f"{head}, p = {self.p:.3g} ({what} = {self.statistic:.3f}, median of {self.n_random} random circuits {middle:.3f}; smallest p possible {self.smallest_p:.3g}{note})"


@kinds_checked
def sufficiency(
    model: Any,
    task: Task | str | Path,
    circuit: Circuit,
    *,
    n_random: int = 100,
    alpha: float = 0.05,
    held_out: bool | None = None,
    seed: int = 0,
    show_progress: bool | None = None,
    **options: Any,
) -> HypothesisTest:
    """Is the circuit alone nearer to the whole model than random circuits of its size and kinds?

    Statistic |1 - f(C)|; p = 2 min((1 + #(random <= it)) / (n + 1), (1 + #(random >= it)) / (n + 1)), at most 1. It
    tests that the circuit is no better and no worse than a random one. Random circuits are drawn from all of its size
    and kinds, itself included, as in a permutation test: where few exist, p stays large. `options`: ablation, metric,
    batch_size.

    Source: Shi et al. 2024. Cost: one forward per random circuit. Raises: CircuitError, TaskError.
    """
    return _tested(
        "sufficient", model, task, circuit, options, n_random=n_random, alpha=alpha, held_out=held_out, seed=seed,
        show_progress=show_progress,
    )  # fmt: skip


@kinds_checked
def necessity(
    model: Any,
    task: Task | str | Path,
    circuit: Circuit,
    *,
    n_random: int = 100,
    alpha: float = 0.05,
    held_out: bool | None = None,
    seed: int = 0,
    show_progress: bool | None = None,
    **options: Any,
) -> HypothesisTest:
    """Does the model lose more without the circuit than without random circuits of its size and kinds?

    Statistic |1 - f(complement)|; p as for `sufficiency`. For f between 0 and 1 it orders circuits as completeness
    |f(complement)| does, near 0 best; where f leaves that range, only this one still measures damage: a complement
    with f below 0 has lost more than one with f = 0, not less.

    Source: Shi et al. 2024, partial necessity. Cost: one forward per random circuit. Raises: CircuitError, TaskError.
    """
    return _tested(
        "necessary", model, task, circuit, options, n_random=n_random, alpha=alpha, held_out=held_out, seed=seed,
        show_progress=show_progress,
    )  # fmt: skip


def _tested(
    claim: Claim,
    model: Any,
    task: Task | str | Path,
    circuit: Circuit,
    options: Mapping[str, Any],
    *,
    seed: int,
    **test: Any,
) -> HypothesisTest:
    """Makes the runner with its `options`, then the `test`."""
    runner = runner_for(model, task, circuit, seed=seed, **options)
    return hypothesis_on(runner, circuit, claim, seed=seed, **test)


def hypothesis_on(
    runner: Runner,
    circuit: Circuit,
    claim: Claim,
    *,
    n_random: int = 100,
    alpha: float = 0.05,
    held_out: bool | None = None,
    seed: int = 0,
    show_progress: bool | None = None,
) -> HypothesisTest:
    """`sufficiency` or `necessity` with a runner that is already made."""
    _check(claim, n_random, alpha)
    check_parts(runner, circuit.parts, circuit.level)
    unseen = is_held_out(circuit.scored_pairs, runner.pairs, held_out)
    own, full = frozenset(circuit.parts), frozenset(runner.parts)
    drawn = [own, *Twins(runner.parts, seed).of(own, n_random)]
    sets: list[PartSet] = drawn if claim == "sufficient" else [full - parts for parts in drawn]
    found = measure(runner, sets, seed=seed, show_progress=show_progress)
    distances = [abs(1 - value) for value in map(found.value, sets) if value is not None]
    statistic, random = (distances[0], distances[1:]) if distances else (None, [])
    p = None if statistic is None else two_sided(statistic, random)
    return HypothesisTest(
        claim=claim,
        statistic=statistic,
        random=tuple(random),
        p=p,
        smallest_p=min(1.0, 2 / (n_random + 1)),
        verdict=_verdict(claim, statistic, random, p, alpha),
        alpha=alpha,
        size=len(circuit),
        n_random=n_random,
        **conditions(runner, found, counted(circuit.level), unseen, seed),
    )


def _check(claim: str, n_random: int, alpha: float) -> None:
    """Raises: CircuitError for a claim that does not exist, and numbers out of range."""
    if claim not in CLAIMS:
        raise CircuitError(unknown("claim", claim, CLAIMS))
    if whole(n_random, "n_random", CircuitError) < 1 or not 0 < alpha < 1:
        raise CircuitError(f"n_random={n_random}, alpha={alpha}: expected 1 or more, and between 0 and 1.")


def two_sided(statistic: float, random: Sequence[float]) -> float:
    """Twice the smaller rank of the statistic among random ones, itself counted with them, at most 1."""
    below, above = (1 + sum(r <= statistic for r in random)), (1 + sum(r >= statistic for r in random))
    return min(1.0, 2 * min(below, above) / (len(random) + 1))


def _verdict(claim: Claim, statistic: float | None, random: Sequence[float], p: float | None, alpha: float) -> Verdict:
    if statistic is None or p is None:
        return "undefined"
    if p >= alpha:
        return "not told apart"
    small = sum(r <= statistic for r in random) < sum(r >= statistic for r in random)
    return "better than random" if small == (claim == "sufficient") else "worse than random"
