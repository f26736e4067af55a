"""Edges by intervention: exact patching of each alone, and ACDC, which cuts them away one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from interp.attribution import node_methods  # noqa: F401 - methods of nodes get their edges here
from interp.attribution.edge_batches import EdgeBatch
from interp.attribution.registry import Options, edge_method, joint_method
from interp.rules import Rules


@edge_method("exact")
def edge_patching(batch: EdgeBatch, options: Options, rules: Rules) -> Tensor:
    """The effect of patching each edge alone, by running the model with it. Several edges go through as one batch.

    Units: those of the metric. Cost: 2 forwards, and one forward per edge. The oracle of level `edges`.
    """
    graph, base = batch.map.graph, batch.base_metric()
    wanted = [i for i, e in enumerate(graph.edges) if options.only is None or e.name in options.only]
    ends = torch.from_numpy(graph.visible).nonzero()
    scores = base.new_zeros(len(base), len(options.positions), len(graph.edges))
    size = batch.edges_at_once()
    for label, chosen in enumerate(options.positions):
        for start in range(0, len(wanted), size):
            some = wanted[start : start + size]
            cuts = torch.zeros(len(some), *graph.visible.shape, dtype=torch.bool, device=base.device)
            cuts[(torch.arange(len(some)), *ends[some].T)] = True
            masks = None if len(options.positions) == 1 else chosen.expand(len(some), -1, -1)
            scores[:, label, some] = (batch.patched_edges(cuts, masks) - base).T
            options.advance(len(some))
    return scores


@joint_method(
    "acdc",
    formula="m(without u->v) - m(now), when its turn comes",
    cost="2F + 1F per edge",
    paper="Conmy et al. 2023",
    noise=True,
)
def automatic_circuit_discovery(
    batches: Sequence[EdgeBatch], options: Sequence[Options], rules: Rules
) -> tuple[list[Tensor], float]:
    """Edges are cut from the output backwards; one whose cut changes the mean metric by less than tau stays cut.

    score[u->v] = m(run without u->v and all that was cut before) - m(run without what was cut before), measured when the
    edge had its turn. The circuit of ACDC is every edge with |mean score| >= tau (`discover(scores, threshold=tau)`).

    tau: 1 % of the mean difference between the base and the source run by default. Units: those of the metric.
    Cost: one forward per edge. Source: Conmy et al. 2023, algorithm 1, with the change of the metric's mean for the KL.
    """
    graph = batches[0].map.graph
    base = [batch.base_metric() for batch in batches]
    tau, n = options[0].tau, sum(len(metric) for metric in base)
    if tau is None:
        ends = [
            batch.patched_edges(torch.from_numpy(graph.visible)[None].to(m.device))[0]
            for batch, m in zip(batches, base, strict=True)
        ]
        tau = 0.01 * abs(sum(float((e - m).sum()) for e, m in zip(ends, base, strict=True))) / n
    scores = [metric.new_zeros(len(metric), 1, len(graph.edges)) for metric in base]
    where = torch.from_numpy(graph.visible).nonzero()
    cut, now = torch.zeros(1, *graph.visible.shape, dtype=torch.bool, device=base[0].device), base
    for i in reversed(range(len(graph.edges))):
        cut[0, where[i, 0], where[i, 1]] = True
        without = [batch.patched_edges(cut)[0] for batch in batches]
        changes = [(w - m).double() for w, m in zip(without, now, strict=True)]
        for score, change in zip(scores, changes, strict=True):
            score[:, 0, i] = change
        if abs(float(sum(change.sum() for change in changes))) / n < tau:
            now = without
        else:
            cut[0, where[i, 0], where[i, 1]] = False
        options[0].advance(1)
    return scores, tau
