"""Edges of decoders whose blocks are attention alone, an MLP alone or something without heads, against patches by plain hooks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.errors import UnsupportedRuleError
from interp.model.model import HookedModel
from interp.parts.graph import Edge, Graph, parse_edge
from interp.parts.nodes import Node
from interp.scores.scores import Scores
from interp.tasks.task import Task
from tests.interp.attribution.on_hybrids.test_layers_without_heads import FAN, forced
from tests.interp.model.discovery.mixed_positions import MIXED
from tests.interp.model.discovery.test_one_sublayer import CHAINS, chain
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import ends, measured, pairs_of, toy_task

HYBRID = "attention, recurrence, attention"
#: Of each model the kinds of its layers' parts: heads, mixers without heads, MLPs.
HAS = {"attention alone": "a a", "alternating": "a m a m", "MLP first": "m a m a m", "recurrence alone": "r r", "one of each": "r m a",
    "the last without attention": "am m", HYBRID: "am rm am"}  # fmt: skip


def made(name: str) -> Any:
    return MIXED[name].make() if name == HYBRID else chain(*CHAINS[name][0])


def scored(model: HookedModel, task: Task, method: str, **asked: Any) -> Scores:
    return interp.attribute(model, task, method=method, level="edges", direction="noise", show_progress=False, **asked)


def seen(model: Any, path: str, given: Tensor, before: bool) -> Tensor:
    """What a module reads or makes in a run."""
    found: Tensor = forced(model, path, given, None, before=before)
    return found


def norm_of(model: Any, node: Node) -> str:
    """The norm that a reader has in front, by the names of the blocks written by hand."""
    block = model.layers[node.layer or 0]
    return f"layers.{node.layer}." + ("norm" if hasattr(block, "norm") else "n2" if node.kind == "mlp" else "n1")


def written(model: Any, node: Node, given: Tensor) -> Tensor:
    """What a node adds to the stream, without biases of projections."""
    if node.kind == "embed":
        return seen(model, "layers.0", given, True)
    if node.kind != "head":
        return seen(model, f"layers.{node.layer}.{'mlp' if node.kind == 'mlp' else 'attn'}", given, False)
    o, own = f"layers.{node.layer}.attn.o", slice(FAN * (node.unit or 0), FAN * (node.unit or 0) + FAN)
    added: Tensor = seen(model, o, given, True)[..., own] @ model.get_submodule(o).weight[:, own].T
    return added


def logits_with(model: Any, edge: Edge, base: Tensor, change: Tensor) -> Tensor:
    """The logits where the reader alone sees this change of the stream."""
    reader = edge.receiver
    if reader.kind == "logits":
        last = f"layers.{len(model.layers) - 1}"
        return forced(model, last, base, seen(model, last, base, False) + change)
    norm = norm_of(model, reader)
    copy = model.get_submodule(norm)(seen(model, norm, base, True) + change)
    if reader.kind in ("mlp", "attn_out"):
        return forced(model, norm, base, copy)
    path, own = (
        f"layers.{reader.layer}.attn.{reader.kind}",
        slice(FAN * (reader.unit or 0), FAN * (reader.unit or 0) + FAN),
    )
    return forced(model, path, base, model.get_submodule(path)(copy), own)


@pytest.mark.parametrize("name", HAS)
@torch.no_grad()
def test_exact_edges_are_patches_by_plain_hooks(name: str) -> None:
    model, task = HookedModel(made(name)), toy_task(2)
    scores = scored(model, task, "exact")
    base, source = ends(pairs_of(task), "noise")
    start = measured(model.hf(input_ids=base).logits, pairs_of(task))
    change = {u: written(model.hf, u, source) - written(model.hf, u, base) for u in {e.sender for e in scores.edges}}
    found = [logits_with(model.hf, e, base, change[e.sender]) for e in scores.edges]
    expected = torch.stack([measured(logits, pairs_of(task)) - start for logits in found], 1)
    assert float(expected.abs().max()) > 0.05
    np.testing.assert_allclose(scores.per_example, expected.double(), rtol=1e-3, atol=5e-5)


@pytest.mark.parametrize("name", HAS)
def test_the_graph_has_what_the_layers_have(name: str) -> None:
    """Every writer is read by every part of later layers, and each name is read back as its edge."""
    graph, layers = Graph.of(HookedModel(made(name)).layout), HAS[name].split()
    writers = {"a": 4, "r": 1, "m": 1}
    readers = {"a": 12, "r": 1, "m": 1}
    before, n = 1, 0
    for kind in "".join(layers):
        n += before * readers[kind]
        before += writers[kind]
    assert len(graph.edges) == n + before and len(graph.writers) == before
    assert all(parse_edge(edge.name) == edge for edge in graph.edges)


@pytest.mark.parametrize("name", HAS)
@pytest.mark.parametrize("method", ["eap", "relp"])
def test_edges_add_up_to_their_ends(name: str, method: str) -> None:
    """Those out of a writer to its node; those into the readers of a norm to (source - base) . gradient at that norm's copy."""
    with true_float64():
        model, task = HookedModel(made(name).double()), toy_task(2)
        if method == "relp" and "r" in HAS[name]:
            with pytest.raises(UnsupportedRuleError, match="positions mixed without attention"):
                scored(model, task, method)
            return
        edges = scored(model, task, method)
        nodes = interp.attribute(
            model,
            task,
            method="atp" if method == "eap" else method,
            level="heads",
            direction="noise",
            show_progress=False,
        )
        for i, part in enumerate(nodes.parts):
            out = [edge.sender.name == part.name for edge in edges.edges]
            np.testing.assert_allclose(edges.per_example[:, out].sum(1), nodes.per_example[:, i], rtol=1e-8, atol=1e-9)
        if method == "relp":
            return
        for reader in {
            edge.receiver.layer: edge.receiver for edge in edges.edges if edge.receiver.layer is not None
        }.values():
            into = [
                norm_of(model.hf, e.receiver) == norm_of(model.hf, reader)
                for e in edges.edges
                if e.receiver.layer is not None
            ]
            into += [False] * (len(edges.edges) - len(into))  # the logits come last
            expected = at_norm(model.hf, norm_of(model.hf, reader), task)
            np.testing.assert_allclose(edges.per_example[:, into].sum(1), expected, rtol=1e-7, atol=1e-9)


