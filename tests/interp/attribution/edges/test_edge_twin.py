"""The twin with edges is the model itself, and its copies and patches are what edges are defined to be."""

from __future__ import annotations

import pytest
import torch

from interp.parts.graph import Graph, KeyValue
from tests.interp.attribution.edges.edge_twin import EdgeTwin, Prompts
from tests.interp.attribution.edges.edge_weights import READERS, read_weights
from tests.interp.model.tiny import ids, tiny
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task

TWINS = tuple(READERS)
PRESETS = ("gradient", "relp", "relp-ah", "attnlrp", "cp-lrp", "gim")
BOTH = pytest.mark.parametrize("kv", ["shared", "split"])
EACH = pytest.mark.parametrize("name", TWINS)


@EACH
@BOTH
def test_logits_are_those_of_transformers(name: str, kv: KeyValue) -> None:
    with true_float64():
        model = tiny(name, dtype=torch.float64)
        expected = model(input_ids=ids(), use_cache=False).logits
        weights = read_weights(model)
        for preset in PRESETS:
            logits = EdgeTwin(weights, preset, kv)(ids())
            assert torch.allclose(logits, expected, rtol=0, atol=1e-10), preset


@EACH
@BOTH
def test_the_copies_hold_the_writers_that_the_graph_says(name: str, kv: KeyValue) -> None:
    with true_float64():
        weights = read_weights(tiny(name, dtype=torch.float64))
        twin = EdgeTwin(weights, kv=kv)
        twin(ids())
        n_layers = len(weights.layers)
        graph = Graph(n_layers, weights.n_heads, weights.n_kv_heads, (weights.parallel,) * n_layers, kv)
        assert {(e.sender.name, e.receiver.name) for e in graph.edges} == {
            (u, v) for v in twin.seen for u in twin.seen[v]
        }
        assert len(graph.edges) == sum(map(len, twin.seen.values()))
        # The values are all there is but the output biases, which belong to no head.
        heads = [u for u in twin.values if "." in u]
        biases = sum(layer.b_O for layer in weights.layers if layer.b_O is not None)
        assert len(heads) == n_layers * weights.n_heads
        assert torch.allclose(sum(twin.values.values()) + biases, twin.copies["logits"], rtol=0, atol=1e-12)


@pytest.mark.broad
@EACH
@BOTH
def test_gradients_at_the_copies_are_those_of_patched_runs(name: str, kv: str) -> None:
    """Central differences of the patched run, edge by edge: the two halves of the twin agree with each other."""
    with true_float64():
        prompts = Prompts.of(read_weights(tiny(name, dtype=torch.float64)), toy_task(1), kv=kv)
        d, base = prompts.differences(), prompts.values(prompts.base)
        gradients = prompts.gradients()
        up, low = (prompts.effects(gradients.edges(), {u: base[u] + h * d[u] for u in d}) for h in (1e-4, -1e-4))
        first_order = gradients.score(d).sum(1)
        largest = first_order.abs().max().item()
        assert torch.allclose((up - low) / 2e-4, first_order, rtol=0, atol=1e-6 * largest)


@EACH
@BOTH
def test_patching_every_edge_gives_the_source_run(name: str, kv: str) -> None:
    """The output biases, which no edge carries, are the same in both runs."""
    with true_float64():
        prompts = Prompts.of(read_weights(tiny(name, dtype=torch.float64)), toy_task(3), kv=kv)
        twin = prompts.twin()
        expected = twin(prompts.source)
        every = {(u, v): 1.0 for v in twin.seen for u in twin.seen[v]}
        patched = prompts.twin(cut=every, sources=prompts.values(prompts.source))(prompts.base)
        assert torch.allclose(patched, expected, rtol=0, atol=1e-10)
        assert not torch.allclose(prompts.twin()(prompts.base), expected, rtol=0.01)


@EACH
@pytest.mark.parametrize("preset", PRESETS)
def test_the_replacement_model_frozen_at_a_run_is_that_run(name: str, preset: str) -> None:
    with true_float64():
        weights = read_weights(tiny(name, dtype=torch.float64))
        twin = EdgeTwin(weights, preset)
        expected = twin(ids())
        frozen = EdgeTwin(weights, preset, constants=twin.held)
        assert torch.allclose(frozen(ids()), expected, rtol=0, atol=1e-12)
        assert bool(twin.held) == (preset != "gradient")
