"""ACDC: edges by intervention, cut away one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from interp.attribution.edges.edge_batches import EdgeBatch
from interp.attribution.protocol.registry import Options, joint_method
from interp.rules.rules import Rules


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
