"""A masked run over edges against the slow twin, finite differences, the plain and the ablated run, and patched runs of sets."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.attribution.edges.edge_batches import EdgeBatch, EdgeMap
from interp.attribution.masks.masked_edges import MaskedEdges
from interp.attribution.protocol.spaces import EdgeSpace
from interp.attribution.request import attribute
from interp.parts.graph import Graph
from interp.rules.rules import preset
from interp.tasks.metrics import get_metric
from tests.interp.attribution.edges.edge_checks import BOTH, EACH, RULES, ready
from tests.interp.attribution.edges.edge_twin import Prompts
from tests.interp.model.tiny import hooked
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


@EACH
@BOTH
def test_a_mask_of_ones_is_the_plain_run_and_of_zeros_the_ablated_run_bit_for_bit(name: str, kv: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        model = hooked(name, dtype=dtype)
        batch = batch_of(model, kv)
        ones = torch.ones_like(random_mask(batch), dtype=torch.float32)
        for rules in ("gradient", "relp"):
            plain, _ = MaskedEdges(batch, ones, preset(rules)).derivative()
            ablated, _ = MaskedEdges(batch, 0 * ones, preset(rules)).derivative()
            assert torch.equal(plain, batch.base_metric())
            assert torch.equal(ablated, batch.source_metric())
        assert torch.equal(MaskedEdges(batch, ones).metric(), plain)
        assert torch.equal(MaskedEdges(batch, 0 * ones).metric(), ablated)
        assert not torch.equal(plain, ablated)


@pytest.mark.parametrize("ablation", ["counterfactual", "mean", "zero", "resample"])
@EACH
def test_masks_of_0_and_1_are_patched_runs_of_sets(name: str, ablation: str) -> None:
    with true_float64():
        model, _ = ready(name)
        batch = batch_of(model, ablation=ablation)
        visible = torch.from_numpy(batch.map.graph.visible)
        for seed, share in enumerate((0.05, 0.5, 0.95)):
            kept = torch.rand(visible.shape, generator=torch.Generator().manual_seed(seed)) < share
            expected = batch.patched_edges((visible & ~kept)[None])[0]
            found = MaskedEdges(batch, kept.double()).metric()
            assert torch.allclose(found, expected, rtol=0, atol=1e-9)


def test_masks_know_the_position_embedding_as_a_writer() -> None:
    with true_float64():
        model, _ = ready("gpt2")
        for ablation in ("counterfactual", "zero"):
            batch = batch_of(model, split=True, ablation=ablation)
            visible = torch.from_numpy(batch.map.graph.visible)
            kept = random_mask(batch) > 0.5
            expected = batch.patched_edges((visible & ~kept)[None])[0]
            assert torch.allclose(MaskedEdges(batch, kept.double()).metric(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("ablation", ["counterfactual", "mean"])
@EACH
def test_slopes_are_finite_differences(name: str, ablation: str) -> None:
    with true_float64():
        model, _ = ready(name)
        batch, step = batch_of(model, ablation=ablation), 1e-5
        mask = 0.2 + 0.6 * random_mask(batch)
        _, slopes = MaskedEdges(batch, mask).derivative()
        visible = np.argwhere(batch.map.graph.visible)
        chosen = np.random.default_rng(0).choice(len(visible), 6, replace=False)
        for reader, writer in visible[chosen]:
            moved = [mask.clone(), mask.clone()]
            moved[0][reader, writer] += step
            moved[1][reader, writer] -= step
            up, down = (MaskedEdges(batch, one).metric() for one in moved)
            expected = (up - down) / (2 * step)
            assert torch.allclose(slopes[:, reader, writer], expected, rtol=1e-4, atol=1e-6 * float(slopes.abs().max()))


@EACH
def test_slopes_at_a_mask_of_ones_are_scores_at_the_base_point(name: str) -> None:
    with true_float64():
        model, _ = ready(name)
        batch = batch_of(model)
        visible = torch.from_numpy(batch.map.graph.visible)
        for method in ("eap", "relp"):
            scores = attribute(model, toy_task(3), method=method, level="edges", direction="noise")
            _, slopes = MaskedEdges(batch, torch.ones_like(random_mask(batch)), preset(RULES[method])).derivative()
            assert np.allclose(-slopes[:, visible].numpy(), scores.per_example, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_averages_between_the_masked_and_the_ablated_run_add_up(name: str) -> None:
    """sum over edges out of the embedding of M times the averaged slope = m(M) - m(0): what deeplift is complete for."""
    with true_float64():
        model, _ = ready(name)
        batch = batch_of(model)
        mask = random_mask(batch)
        metric, slopes = MaskedEdges(batch, mask, preset("deeplift")).derivative()
        total = (mask * slopes)[:, :, 0].sum(1)
        assert torch.allclose(total, metric - batch.source_metric(), rtol=0, atol=1e-8)


def test_what_the_run_takes_is_let_go() -> None:
    model = hooked("llama")
    batch = batch_of(model)
    run = MaskedEdges(batch, random_mask(batch).float())
    run.derivative()
    alive = weakref.ref(run)
    del run
    gc.collect()
    assert alive() is None
