"""Whether a circuit holds more than it needs: how much its faithfulness falls without each of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.circuit.saved import Saved
from circuits.evaluation.evaluation import Counts
from circuits.evaluation.faithfulness import counted
from circuits.evaluation.ratio import conditions, measure
from circuits.evaluation.running.runner import Runner, check_parts, is_held_out
from circuits.evaluation.running.runners import runner_for
from circuits.terms.kinds import kinds_checked
from interp.attribution.features.hosts import Dictionaries
from interp.scores.resampling import Estimate
from interp.tasks.metric import Metric
from interp.tasks.replacements import Ablation
from interp.tasks.task import Task


@dataclass(frozen=True)
class Removal:
    """`drop`: f(C) - f(C without the part), with its 95 % interval. Positive: the circuit is less without it."""

    part: str
    kind: str
    drop: Estimate


@dataclass(frozen=True)
class Minimality(Saved):
    """The parts of a circuit by how much f falls without them, the most needed first. `reason`: why undefined.

    A part whose work another part also does is not missed when it goes alone, so not every harmless part can go at once.
    """

    removals: tuple[Removal, ...]
    faithfulness: Estimate
    counts: Counts
    metric: str
    ablation: str
    n_pairs: int
    held_out: bool
    seed: int
    reason: str = ""

    @property
    def harmless(self) -> tuple[str, ...]:
        """The parts whose removal does not hurt: f stays or rises."""
        return tuple(r.part for r in self.removals if r.drop.value is not None and r.drop.value <= 0)

    @property
    def unclear(self) -> tuple[str, ...]:
        """The parts whose removal lowers f by no more than these pairs can tell from 0."""
        return tuple(
            r.part for r in self.removals if r.drop.value is not None and r.drop.value > 0 and (r.drop.low or 0.0) <= 0
        )

    def to_pandas(self) -> Any:
        """A table: part, kind, drop, low, high."""
        import pandas as pd

        rows = [(r.part, r.kind, r.drop.value, r.drop.low, r.drop.high) for r in self.removals]
        return pd.DataFrame(rows, columns=["part", "kind", "drop", "low", "high"])

    def __str__(self) -> str:
        head = f"Minimality of {len(self.removals)} {self.counts}, f {self.faithfulness}"
        if self.reason:
            return f"{head} ({self.reason})"
        wide = max(20, *(len(r.part) for r in self.removals[:10]))
        shown = [
            f"  {'without':<{wide}} f falls by [95 %]",
            *(f"  {r.part:<{wide}} {r.drop}" for r in self.removals[:10]),
        ]
        named = {"removal does not hurt": self.harmless, "removal hurts no more than chance": self.unclear}
        return "\n".join([head, *shown, *(f"  {what}: {', '.join(found) or 'none'}" for what, found in named.items())])


@kinds_checked
def leave_one_out(
    model: Any,
    task: Task | str | Path,
    circuit: Circuit,
    *,
    ablation: str | Ablation = "counterfactual",
    metric: str | Metric | None = None,
    held_out: bool | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    show_progress: bool | None = None,
    dictionaries: Dictionaries | None = None,
    errors: str = "kept",
) -> Minimality:
    """For each part of the circuit f(C) - f(C without it), by intervention, on the same resamples of the examples.

    Source: Wang et al. 2023, minimality. Cost: one forward per part. Raises: CircuitError, TaskError.
    """
    runner = runner_for(
        model, task, circuit, ablation=ablation, metric=metric, seed=seed, batch_size=batch_size,
        dictionaries=dictionaries, errors=errors,
    )  # fmt: skip
    return leave_one_out_on(runner, circuit, held_out=held_out, seed=seed, show_progress=show_progress)


def leave_one_out_on(
    runner: Runner, circuit: Circuit, *, held_out: bool | None = None, seed: int = 0, show_progress: bool | None = None
) -> Minimality:
    """`leave_one_out` with a runner that is already made."""
    if not circuit.parts:
        raise CircuitError("an empty circuit has no part to leave out; give one with at least one part.")
    check_parts(runner, circuit.parts, circuit.level)
    unseen = is_held_out(circuit.scored_pairs, runner.pairs, held_out)
    whole = frozenset(circuit.parts)
    without = {part: whole - {part} for part in circuit.parts}
    found = measure(runner, (whole, *without.values()), seed=seed, show_progress=show_progress)
    removals = [Removal(part.name, part.kind, found.estimate(whole, base=rest)) for part, rest in without.items()]
    return Minimality(
        removals=tuple(sorted(removals, key=lambda r: -(r.drop.value or 0.0))),
        faithfulness=found.estimate(whole),
        **conditions(runner, found, counted(circuit.level), unseen, seed),
    )
