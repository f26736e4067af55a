"""Runs with parts at constants, against the slow twin, each other, and what scoring and evaluation make of the same constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from interp.attribution.protocol.replacing import replacing_nodes, replacing_writers
from interp.attribution.protocol.spaces import EdgeSpace, NodeSpace, space_of
from interp.attribution.request import attribute, learned_ablation, prepare
from interp.errors import MethodError
from interp.model.edits import Edit, patch
from interp.model.model import HookedModel
from interp.parts.sites import Site
from interp.tasks.ablations import make_ablation
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


@pytest.mark.parametrize(
    ("name", "level"), [("gpt2", "blocks"), ("llama", "neurons"), ("gemma2", "qkv"), ("llama", "resid")]
)
def test_the_loss_is_never_above_that_at_the_mean(name: str, level: str) -> None:
    """Whatever the nodes; and what is learned for a node is what it is replaced by when it is scored."""
    model, task = hooked(name), toy_task(4)
    positions = "each" if level == "resid" else "all"
    request = prepare(model, task, methods=["exact"], level=level, ablation="optimal", positions=positions)
    found, learned = request.score()["exact"], request.ablation.learned
    assert learned is not None and learned.after <= learned.before
    assert str(learned) == found.provenance.constants and found.provenance.ablation == "optimal"
    group = request.space.groups[-1]  # type: ignore[union-attr]
    constant, pairs = request.ablation.means[group.site], pairs_of(task)
    ids = torch.tensor([pair.clean for pair in pairs])
    clean = model.run(ids).logits[:, -1]
    node = group.node(0, None if positions == "all" else 2)

    def replaced(x: torch.Tensor) -> torch.Tensor:
        x, at = x.clone(), slice(None) if positions == "all" else slice(2, 3)
        if group.view.units:
            x[:, at, 0] = constant[:, :, 0].to(x)
        else:
            x[:, at] = constant.to(x)
        return x

    run = model.run(ids, edits=[Edit(group.site, replaced)]).logits[:, -1]
    rows = range(len(pairs))
    diff = [(x[rows, [p.answers[0] for p in pairs]] - x[rows, [p.wrong[0] for p in pairs]]) for x in (run, clean)]
    place = [part.name for part in found.parts].index(node.name)
    assert np.abs(found.per_example[:, place] - (diff[0] - diff[1]).detach().numpy()).max() < 1e-4


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


def test_batches_do_not_matter_and_a_learned_ablation_stays_as_it_is() -> None:
    """In float64, as Adam makes rounding larger."""
    model, task = hooked("gpt2", dtype=torch.float64), toy_task(6, (6, 7))
    with true_float64():
        one, many = (learned_ablation(model, task, level="heads", batch_size=size) for size in (6, 2))
    assert one.learned is not None and many.learned is not None
    assert one.learned.after == pytest.approx(many.learned.after, rel=1e-6)
    for site, value in one.means.items():
        assert float((value - many.means[site]).abs().max()) < 1e-6
    model = hooked("gpt2")
    one = learned_ablation(model, task, level="heads", batch_size=6)
    assert make_ablation(one, model, pairs_of(toy_task(3, seed=5)), [], 0, 2) is one
    scores = attribute(model, task, method="relp", level="heads", ablation="optimal", batch_size=6)
    assert scores.provenance.constants == str(one.learned)
    edges = learned_ablation(model, task, level="edges", split_positions=True)
    assert edges.learned is not None and edges.learned.after <= edges.learned.before


def test_what_learns_nothing_is_refused_by_name() -> None:
    model, task = hooked("gpt2"), toy_task(2)
    with pytest.raises(MethodError, match="'mean' learns nothing"):
        learned_ablation(model, task, "mean", level="heads")
    with pytest.raises(MethodError, match="unknown ablation"):
        learned_ablation(model, task, "optimum", level="heads")
    with pytest.raises(MethodError, match="has no such values"):
        attribute(model, task, method="relp", level="heads", ablation="optimal", direction="denoise")
