"""Runs with parts at constants, against the slow twin and each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.attribution.protocol.replacing import replacing_nodes, replacing_writers
from interp.attribution.protocol.spaces import EdgeSpace, NodeSpace, space_of
from interp.model.edits import patch
from interp.model.model import HookedModel
from interp.parts.sites import Site
from tests.interp.attribution.edges.edge_checks import TWINS, ready
from tests.interp.attribution.edges.edge_twin import Prompts
from tests.interp.model.tiny import hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import pairs_of, toy_task


def edges_of(model: HookedModel, split: bool = False) -> EdgeSpace:
    space = space_of(model, "edges", "shared", split)
    assert isinstance(space, EdgeSpace)
    return space


@pytest.mark.broad
@pytest.mark.parametrize("name", TWINS)
def test_writers_at_constants_are_the_twins(name: str) -> None:
    """Any writers of each prompt at any constants, post-norms too: the twin writes these instead of its own."""
    with true_float64():
        model, weights = ready(name)
        edges, rng = edges_of(model).map, torch.Generator().manual_seed(0)
        how, graph = replacing_writers(edges), edges.graph
        ids = torch.tensor([pair.clean for pair in pairs_of(toy_task(1))])
        means = edges.see(ids)
        constants = {
            key: torch.randn(1, 1, *means[key].shape[2:], generator=rng, dtype=torch.float64) for key in how.units
        }
        out = {key: torch.rand(1, n, generator=rng) < 0.4 for key, n in how.units.items()}
        written: dict[str, Any] = {}
        for writer in graph.writers:
            site = Site({"embed": "embed", "head": "z", "mlp": "mlp_out"}[writer.kind], writer.layer)
            if not bool(out[site][0, writer.unit or 0]):
                continue
            value = constants[site]
            if writer.kind == "head":
                value = value[:, :, writer.unit] @ edges.writers.W_O(writer.layer or 0)[writer.unit]
            written[writer.name] = value.expand(1, ids.shape[1], -1)
        assert written
        with torch.no_grad():
            expected = Prompts.of(weights, toy_task(1), "noise").twin(written=written)(ids)
            found = how.run(ids, 0, constants, out)
        assert float((found - expected).abs().max()) <= 1e-9 * float(expected.abs().max())


def test_nodes_and_writers_are_replaced_alike() -> None:
    """At pre-norm a head, an MLP and the embedding are the same thing as nodes and as writers; so are their constants."""
    model, pairs = hooked("llama"), pairs_of(toy_task(6))
    nodes, edges = space_of(model, "heads", "shared", False), edges_of(model)
    a, b = (space.ablation("optimal", model, pairs, 0, 6) for space in (nodes, edges))
    assert a.learned is not None and b.learned is not None
    assert a.learned.before == pytest.approx(b.learned.before, rel=1e-4)
    assert a.learned.after == pytest.approx(b.learned.after, rel=0.02)
    assert a.learned.after < a.learned.before


def test_position_embedding_apart_has_a_constant_of_its_own() -> None:
    model, ids = hooked("gpt2"), torch.tensor([pair.clean for pair in pairs_of(toy_task(2))])
    whole, apart = replacing_writers(edges_of(model).map), replacing_writers(edges_of(model, split=True).map)
    means = edges_of(model, split=True).map.see(ids)
    constants = {key: value.mean((0, 1), keepdim=True) for key, value in means.items()}
    every = {key: torch.ones(2, n, dtype=torch.bool) for key, n in apart.units.items()}
    with torch.no_grad():
        found = apart.run(ids, 1, constants, every)
        expected = whole.run(ids, 1, constants, {key: every[key] for key in whole.units})
    assert float((found - expected).abs().max()) < 1e-5, "token and position together are the embedding"


def test_every_node_of_a_level_can_be_replaced() -> None:
    """All nodes of a site at a constant: the site at that constant."""
    model, ids = hooked("llama"), torch.tensor([pair.clean for pair in pairs_of(toy_task(2))])
    space = space_of(model, "neurons", "shared", False)
    assert isinstance(space, NodeSpace)
    how, group = replacing_nodes(model, space.groups), space.groups[-1]
    constant = torch.randn(1, 1, group.n_units, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = how.run(ids, 1, {group.site: constant}, {group.site: torch.ones(2, group.n_units, dtype=torch.bool)})
        expected = model.run(ids, edits=[patch(group.site, constant.expand(2, ids.shape[1], -1))], logits_to_keep=1)
    assert torch.equal(found, expected.logits)