def at_norm(model: Any, norm: str, task: Task) -> np.ndarray:
    """(what a norm reads of the source - of the base) . gradient there, by plain hooks [example]."""
    base, source = ends(pairs_of(task), "noise")
    copies: list[Tensor] = []

    def copied(m: Any, args: Any) -> Any:
        copies.append(args[0].clone())
        return (copies[0], *args[1:])

    hook = model.get_submodule(norm).register_forward_pre_hook(copied)
    metric = measured(model(input_ids=base).logits, pairs_of(task)).sum()
    hook.remove()
    (gradient,) = torch.autograd.grad(metric, copies)
    with torch.no_grad():
        apart = seen(model, norm, source, True) - seen(model, norm, base, True)
    return np.asarray((apart * gradient).sum((1, 2)).detach())


@pytest.mark.parametrize("name", ["alternating", HYBRID])
@pytest.mark.parametrize("method", ["iterated", "ifr", "acdc", "eap-ig-activations", "clean-corrupted"])
def test_other_methods_score_every_edge(name: str, method: str) -> None:
    model, task = HookedModel(made(name)), toy_task(2)
    asked = {"rounds": 2, "backward": "gradient"} if method == "iterated" else {}
    scores = scored(model, task, method, **asked)
    assert (
        len(scores.parts) == len(Graph.of(model.layout).edges)
        and np.isfinite(scores.mean).all()
        and np.ptp(scores.mean) > 0
    )


def test_paths_run_along_mixers() -> None:
    """To the output without MLPs between, the path is the edge; all that is not sent or received stays as it was."""
    model, task = HookedModel(made(HYBRID)), toy_task(2)
    scores = scored(model, task, "exact")
    for sender in ("attn_out.1", "a0.h2"):
        path = interp.path_patch(model, task, [sender], ["logits"], direction="noise", show_progress=False)
        place = [edge.name for edge in scores.edges].index(f"{sender}->logits")
        np.testing.assert_allclose(path.per_example, scores.per_example[:, place], atol=1e-5)
    through = interp.path_patch(
        model, task, ["attn_out.1"], ["logits"], through_mlps=True, direction="noise", show_progress=False
    )
    assert np.isfinite(through.per_example).all() and not np.allclose(through.per_example, path.per_example)
