"""The plan of discover and compare: every phase has a bound before the work, and method `auto` gets what the others leave.

What features cost depends on which are active, and has no bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, log2
from typing import Final

from circuits.anatomy.closeups_edges import MOST_CHECKED
from circuits.anatomy.closeups_examples import EXAMPLES, PATTERN_BYTES
from circuits.anatomy.exact_check import EXACT_LIMIT, sample_size
from circuits.anatomy.overview import SHOWN_PROMPTS, mapping_method
from circuits.console.phases import LONG, rounded
from circuits.costs.bounds import Bounds, one_forward
from circuits.costs.circuit_runs import Asked, CircuitRuns, runs_of
from circuits.costs.scoring import PASS, exactly, of_request, passes
from circuits.evaluation.faithfulness import CURVE_RANDOM, spread, steps_of
from circuits.settings.prepared import Prepared
from interp.attribution.auto.budget import Budget
from interp.attribution.auto.verified import VerifiedAttribution
from interp.attribution.methods import get_method
from interp.attribution.protocol.spaces import NodeSpace
from interp.attribution.request import plan
from interp.attribution.token_attribution import DEFAULT_STEPS
from interp.errors import InterpError
from interp.ledger import BACKWARD, ledger
from interp.parts.nodes import CIRCUIT_LEVELS, FEATURES, groups
from interp.tasks.ablations import ABLATIONS
from interp.tasks.task import Task, TokenPair

#: What makes a run cost less.
_LESS: Final = {
    "discover": "Fewer random circuits (--random) or a given size (--n) cost less.",
    "compare": "Fewer methods (--methods) cost less.",
}


def bounds(job: Prepared, command: str) -> Bounds:
    """What a run may cost at most."""
    own = _Costs(job)
    phases = {"loading": own.fixed, "accuracy": 2 * own.share(own.pairs(job.task))}
    phases |= {"scoring": of_request(job.request), "checking": own.checking(command)}
    if command == "discover":
        if job.settings.level in CIRCUIT_LEVELS:
            phases |= {"searching": own.searching(), "evaluating": own.evaluating(), "anatomy": own.anatomy()}
        phases |= {"mapping": own.mapping(), "prompts": own.prompts()}
    return Bounds(phases, len(job.request.pairs))


def pace(job: Prepared, command: str, seconds: float) -> str:
    """How long the run may take by its first forwards, which took so many seconds; empty where that is short or not known."""
    counts = ledger()
    if counts is None or job.settings.level == FEATURES or not counts.total:
        return ""
    forward = one_forward(job.model, job.request.pairs)
    whole = bounds(job, command).total * forward / counts.total * seconds
    return f"at the pace of these forwards the plan takes {rounded(whole)} at most" if whole >= LONG else ""


def within(job: Prepared, command: str, most: float | None) -> tuple[Prepared, Bounds | None]:
    """The run with no more for method `auto` to spend than is left of `most` forwards, and what it may cost then.

    None for a level of features, which has no bound. Raises: InterpError where the rest alone may cost more.
    """
    if job.settings.level == FEATURES:
        if most is not None:
            raise InterpError(
                "max-forwards: what circuits of features cost depends on which are active; give no bound at level 'features'."
            )
        return job, None
    found = bounds(job, command)
    if most is None or found.total <= most:
        return job, found
    if isinstance(job.request, VerifiedAttribution):
        if job.request.plan.budget.unit == "seconds":
            raise InterpError(
                f"max-forwards={most:g} and a budget of {job.request.plan.budget}: give the budget in forwards, such as 50F."
            )
        found = bounds(_with_budget(job, job.request, 1), command)
        if found.total <= most:
            job = _with_budget(job, job.request, 1 + most - found.total)
            return job, bounds(job, command)
    found.check(most, "this run", _LESS[command])
    return job, found


def _with_budget(job: Prepared, request: VerifiedAttribution, forwards: float) -> Prepared:
    """The run with so much for method `auto` to spend."""
    return replace(job, request=replace(request, plan=replace(request.plan, budget=Budget(forwards))))


@dataclass(frozen=True)
class _Costs:
    """The bounds of the phases of one run, in forwards of the scored pairs."""

    job: Prepared

    @cached_property
    def _forward(self) -> int:
        return one_forward(self.job.model, self.job.request.pairs)

    def pairs(self, task: Task) -> list[TokenPair]:
        """The pairs of a task as tokens."""
        return self.job.tokens(task)

    def share(self, pairs: Sequence[TokenPair]) -> float:
        """A forward of some pairs."""
        return one_forward(self.job.model, pairs) / self._forward

    @property
    def fixed(self) -> float:
        """The run of the clean prompts that fixed values are taken in."""
        return float(bool(ABLATIONS[self.job.settings.ablation].values))

    def checking(self, command: str) -> float:
        """Exact patching of all parts where they are few, else of a sample. A circuit that `auto` found is checked by what it
        patched."""
        request = self.job.request
        searched = command == "discover" and isinstance(request, VerifiedAttribution)
        if searched or any(m.exact for m in request.methods):
            return 0.0
        n = request.space.n_parts * len(request.positions.labels)
        kinds = len({group.kind for group in request.space.groups}) if isinstance(request.space, NodeSpace) else None
        shown = len(self.job.settings.methods)
        return self.fixed + exactly(request, None if n <= EXACT_LIMIT else sample_size(shown, kinds))

    def searching(self) -> float:
        """Steps on a log axis, then halving, where no size was given."""
        settings = self.job.settings
        if settings.n is not None or settings.threshold is not None or self.job.request.methods[0].joint is not None:
            return 0.0
        runs = self._runs(self.job.request.pairs)
        sizes = steps_of(runs.n)
        gaps = zip([0, *sizes], sizes, strict=False)
        tried = [runs.call([size], ends=False) for size in sizes]
        halved = [
            ceil(log2(high - low)) * one if high - low > 1 else 0 for (low, high), one in zip(gaps, tried, strict=True)
        ]
        steps = max(sum(tried[: i + 1]) + halved[i] for i in range(len(sizes)))
        return (runs.made + runs.call([]) + steps) / self._forward

    def evaluating(self) -> float:
        """The circuit, its complement and the curve, with random circuits."""
        settings, runs = self.job.settings, self._runs(self.pairs(self.job.evaluation))
        sets = curve_sizes(runs.n, settings.n, settings.n_random, runs.n)
        return (runs.made + runs.call(sets)) / self._forward

    def anatomy(self) -> float:
        """What is written, neurons, edges and the strongest of these exactly; and three prompts, several times."""
        level, settings = self.job.settings.level, self.job.settings
        evaluation = self.pairs(self.job.evaluation)
        found = self.share(evaluation) + self._closely(evaluation)
        if level != "neurons":
            found += 2 + self.fixed + PASS
        if level == "heads":
            found += 2 + self.fixed + PASS
            try:
                found += self.fixed + exactly(
                    plan(self.job.model, self.job.scoring, settings.elsewhere("exact", "edges")), MOST_CHECKED
                )
            except InterpError:
                found += 2 + self.fixed + MOST_CHECKED  # the view will say why there are none
        return found

    def _closely(self, pairs: Sequence[TokenPair]) -> float:
        """Patterns, a few layers at a time, the lens, and what is written, of the longest prompts there can be."""
        size = self.job.model.layout
        longest = sorted(pairs, key=lambda pair: pair.length)[-EXAMPLES:]
        at_once = max(1, PATTERN_BYTES // (4 * size.n_heads * longest[-1].length ** 2))
        return float(self.share(longest) * (ceil(size.n_layers / at_once) + 2))

    def mapping(self) -> float:
        """Both runs, and the method of the map at every layer of the stream."""
        request, layout = self.job.request, self.job.model.layout
        stream = NodeSpace(tuple(groups("resid", layout)))
        method = get_method(mapping_method(self.job))
        return 2 + self.fixed + passes(method, request.steps, stream.n_sites, layout.n_layers)

    def prompts(self) -> float:
        """Token attribution of a few prompts, along a path and by the method of the run, of which `deeplift` is the dearest."""
        shown = self.pairs(self.job.task)[:SHOWN_PROMPTS]
        return self.share(shown) * (2 + (DEFAULT_STEPS + 2) * PASS + 5 + BACKWARD)

    def _runs(self, pairs: Sequence[TokenPair]) -> CircuitRuns:
        """Runs of circuits on some pairs."""
        settings = self.job.settings
        asked = Asked(
            self.job.model,
            pairs,
            settings.level,
            settings.ablation,
            settings.metric,
            settings.batch_size,
            settings.max_memory,
        )
        return runs_of(asked, kv=settings.kv or "shared", split_positions=settings.split_positions)


def curve_sizes(ranked: int, own: int | None, n_random: int, n: int) -> list[int]:
    """The sizes of all circuits that an evaluation runs beside the whole model and the empty one: of `n` parts, of which so many
    are `ranked`, and a circuit of `own`; None for one of any size."""
    found = [own, n - own] if own is not None else [n] * (2 + n_random)
    for size in sorted({*spread(ranked), *([own] if own else [])}):
        twins = n_random if size == own else min(n_random, CURVE_RANDOM)
        found += [size] * (1 + (twins if size < n else 0))
    return found
