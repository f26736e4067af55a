"""Methods that score every part in runs with masks over the parts, where most of them may be replaced already.

Scores are larger where a part belongs in a circuit more, and have no sign; those of `mask-ig` are effects like any other's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from interp.attribution.batching.batches import Batch
from interp.attribution.batching.quadrature import quadrature
from interp.attribution.edges.edge_batches import EdgeBatch
from interp.attribution.masks.masked import Masked
from interp.attribution.masks.searches import Search
from interp.attribution.protocol.registry import Method, Options, edge_method, get_method, masked_method, method
from interp.attribution.protocol.spaces import part_scores
from interp.errors import MethodError
from interp.parts.nodes import Group
from interp.rules.rules import RELP, Rules, preset


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
def iterated(masked: Masked, options: Sequence[Options], rules: Rules) -> Tensor:
    """Rounds of fewer and fewer parts; each scores all parts, those that are out too, where the circuit is now, and keeps the best.

    score[u] = the last round that kept u, and the order of the last round's slopes within it. Cost: a forward and backward a
    round, and a run of the empty and of the whole model.
    """
    told = options[0].masks
    return Search(masked).iterated(told.rounds or get_method("iterated").passes, _backward(options, rules))


@masked_method(
    "learned",
    formula="sigma(theta_u) that goes down (1 - f)^2 + penalty * mean sigma(theta)",
    cost="2F + K (F + B) + the start",
    paper="Cao et al. 2021; Bhaskar et al. 2024, by plain sigmoids from a warm start",
    unit="share",
    passes=40,
    warm=True,
)
def learned(masked: Masked, options: Sequence[Options], rules: Rules) -> Tensor:
    """A mask of shares that keeps f at 1 with few parts, found by Adam from the order of another method.

    Cost: a forward and backward a round, a run of the empty and of the whole model, and the method that it begins with.
    """
    told, search = options[0].masks, Search(masked)
    start = order_of(get_method(told.start), masked, options, search)
    rounds = told.rounds or get_method("learned").passes
    return search.learned(start, rounds, _backward(options, rules), told.penalty)


def _backward(options: Sequence[Options], rules: Rules) -> Rules:
    name = options[0].masks.backward
    return rules if name is None else preset(name)


def order_of(start: Method, masked: Masked, options: Sequence[Options], search: Search) -> Tensor:
    """The mean scores [part] of a method, the higher the more a part raises f. Raises: MethodError for scores that are not finite."""
    if start.masked is not None:
        return start.masked(masked, options, start.rules)
    found = torch.cat([part_scores(start, batch, own) for batch, own in zip(masked.batches, options, strict=True)])
    if not bool(torch.isfinite(found).all()):
        raise MethodError(f"start: {start.name} gives scores that are not finite.")
    mean = found.mean(0)
    return mean.abs() if start.unsigned else mean if start.unit else -search.sign * mean
