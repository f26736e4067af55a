"""A circuit under another ablation than its own: what is made for one kind of absence may fail under the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.evaluation.evaluation import OtherAblation
from circuits.evaluation.ratio import Measured, measure
from circuits.evaluation.running.node_runner import NodeRunner
from circuits.evaluation.running.runner import PartSet, Runner
from circuits.evaluation.running.runners import runner_for
from interp.scores.resampling import Estimate, interval
from interp.tasks.task import Task

UNDEFINED: Final = Estimate(None, None, None)


def other_runners(
    own: Runner, model: Any, task: Task | str | Path, circuit: Circuit, ablations: Sequence[str], **options: Any
) -> list[Runner]:
    """Runners of the same parts on the same pairs under other ablations; `options` as those of `own`, in `make_runner`."""
    found = [
        runner_for(model, task, circuit, ablation=ablation, listed=tuple(own.parts), **options)
        for ablation in ablations
    ]
    for runner in found:
        if isinstance(runner, NodeRunner):
            runner.keep = False  # each is called once
    return found


def judge_otherwise(
    runners: Sequence[Runner],
    own: Measured,
    circuit: PartSet,
    twins: Sequence[PartSet],
    *,
    seed: int = 0,
    show_progress: bool | None = None,
) -> OtherAblation | None:
    """What a circuit and random ones like it give under the first ablation that tells the whole model from the empty one as its
    own does; under the last where none does.

    own: measured under its own, on the same pairs with the same seed, so that both are resampled alike. None without runners.
    Cost: one forward per set, and two, for each ablation that is tried.
    """
    found, passed_over = None, list[str]()
    for runner in runners:
        found = replace(_judged(runner, own, circuit, twins, seed, show_progress), passed_over=tuple(passed_over))
        if not (why := _says_nothing(found, own)):
            break
        passed_over.append(f"{found.ablation}: {why}")
    return found


def _says_nothing(found: OtherAblation, own: Measured) -> str:
    """Why f under another ablation says nothing of a circuit; empty where it does. Where the empty model does better than the whole
    one, as with means of prompts that have one answer, f = 1 is no aim."""
    if found.reason or found.full is None or found.empty is None:
        return found.reason
    full, empty = own.ends
    if (found.full - found.empty) * (full - empty) > 0:
        return ""
    return f"the empty model ({found.empty:.3g}) is beyond the whole one ({found.full:.3g}), not short of it as under its own ablation"


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
