"""What a run costs in forwards, before it and after it: one is the multiply-adds of a plain forward of all scored pairs, with all logits.

Before it every phase has a bound. Runs of circuits of nodes are bounded by the halves of layers that so many parts can be
in; where a circuit shares its runs with others it costs less. What features cost depends on which are active, and has none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, log2
from typing import Any, Final

import numpy as np
import torch

from circuits.anatomy.closeups_edges import MOST_CHECKED
from circuits.anatomy.closeups_examples import EXAMPLES
from circuits.anatomy.exact_check import EXACT_LIMIT
from circuits.anatomy.overview import SHOWN_PROMPTS, mapping_method
from circuits.bench.workload import resident_peak
from circuits.console.phases import LONG, rounded
from circuits.evaluation.faithfulness import CURVE_RANDOM, spread
from circuits.settings.prepared import Prepared
from interp.attribution.auto.budget import Budget
from interp.attribution.auto.prices import price_of
from interp.attribution.auto.verified import VerifiedAttribution
from interp.attribution.exact.forecast import starts_at
from interp.attribution.exact.machine import find_restart
from interp.attribution.methods import get_method
from interp.attribution.protocol.registry import Method
from interp.attribution.protocol.spaces import EdgeSpace, NodeSpace
from interp.attribution.scoring.driver import Attribution
from interp.attribution.token_attribution import DEFAULT_STEPS
from interp.errors import InterpError
from interp.formatting.numbers import number, several
from interp.ledger import BACKWARD, Ledger, ledger
from interp.parts.nodes import CIRCUIT_LEVELS, FEATURES, groups
from interp.tasks.ablations import ABLATIONS
from interp.tasks.lengths import by_length

#: What makes a run cost less.
_LESS: Final = {
    "discover": "Fewer random circuits (--random) or a given size (--n) cost less.",
    "compare": "Fewer methods (--methods) cost less.",
}
#: What one pass forward and back counts.
_PASS: Final = 1 + BACKWARD


def one_forward(job: Prepared) -> int:
    """The multiply-adds of a plain forward of all scored pairs."""
    return sum(job.model.prices.forward(1, pair.length) for pair in job.request.pairs)


def spent(job: Prepared, ledger: Ledger) -> dict[str, Any]:
    """What was spent, as the manifest has it: in all, by phase, and how many circuits were run."""
    forward = one_forward(job)
    return {
        "forwards_total": round(ledger.total / forward, 2),
        "forwards_by_phase": {phase: round(n / forward, 2) for phase, n in ledger.spent.items() if n},
        "circuits_run": ledger.circuits,
    }


def memory(loaded: int) -> dict[str, Any]:
    """The highest memory of the process, and how far it is above `loaded` bytes, the highest when the model was there [MiB]."""
    highest = resident_peak()
    return {"memory_mib": {"highest": highest >> 20, "above": (highest - loaded) >> 20}}


# ---------------------------------------------------------------- before the run


@dataclass(frozen=True)
class Bounds:
    """At most so many forwards, by phase of the run."""

    phases: dict[str, float]
    pairs: int

    @property
    def total(self) -> float:
        return sum(self.phases.values())

    def __str__(self) -> str:
        of = ", ".join(f"{phase} {number(n, 0)}" for phase, n in self.phases.items() if n >= 0.5)
        return f"at most {number(self.total, 0)} forwards of the {several(self.pairs, 'scored pair')}: {of}"


def bounds(job: Prepared, command: str) -> Bounds:
    """What a run may cost at most."""
    own = _Costs(job)
    phases = {"accuracy": 2 * own.share(len(job.task)), "scoring": own.scoring(), "checking": own.checking(command)}
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
    whole = bounds(job, command).total * one_forward(job) / counts.total * seconds
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
    raise InterpError(f"max-forwards={most:g}: this run may need {number(found.total, 0)} ({found}). {_LESS[command]}")


def _with_budget(job: Prepared, request: VerifiedAttribution, forwards: float) -> Prepared:
    """The run with so much for method `auto` to spend."""
    return replace(job, request=replace(request, plan=replace(request.plan, budget=Budget(forwards))))


@dataclass(frozen=True)
class _Costs:
    """The bounds of the phases of one run."""

    job: Prepared

    def share(self, pairs: int) -> float:
        """A forward of so many pairs, in forwards of those that are scored."""
        return pairs / len(self.job.request.pairs)

    def shown(self, most: int) -> float:
        """A forward of the first few pairs of the task."""
        return self.share(min(most, len(self.job.task)))

    def scoring(self) -> float:
        """Both runs, which all methods share, and each of them."""
        request = self.job.request
        total = 2 + sum(_of_method(request, m) for m in request.methods)
        if not isinstance(request, VerifiedAttribution):
            return total
        # Where all parts fit into the budget they are patched in one sweep; seconds bound no forwards.
        budget, every = request.plan.budget, _every(request)
        return total + (every if budget.unit == "seconds" else min(budget.limit, every))

    def checking(self, command: str) -> float:
        """Exact patching of all parts where they are few, else of a sample, each at most a forward. A circuit that `auto` found
        is checked by what it patched, and so is all where it patches all."""
        request = self.job.request
        searched = isinstance(request, VerifiedAttribution) and (command == "discover" or _sweeps(request))
        if searched or any(m.exact for m in request.methods):
            return 0.0
        n = request.space.n_parts * len(request.positions.labels)
        return 2.0 + (_every(request) if n <= EXACT_LIMIT else min(n, EXACT_LIMIT))

    def searching(self) -> float:
        """Steps on a log axis, then halving, where no size was given."""
        settings = self.job.settings
        if settings.n is not None or settings.threshold is not None or self.job.request.methods[0].joint is not None:
            return 0.0
        sizes = spread(self._parts)
        return 2 + sum(map(self._circuit, sizes)) + ceil(log2(max(2, self._parts))) * self._circuit(self._parts)

    def evaluating(self) -> float:
        """The circuit, its complement and the curve, with random circuits."""
        settings, sizes = self.job.settings, spread(self._parts)
        curve = sum((1 + min(settings.n_random, CURVE_RANDOM)) * self._circuit(size) for size in sizes)
        own = (2 + settings.n_random) * self._circuit(settings.n or self._parts)
        return self.share(len(self.job.evaluation)) * (2 + curve + own)

    def anatomy(self) -> float:
        """What is written, neurons, edges and the strongest of these exactly; and three prompts, several times."""
        return 1 + 2 * (1 + _PASS) + 4 + MOST_CHECKED + 3 * self.shown(EXAMPLES)

    def mapping(self) -> float:
        """Both runs, and the method of the map at every layer of the stream."""
        request, layout = self.job.request, self.job.model.layout
        stream = NodeSpace(tuple(groups("resid", layout)))
        return 2 + _passes(get_method(mapping_method(self.job)), request.steps, stream.n_sites, layout.n_layers)

    def prompts(self) -> float:
        """Token attribution of a few prompts, along a path and by the method of the run, of which `deeplift` is the dearest."""
        return self.shown(SHOWN_PROMPTS) * (2 + (DEFAULT_STEPS + 2) * _PASS + 5 + BACKWARD)

    @property
    def _parts(self) -> int:
        return self.job.request.space.n_parts

    def _circuit(self, size: int) -> float:
        """A circuit of so many parts, in forwards of the same pairs."""
        if not isinstance(self.job.request.space, NodeSpace):
            return _of_edges(self.job.request)
        prices = self.job.model.prices
        layers = range(len(prices.rows) // 3)
        halves = [prices.rows["mlp", i] for i in layers] + [prices.rows["qkv", i] + prices.rows["o", i] for i in layers]
        found = sum(halves) if self.job.settings.level == "neurons" else sum(sorted(halves)[-size:])
        return float(self._changed * min(1.0, found / sum(halves)))

    @cached_property
    def _changed(self) -> float:
        """The share of positions from the first one on where the runs of a batch can differ; 1 where circuits share nothing."""
        machine = find_restart(self.job.model).machine
        if machine is None or machine.whole:
            return 1.0
        paired, pairs = ABLATIONS[self.job.settings.ablation].paired, self.job.tokens(self.job.task)
        redone = 0
        for index in by_length([pair.length for pair in pairs], len(pairs)):
            clean, corrupt = (torch.tensor([getattr(pairs[i], side) for i in index]) for side in ("clean", "corrupt"))
            first = min(starts_at(clean, corrupt if paired else None, machine), clean.shape[1] - 1)
            redone += len(index) * (clean.shape[1] - first)
        return redone / sum(pair.length for pair in pairs)


def _of_method(request: Attribution, m: Method) -> float:
    """What one method costs beside both runs."""
    if m.exact:
        return _every(request)
    if m.joint is not None:
        return _of_edges(request) * (1 + request.space.n_parts)
    return _passes(m, request.steps, request.space.n_sites, request.model.layout.n_layers)


def _passes(m: Method, steps: int, sites: int, layers: int) -> float:
    """The passes forward and back of a method without search, in forwards: by step and site, or for each layer left out."""
    found = steps if m.uses_steps else m.passes
    return float(_PASS * found * (sites if m.per_site else 1) * (2 * layers if m.unsigned else 1))


def _of_edges(request: Attribution) -> float:
    """A circuit of edges, in forwards: beside one a copy of the stream for each reader, what each head writes in both runs (twice
    more behind a post-norm), and q, k and v again, once more for each set of readers that share columns."""
    if not isinstance(request.space, EdgeSpace):
        return 1.0
    graph, prices = request.space.graph, request.model.prices
    again = [1 if own.one_pass else 1 + len(own.passes) for own in request.space.map.projections]
    read = sum(n * prices.rows["qkv", layer] for layer, n in enumerate(again))
    written = 4 * sum(prices.rows["o", layer] for layer in range(graph.n_layers))
    copies = len(graph.readers) * len(graph.writers) * request.model.layout.d_model
    return float(1 + (copies + written + read) / sum(prices.rows.values()))


def _sweeps(request: VerifiedAttribution) -> bool:
    """Whether method `auto` is sure to patch every part: all at once, where the budget is as much as that costs at most."""
    budget = request.plan.budget
    return budget.unit == "forwards" and _every(request) <= budget.limit


def _every(request: Attribution) -> float:
    """Exact patching of every part at all positions together."""
    exact = replace(request, methods=[get_method("exact")])
    labels = len(request.positions.labels)
    return float(labels * price_of(exact)(np.arange(request.space.n_parts)))
