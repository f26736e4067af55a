"""The plan of discover and compare: every phase has a bound before the work, and method `auto` gets what the others leave.

What features cost depends on which are active. Finding that out is bounded by itself before it is done; the plan is made when it is known,
still before anything is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from circuits.console.phases import LONG, rounded
from circuits.costs.bounds import Bounds, one_forward
from circuits.costs.circuit_runs import FeatureRuns
from circuits.costs.feature_costs import FeatureCosts
from circuits.costs.run_costs import RunCosts, asked_by
from circuits.costs.scoring import of_search, rounds_of
from circuits.settings.held_out import Halves
from circuits.settings.prepared import Prepared, Settings
from interp.attribution.auto.budget import Budget
from interp.attribution.auto.verified import VerifiedAttribution
from interp.attribution.scoring.driver import Attribution
from interp.errors import InterpError
from interp.ledger import ledger
from interp.model.model import HookedModel
from interp.parts.nodes import CIRCUIT_LEVELS, FEATURES
from interp.tasks.metrics import get_metric
from interp.tasks.task import Task

#: What makes a run cost less.
_LESS: Final = {
    "discover": "Fewer random circuits (--random) or a given size (--n) cost less.",
    "compare": "Fewer methods (--methods) cost less.",
}


def bounds(job: Prepared, command: str) -> Bounds:
    """What a run may cost at most."""
    own = _costs(job)
    phases = {"loading": own.loading(), "accuracy": 2 * own.share(own.pairs(job.task))}
    phases |= {"scoring": own.scoring(), "checking": own.checking(command)}
    if command == "discover":
        if job.settings.level in CIRCUIT_LEVELS:
            phases |= {"searching": own.searching(), "evaluating": own.evaluating(), "anatomy": own.anatomy()}
        if isinstance(own, FeatureCosts):
            phases["features"] = own.features()
        phases |= {"mapping": own.mapping(), "prompts": own.prompts()}
    return Bounds(phases, len(job.request.pairs))


def bounds_of_finding(jobs: Sequence[Prepared]) -> Bounds:
    """What it may cost at most to find a circuit and to judge it, on each of some splits; a forward is of the pairs of its split."""
    phases: Counter[str] = Counter()
    for own in map(_costs, jobs):
        phases += Counter(
            {
                "loading": own.loading(),
                "scoring": own.scoring(),
                "searching": own.searching(),
                "evaluating": own.evaluating(),
            }
        )
    return Bounds(phases, len(jobs[0].request.pairs))


def pace(job: Prepared, command: str, seconds: float) -> str:
    """How long the run may take by its first forwards, which took so many seconds; empty where that is short or not known."""
    counts = ledger()
    if counts is None or not counts.total:
        return ""
    forward = one_forward(job.model, job.request.pairs)
    whole = bounds(job, command).total * forward / counts.total * seconds
    return f"at the pace of these forwards the plan takes {rounded(whole)} at most" if whole >= LONG else ""


def before(model: HookedModel, task: Task, settings: Settings, most: float | None) -> None:
    """What is run to find out what a plan depends on: at level features which of them are active.

    Raises: InterpError where that alone may cost more than `most` forwards.
    """
    if settings.level != FEATURES or most is None:
        return
    several = get_metric(settings.metric).several
    tokens = task.tokenize(model.tokenizer, model.outputs, several=several)
    scored = Halves.of(task, tokens, settings.seed, settings.hold_out).scoring
    pairs = scored.tokenize(model.tokenizer, model.outputs, several=several)
    made = FeatureRuns(asked_by(model, pairs, settings)).made
    found = Bounds({"loading": made / one_forward(model, pairs)}, len(pairs))
    found.check(most, "finding the active features alone", "Fewer dictionaries (--dictionaries) cost less.")


def within(job: Prepared, command: str, most: float | None) -> tuple[Prepared, Bounds]:
    """The run with no more for a search to spend than is left of `most` forwards, and what it may cost then.

    Raises: InterpError where the rest alone may cost more.
    """
    found = bounds(job, command)
    if most is None or found.total <= most:
        return job, found
    if isinstance(job.request, VerifiedAttribution):
        if job.request.plan.budget.unit == "seconds":
            raise InterpError(
                f"max-forwards={most:g} and a budget of {job.request.plan.budget}: give the budget in forwards, such as 50F."
            )
        smallest = _with_budget(job, job.request, 1)
        found = bounds(smallest, command)
        if found.total <= most:
            job = _with_budget(job, job.request, _affordable(smallest, command, most - found.total))
            return job, bounds(job, command)
    elif _may_search_less(job.request):
        found = bounds(_with_rounds(job, 1), command)
        if found.total <= most:
            each = bounds(_with_rounds(job, 2), command).total - found.total
            planned = max(rounds_of(job.request, m) for m in job.request.methods if m.masked)
            job = _with_rounds(job, min(planned, 1 + int((most - found.total) / each)))
            return job, bounds(job, command)
    found.check(most, "this run", _LESS[command])
    return job, found


def least(job: Prepared, command: str) -> float:
    """The forwards that a run may need where its search, if it has one, spends as little as it can."""
    if isinstance(job.request, VerifiedAttribution):
        job = _with_budget(job, job.request, 1)
    elif _may_search_less(job.request):
        job = _with_rounds(job, 1)
    return bounds(job, command).total


def _may_search_less(request: Attribution) -> bool:
    """Whether rounds can be left out: all searches on masks of the run spend what they are given, and none was told its rounds."""
    searches = [m for m in request.methods if m.masked]
    return bool(searches) and all(m.spends for m in searches) and request.masks.rounds is None


def _affordable(least: Prepared, command: str, left: float) -> float:
    """The budget with which a run takes what is left of a bound by its plan with the least."""
    request = least.request
    return (of_search(request) if isinstance(request, VerifiedAttribution) else 0.0) + left / _costs(least).rate


def _costs(job: Prepared) -> RunCosts:
    return (FeatureCosts if job.settings.level == FEATURES else RunCosts)(job)


def _with_budget(job: Prepared, request: VerifiedAttribution, forwards: float) -> Prepared:
    """The run with so much for method `auto` to spend."""
    return replace(job, request=replace(request, plan=replace(request.plan, budget=Budget(forwards))))


def _with_rounds(job: Prepared, rounds: int) -> Prepared:
    """The run with so many rounds of its search on masks."""
    return replace(job, request=replace(job.request, masks=replace(job.request.masks, rounds=rounds)))
