"""The circuit of one task, or of one group of examples, judged on the pairs of another: every one on every one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from circuits.circuit.chance import shared_by_chance
from circuits.circuit.circuit import Circuit, CircuitError, listable
from circuits.comparison.transfers import Transfer
from circuits.costs.default_method import decided
from circuits.evaluation.evaluation import Evaluation
from circuits.evaluation.faithfulness import counted
from circuits.jobs.pipeline import choose_circuit, judge, score
from circuits.settings.prepared import Prepared, Settings, checked, prepare_run
from circuits.terms.kinds import kinds_checked
from interp.given import GivenError
from interp.parts.graph import Part
from interp.parts.nodes import CIRCUIT_LEVELS
from interp.scores.scores import Scores
from interp.tasks.find import task as find_task
from interp.tasks.task import Task


@kinds_checked
def transfer(
    model: Any,
    tasks: Mapping[str, Task | str | Path] | Sequence[Task | str | Path],
    *,
    method: str | None = None,
    level: str = "heads",
    seed: int = 0,
    **options: Any,
) -> Transfer:
    """Find the circuit of each task on one half of its pairs, and judge it on the other half of the pairs of every task.

    tasks: tasks, names or files; or by the names that the table has for them, as `Mechanisms.tasks` gives the groups of one task. The same
    as `circuits discover` does with these `options` (`n`, `ranking`, `ablation`, `metric`, `n_random`, ...), but under one ablation only
    unless `other_ablation` is given.

    Where f of a circuit on another task is as high as on its own, its parts do for both; beside it stands f of random circuits with as
    many parts of each kind, since large circuits do for anything. A task whose circuits are groups of examples found in scores of the same pairs
    is judged too well on its own: the groups were made with them.

    Cost: for each task what the method and the search for a size take; then for every two at most n_random + 3 forwards of the pairs that
    are judged. Raises: InterpError, naming the task.
    """
    given = _named(tasks)
    if level not in CIRCUIT_LEVELS:
        raise CircuitError(f"level {level!r} is a map; expected {', '.join(CIRCUIT_LEVELS)}.")
    methods = () if method is None else (method,)
    settings = checked(Settings(methods=methods, level=level, seed=seed, **{"other_ablation": "none", **options}))
    jobs = {name: _job(model, name, task, settings) for name, task in given.items()}
    if len(kinds := {(job.settings.methods, job.settings.metric) for job in jobs.values()}) > 1:
        raise CircuitError(
            f"these tasks are scored in {len(kinds)} ways by default; name one method= and one metric= for all."
        )
    found = {name: _circuit(job) for name, job in jobs.items()}
    judged = [
        [judge(job, circuit, scores, _silent, sizes=[len(circuit)]) for job in jobs.values()]
        for circuit, scores in found.values()
    ]
    return _value(jobs, found, judged)


def _named(tasks: Any) -> dict[str, Any]:
    """Tasks by their names in the table. Raises: CircuitError for fewer than two, or two of one name."""
    if isinstance(tasks, (str, Path, Task)):
        raise CircuitError("transfer of one task; expected two or more, in a list or by name.")
    if not isinstance(tasks, (Mapping, list, tuple)):
        raise _no_tasks(tasks)
    if odd := [
        t for t in (tasks.values() if isinstance(tasks, Mapping) else tasks) if not isinstance(t, (str, Path, Task))
    ]:
        raise _no_tasks(odd[0])
    if isinstance(tasks, Mapping):
        found = dict(tasks)
    else:
        names = [task.name if isinstance(task, Task) else str(task) for task in tasks]
        found = dict(zip(names, tasks, strict=True))
        if len(found) < len(names):
            raise CircuitError("two of the tasks have one name; give them by names of your own: {'first': task, ...}.")
    if len(found) < 2:
        raise CircuitError(f"transfer of {len(found)} task; expected two or more.")
    return found


def _no_tasks(given: Any) -> GivenError:
    kind = type(given).__name__
    return GivenError(
        f"transfer(): tasks: given {kind}, expected a list of Task or str or Path. Make it with interp.task(...)."
    )


def _job(model: Any, name: str, task: Any, settings: Settings) -> Prepared:
    """Checked before any work. Raises: CircuitError for constants that belong to one task."""
    whole = find_task(task, model)
    settings, _ = decided(model, whole, settings)
    job = prepare_run(model, replace(whole, name=name), settings)
    if job.learned is not None:
        raise CircuitError(
            "constants learned on one task are not those of another; choose ablation counterfactual, mean or zero."
        )
    return job


def _circuit(job: Prepared) -> tuple[Circuit, Scores]:
    scores = score(job, _silent)[0]
    return choose_circuit(job, scores, _silent)[0], scores


def _value(
    jobs: Mapping[str, Prepared], found: Mapping[str, tuple[Circuit, Scores]], judged: Sequence[Sequence[Evaluation]]
) -> Transfer:
    first = next(iter(jobs.values()))
    circuits = [circuit for circuit, _ in found.values()]
    parts = frozenset(part for _, scores in found.values() for part in scores.parts if listable(part))
    shared = [[_shared(a, b, parts) for b in circuits] for a in circuits]
    own = judged[0][0]
    return Transfer(
        names=tuple(jobs),
        faithfulness=_grid([[e.faithfulness.value for e in line] for line in judged]),
        low=_grid([[e.faithfulness.low for e in line] for line in judged]),
        high=_grid([[e.faithfulness.high for e in line] for line in judged]),
        random=_grid([[_random(e) for e in line] for line in judged]),
        jaccard=_grid([[both for both, _ in line] for line in shared]),
        by_chance=_grid([[chance for _, chance in line] for line in shared]),
        parts=tuple(tuple(part.name for part in circuit.parts) for circuit in circuits),
        n_parts=own.n_nodes,
        n_pairs=tuple(e.n_pairs for e in judged[0]),
        held_out=all(job.held_out for job in jobs.values()),
        counts=counted(first.settings.level),
        model=circuits[0].model,
        method=circuits[0].method,
        ablation=own.ablation,
        metric=own.metric,
    )


def _grid(values: Sequence[Sequence[float | None]]) -> np.ndarray:
    return np.array([[np.nan if v is None else v for v in line] for line in values], dtype=float)


def _shared(a: Circuit, b: Circuit, parts: frozenset[Part]) -> tuple[float, float]:
    """Jaccard index of two circuits, and by chance."""
    first, second = frozenset(a.parts), frozenset(b.parts)
    either = len(first | second)
    return (len(first & second) / either if either else 1.0), shared_by_chance(first, second, parts).jaccard


def _random(found: Evaluation) -> float | None:
    """The median of random circuits of its size."""
    own = next((point.random for point in found.curve if point.size == found.size), ())
    known = [value for value in own if value is not None]
    return float(np.median(known)) if known else None


def _silent(message: str) -> None:
    return None
