"""Batches of edges and masks over them, for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interp.attribution.edges.edge_batches import EdgeBatch
from interp.attribution.edges.edge_maps import EdgeMap
from interp.attribution.protocol.spaces import EdgeSpace
from interp.parts.graph import Graph
from interp.tasks.metrics import get_metric
from tests.interp.tasks.toy import toy_task


def edge_batch(
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
