"""A masked run over edges against the slow twin, finite differences, the plain and the ablated run, and patched runs of sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.attribution.edges.edge_batches import EdgeBatch, EdgeMap
from interp.attribution.masks.masked_edges import MaskedEdges
from interp.attribution.protocol.spaces import EdgeSpace
from interp.parts.graph import Graph
from interp.rules.rules import preset
from interp.tasks.metrics import get_metric
from tests.interp.attribution.edges.edge_checks import BOTH, EACH, ready
from tests.interp.attribution.edges.edge_twin import Prompts
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task

PRESETS = ("gradient", "relp", "relp-ah", "attnlrp", "cp-lrp", "gim")


def batch_of(
    model: Any, kv: str = "shared", split: bool = False, ablation: str = "counterfactual", n: int = 3
) -> EdgeBatch:
    """The first pairs of the toy task as a batch of edges, clean prompts its base."""
    space = EdgeSpace(EdgeMap.of(model, Graph.of(model.layout, kv=kv, split_positions=split)))
    metric = get_metric("logit_diff")
    pairs = toy_task(n).tokenize(model.tokenizer, model.layout.d_vocab, several=False)
    replaced = space.ablation(ablation, model, pairs, 0, n)
    return space.batch(model, pairs, list(range(n)), metric, "noise", replaced)


def random_mask(batch: EdgeBatch, seed: int = 0) -> Tensor:
    """Between 0 and 1 for each edge [reader writer], some of them exactly 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    graph = batch.map.graph
    found = torch.rand(len(graph.readers), len(graph.writers), generator=generator, dtype=torch.float64)
    return (1.4 * found - 0.2).clamp(0, 1).to(batch.model.dtype)


@EACH
@BOTH
@pytest.mark.parametrize("rules", PRESETS)
def test_metric_and_slope_at_any_mask_are_those_of_the_twin(name: str, kv: str, rules: str) -> None:
    with true_float64():
        model, weights = ready(name)
        batch = batch_of(model, kv)
        graph, mask = batch.map.graph, random_mask(batch)
        prompts = Prompts.of(weights, toy_task(3), "noise", kv=kv)
        sources = prompts.values(prompts.source)
        place = {
            (e.sender.name, e.receiver.name): i for e, i in zip(graph.edges, np.argwhere(graph.visible), strict=True)
        }
        cut = {ends: 1 - float(mask[tuple(i)]) for ends, i in place.items()}
        twin = prompts.twin(preset=rules, cut=cut, sources=sources)
        expected = prompts.measure(twin(prompts.base))
        found = torch.autograd.grad(expected.sum(), list(twin.copies.values()), allow_unused=True)
        g = {v: torch.zeros_like(x) if d is None else d for (v, x), d in zip(twin.copies.items(), found, strict=True)}
        slopes = torch.stack([(g[v] * (twin.values[u] - sources[u])).sum((1, 2)) for u, v in place], dim=-1)
        for keep in (True, False):
            metric, derivative = MaskedEdges(batch, mask, preset(rules), keep).derivative()
            assert torch.allclose(metric, expected.detach(), rtol=0, atol=1e-10)
            seen = derivative[:, torch.from_numpy(graph.visible)]
            assert (seen - slopes.detach()).abs().max() <= 1e-9 * slopes.abs().max()
