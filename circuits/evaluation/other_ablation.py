"""A circuit under another ablation than its own: what is made for one kind of absence may fail under the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.evaluation.evaluation import Estimate, OtherAblation
from circuits.evaluation.ratio import Measured, interval, measure
from circuits.evaluation.running.runner import PartSet, Runner
from circuits.evaluation.running.runners import runner_for
from interp.tasks.task import Task

UNDEFINED: Final = Estimate(None, None, None)


def other_runners(
    own: Runner, model: Any, task: Task | str | Path, circuit: Circuit, ablations: Sequence[str], **options: Any
) -> list[Runner]:
    """Runners of the same parts on the same pairs under other ablations; `options` as those of `own`, in `make_runner`."""
    return [
        runner_for(model, task, circuit, ablation=ablation, listed=tuple(own.parts), **options)
        for ablation in ablations
    ]


def judge_otherwise(
    runners: Sequence[Runner],
    own: Measured,
    circuit: PartSet,
    twins: Sequence[PartSet],
    *,
    seed: int = 0,
    show_progress: bool | None = None,
) -> OtherAblation | None:
    """What a circuit and random ones like it give under the first ablation that leaves f defined; under the last where none does.

    own: measured under its own, on the same pairs with the same seed, so that both are resampled alike. None without runners.
    Cost: one forward per set, and two, for each ablation that is tried.
    """
    found, passed_over = None, list[str]()
    for runner in runners:
        found = replace(_judged(runner, own, circuit, twins, seed, show_progress), passed_over=tuple(passed_over))
        if not found.reason:
            break
        passed_over.append(f"{found.ablation}: {found.reason}")
    return found


def _judged(
    runner: Runner,
    own: Measured,
    circuit: PartSet,
    twins: Sequence[PartSet],
    seed: int,
    show_progress: bool | None,
) -> OtherAblation:
    kind = runner.ablation.kind
    try:
        found = measure(runner, [circuit, *twins], seed=seed, show_progress=show_progress)
    except CircuitError as error:
        # A model may overflow on values that it never sees; what was asked for is measured all the same.
        return OtherAblation(kind, UNDEFINED, UNDEFINED, None, None, None, (), str(error).rstrip("."))
    return OtherAblation(
        kind,
        found.estimate(circuit),
        _further(found, own, circuit),
        *found.ends,
        found.mean(circuit),
        tuple(found.value(twin) for twin in twins),
        found.reason,
    )


def _further(other: Measured, own: Measured, circuit: PartSet) -> Estimate:
    """|1 - f| of the one less |1 - f| of the other, with its interval over the same resamples."""
    here, there = other.value(circuit), own.value(circuit)
    if here is None or there is None:
        return UNDEFINED
    resampled = np.abs(1 - other.resampled(circuit)) - np.abs(1 - own.resampled(circuit))
    return interval(abs(1 - here) - abs(1 - there), resampled, len(own.span))
