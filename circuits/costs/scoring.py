"""What the methods of a request cost at most, in forwards of its pairs, before any run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from circuits.costs.bounds import one_forward
from circuits.costs.circuit_batches import Asked
from circuits.costs.circuit_runs import EdgeRuns
from circuits.costs.mask_costs import MaskRuns
from interp.attribution.auto.prices import price_of
from interp.attribution.auto.verified import VerifiedAttribution
from interp.attribution.methods import get_method
from interp.attribution.protocol.registry import Method, with_start
from interp.attribution.protocol.spaces import EdgeSpace
from interp.attribution.scoring.driver import Attribution
from interp.ledger import PASS


def of_request(request: Attribution) -> float:
    """Both runs, which all methods share, and each of them; of a search what it may spend."""
    total = 2 + sum(_of_method(request, m) for m in request.methods)
    return total + (of_search(request) if isinstance(request, VerifiedAttribution) else 0.0)


def of_search(request: VerifiedAttribution) -> float:
    """What method `auto` spends at most beside its presets: its budget, though one part is always patched; where all parts fit into
    it they are patched in one sweep, and seconds bound no forwards."""
    budget, every = request.plan.budget, exactly(request)
    return every if budget.unit == "seconds" else min(max(budget.limit, exactly(request, 1)), every)


def sweeps(request: VerifiedAttribution) -> bool:
    """Whether method `auto` is sure to patch every part: all at once, where the budget is as much as that costs at most."""
    budget = request.plan.budget
    return budget.unit == "forwards" and exactly(request) <= budget.limit


def _of_method(request: Attribution, m: Method) -> float:
    """What one method costs beside both runs."""
    if m.exact:
        return exactly(request)
    if m.joint is not None:
        return of_one_by_one(request)
    if m.of_masks:
        return of_masks(request, m)
    return passes(m, request.steps, request.space.n_sites, request.model.layout.n_layers)


def passes(m: Method, steps: int, sites: int, layers: int) -> float:
    """The passes forward and back of a method without search, in forwards: by step and site, or for each layer left out; and the
    other run once more, where its operands are kept."""
    found = steps if m.uses_steps else m.passes
    each = PASS * found * (sites if m.per_site else 1) * (2 * layers if m.unsigned else 1)
    return float(each + bool(m.rules.secants))


def of_masks(request: Attribution, m: Method) -> float:
    """Masked runs: of a path one a step; of a search its rounds, the empty and the whole model, and what it begins with."""
    runs, forward = MaskRuns(request), one_forward(request.model, request.pairs)
    if m.masked is None:
        return (runs.once() + request.steps * runs.both()) / forward
    usual = replace(request, masks=replace(request.masks, rounds=None, budget=None))
    starts = sum(_of_method(usual, own) for own in _starts(request, m))
    ends = 2 + _compared(m)
    return starts + (runs.once() + ends * runs.forward() + rounds_of(request, m) * runs.both()) / forward


def rounds_of(request: Attribution, m: Method) -> int:
    """How many rounds a search on masks makes at most: as many as it was told, or what its budget leaves beside other rounds and circuits."""
    told = request.masks
    budget = m.spends if told.budget is None else told.budget
    if told.rounds is not None or budget is None:
        return told.rounds or m.passes
    before = sum(PASS * own.passes for own in _starts(request, m) if own.masked is not None)
    return max(1, int((budget - before - _compared(m)) // PASS))


def _starts(request: Attribution, m: Method) -> list[Method]:
    """The methods that it begins with."""
    return with_start([m], request.masks)[1:]


def _compared(m: Method) -> int:
    """How many circuits are run to choose between what several searches found."""
    return (len(m.starts) + 1) * m.circuits


def of_one_by_one(request: Attribution) -> float:
    """Circuits of edges that are run one after the other: all edges cut, and without each in turn."""
    if not isinstance(request.space, EdgeSpace):
        raise RuntimeError("only edges are cut one after the other")
    how = request.level, request.ablation.kind, request.metric.name, request.memory.batch_size
    runs = EdgeRuns(Asked(request.model, request.pairs, *how), request.space.graph)
    return runs.one_by_one(1 + request.space.n_parts) / one_forward(request.model, request.pairs)


def exactly(request: Attribution, most: int | None = None) -> float:
    """Exact patching of the parts that are asked for at every position; `most`: of so many of them, whichever they are."""
    exact = replace(request, methods=[get_method("exact")])
    places = np.arange(request.space.n_parts)
    if request.only is not None:
        places = places[[part.name in request.only for part in request.space.parts([None])]]
    n = len(places) if most is None else most
    prices = [price_of(exact, label) for label in range(len(request.positions.labels))]
    return float(prices[0].runs + sum(price.dearest(places, n) - price.runs for price in prices))
