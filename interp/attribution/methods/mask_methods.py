"""Methods that score every part in runs with masks over the parts, where most of them may be replaced already.

Scores are larger where a part belongs in a circuit more, and have no sign; those of `mask-ig` are effects like any other's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from interp.attribution.batching.batches import Batch
from interp.attribution.batching.quadrature import quadrature
from interp.attribution.edges.edge_batches import EdgeBatch
from interp.attribution.masks.masked import Masked
from interp.attribution.masks.orders import by_place, learned_order
from interp.attribution.masks.searches import Search
from interp.attribution.protocol.registry import (
    MaskSettings,
    Method,
    Options,
    Order,
    edge_method,
    get_method,
    masked_method,
    method,
)
from interp.attribution.protocol.spaces import part_scores
from interp.errors import MethodError
from interp.formatting.numbers import several
from interp.ledger import PASS
from interp.parts.nodes import Group
from interp.rules.rules import RELP, Rules, preset

#: Shares of the parts: the sizes of the circuits by which `portfolio` chooses.
SHARES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def _slopes_along_path(batch: Batch, options: Options, rules: Rules) -> Tensor:
    """minus the mean over even masks of d metric / d share [batch part]."""
    masked, total = Masked([batch], options.masks.keep), torch.zeros(())
    for replaced, weight in quadrature(options.quadrature, options.steps):
        _, slopes = masked.slopes(torch.full((masked.n_parts,), 1.0 - replaced, dtype=torch.float64), rules)
        total = total - weight * slopes
        options.advance(1)
    return total


@method(
    "mask-ig",
    formula="- mean over M = alpha of g_u . (now_u - source_u)",
    cost="K (F + B)",
    paper="Sundararajan et al. 2017, along masks",
    uses_steps=True,
    path="points between all parts replaced and none",
    of_masks=True,
)
def along_masks(batch: Batch, options: Options, rules: Rules) -> dict[Group, Tensor]:
    """The effect of a part, averaged over runs in which all parts are replaced to the same degree.

    score[u] = - mean over alpha of d m / d M_u at M = alpha everywhere; their sum is m(all replaced) - m(none) as points grow.

    Units: those of the metric. Cost: one forward and backward per step, beside the source run.
    """
    found, scores = _slopes_along_path(batch, options, rules), {}
    for group in batch.groups:
        scores[group], found = found[:, None, : group.n_units], found[:, group.n_units :]
    return scores


@edge_method("mask-ig")
def edges_along_masks(batch: EdgeBatch, options: Options, rules: Rules) -> Tensor:
    """The same for every edge: all edges together along the path, where integrated gradients move the embedding."""
    return _slopes_along_path(batch, options, rules)[:, None]


@masked_method(
    "iterated",
    formula="1 + last round of K that kept the part, by d f / d M_u at the circuit of the round",
    cost="2F + K (F + B)",
    paper="iterative pruning with re-entry",
    unit="rounds kept",
    rules=RELP,
    passes=8,
)
def iterated(search: Search, options: Sequence[Options], rules: Rules) -> Order:
    """Rounds of fewer and fewer parts; each scores all parts, those that are out too, where the circuit is now, and keeps the best.

    score[u] = the last round that kept u, and the order of the last round's slopes within it. Cost: a forward and backward a
    round, and a run of the empty and of the whole model.
    """
    rounds = rounds_left(search, options[0].masks, get_method("iterated"))
    return Order(search.iterated(rounds, _backward(options, rules)), several(rounds, "round"))


@masked_method(
    "learned",
    formula="an order theta that goes down (1 - f(M))^2 at M = sigma((theta - t_n) / T) of sum n, for ten sizes n in turn",
    cost="2F + K (F + B) + the start",
    paper="masks: Cao et al. 2021; Bhaskar et al. 2024; here one order for circuits of all sizes",
    unit="place",
    passes=40,
    warm=True,
    turns=3,
)
def learned(search: Search, options: Sequence[Options], rules: Rules) -> Order:
    """One order of all parts whose first n are a good circuit for every n, learned by Adam from the order of another method.

    score[u] = 1 - log(place of u) / log(parts). Cost: a forward and backward a round, a run of the empty and of the whole model,
    and the method that it begins with.
    """
    told = options[0].masks
    start = order_of(get_method(told.start), search, options)
    rounds = rounds_left(search, told, get_method("learned"))
    found = learned_order(search, start, rounds, _backward(options, rules))
    return Order(found, f"{several(rounds, 'round')}, from {told.start}")


@masked_method(
    "portfolio",
    formula="whichever of relp, iterated and learned, from the better of both, has the best circuits of chosen sizes",
    cost="150F in all, or the budget",
    paper="algorithm portfolios, after Rice 1976",
    unit="place",
    warm=True,
    starts=("relp", "iterated"),
    circuits=len(SHARES),
    spends=150.0,
    turns=3,
)
def portfolio(search: Search, options: Sequence[Options], rules: Rules) -> Order:
    """Searches within a budget, and of what they find the order whose circuits are best on the pairs that are scored.

    Circuits of `SHARES` of the parts are run for each order. The better of `relp` and `iterated` is what `learned` begins with, for
    as many rounds as the budget leaves.

    score[u] = 1 - log(place of u) / log(parts). Cost: the budget, or what one round costs beside the starts where that is more.
    """
    told, chosen = options[0].masks, get_method("portfolio")
    found = {name: by_place(order_of(get_method(name), search, options)) for name in chosen.starts}
    fits = {name: search.fit(order, SHARES) for name, order in found.items()}
    best = max(fits, key=lambda name: fits[name])
    rounds = rounds_left(search, told, chosen, later=len(search.sizes(SHARES)))
    name = f"learned from {best}"
    found[name] = learned_order(search, found[best], rounds, _backward(options, rules))
    fits[name] = search.fit(found[name], SHARES)
    best = max(fits, key=lambda name: fits[name])
    return Order(found[best], _why(best, fits, rounds))


def _why(best: str, fits: Mapping[str, float], rounds: int) -> str:
    """Which order was taken, and how far each is from the whole model."""
    sizes = ", ".join(f"{100 * share:g}" for share in SHARES)
    far = ", ".join(f"{name} {1 - fit:.3f}" for name, fit in sorted(fits.items(), key=lambda item: -item[1]))
    return f"{best}: |1 - f| of circuits of {sizes} % of the parts on the scored pairs, each 1 at most, on average: {far} ({several(rounds, 'round')} learned)"


def rounds_left(search: Search, told: MaskSettings, method: Method, later: int = 0) -> int:
    """How many rounds a search makes now: as many as it was told, what its budget leaves, or the usual number. later: forwards that come
    after them. Raises: MethodError for a budget that leaves none."""
    budget = method.spends if told.budget is None else told.budget
    if told.rounds is not None or budget is None:
        return told.rounds or method.passes
    search.prepare()
    left = int((budget - search.masked.spent - later) // PASS)
    if left < 1 and told.budget is not None:
        least = search.masked.spent + later + PASS
        raise MethodError(
            f"budget={told.budget:g}F: {method.name} costs {least:g} forwards with one round here; give more."
        )
    return max(1, left)


def _backward(options: Sequence[Options], rules: Rules) -> Rules:
    name = options[0].masks.backward
    return rules if name is None else preset(name)


def order_of(start: Method, search: Search, options: Sequence[Options]) -> Tensor:
    """The mean scores [part] of a method, the higher the more a part raises f. Raises: MethodError for scores that are not finite."""
    if start.masked is not None:
        own = [replace(o, masks=replace(o.masks, rounds=start.passes, backward=None)) for o in options]
        return start.masked(search, own, start.rules).scores
    found = torch.cat(
        [part_scores(start, batch, own) for batch, own in zip(search.masked.batches, options, strict=True)]
    )
    if not bool(torch.isfinite(found).all()):
        raise MethodError(f"start: {start.name} gives scores that are not finite.")
    mean = found.mean(0)
    return mean.abs() if start.unsigned else mean if start.unit else -search.sign * mean
