"""Runs with any set of edges patched, against the slow twin and the model itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circuits.evaluation.running.edge_runner import EdgeRunner
from interp.attribution.request import attribute
from interp.errors import LayoutError
from interp.model.model import HookedModel
from interp.tasks.metric import Metric
from interp.tasks.metrics import METRICS
from tests.interp.attribution.edges.edge_checks import BOTH, EACH, TWINS, ready
from tests.interp.attribution.edges.edge_twin import Prompts
from tests.interp.attribution.level_edges.test_edge_patching import EVERY, _plain, ablated
from tests.interp.model.tiny import OWN_ATTENTION, hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task


def runner(
    model: HookedModel, n: int, ablation: str = "counterfactual", metric: Metric = METRICS["logit_diff"], **options: Any
) -> EdgeRunner:
    """The runner of the toy task."""
    return EdgeRunner(model, toy_task(n), ablation, metric, 0, None, **options)


@pytest.mark.broad
@pytest.mark.parametrize("name", TWINS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_set_of_edges_is_the_twins(name: str, data: st.DataObject) -> None:
    """Random circuits of all sizes, both kinds of K/V reader, every ablation."""
    kv = data.draw(st.sampled_from(["shared", "split"]))
    ablation = data.draw(st.sampled_from(["counterfactual", "zero", "mean", "resample"]))
    share, seed = data.draw(st.floats(0, 1)), data.draw(st.integers(0, 2**16))
    with true_float64():
        model, weights = ready(name)
        run = runner(model, 2, ablation, kv=kv)
        prompts = Prompts.of(weights, toy_task(2), "noise", kv=kv)
        keep = np.random.default_rng(seed).random((3, len(run.parts))) < share
        sets = [frozenset(e for e, kept in zip(run.parts, row, strict=True) if kept) for row in keep]
        found = run.metrics(sets, False)
        for kept in sets:
            expected = _twin_metric(prompts, run, kept, ablation)
            assert np.abs(found[kept] - expected).max() <= 1e-9 * max(1, np.abs(expected).max())


def _twin_metric(prompts: Prompts, run: EdgeRunner, kept: frozenset[Any], ablation: str) -> np.ndarray:
    cut = {(e.sender.name, e.receiver.name): 1.0 for e in run.graph.edges if e not in kept}
    with torch.no_grad():
        logits = prompts.twin(cut=cut, sources=ablated(prompts, ablation))(prompts.base)
    return np.asarray(prompts.measure(logits))


@pytest.mark.broad
@EACH
def test_one_edge_short_of_full_and_one_above_empty(name: str) -> None:
    with true_float64():
        model, weights = ready(name)
        run, prompts = runner(model, 2), Prompts.of(weights, toy_task(2), "noise")
        every = frozenset(run.parts)
        chosen = run.parts[:: max(1, len(run.parts) // 12)]
        for kept in (*(every - {edge} for edge in chosen), *(frozenset({edge}) for edge in chosen)):
            expected = _twin_metric(prompts, run, kept, "counterfactual")
            found = run.metrics([kept], False)[kept]
            assert np.abs(found - expected).max() <= 1e-9 * max(1, np.abs(expected).max())


@pytest.mark.broad
@BOTH
@pytest.mark.parametrize("name", EVERY)
def test_full_and_empty_circuits_are_the_two_runs(name: str, kv: Any) -> None:
    """Full: the clean run, bit for bit in a batch of the same prompts (what else goes through with them may change the last bits).
    Empty: the corrupt run.
    """
    model = hooked(name)
    run = runner(model, 3, metric=replace(METRICS["logit_diff"], vocabulary="all"), kv=kv)
    full, empty = frozenset(run.parts), frozenset()
    alone, found = run.metrics([full], False), run.metrics([full, empty], False)
    pairs = toy_task(3).tokenize(None, model.layout.d_vocab)
    clean, corrupt = (_plain(model, pairs, side) for side in ("clean", "corrupt"))
    assert np.array_equal(alone[full], clean)
    assert np.abs(found[full] - clean).max() <= 1e-5 * np.abs(clean).max()
    assert np.abs(found[empty] - corrupt).max() <= 1e-5 * np.abs(corrupt).max()
    assert np.abs(clean - corrupt).max() > 1e-3 * np.abs(corrupt).max()


@pytest.mark.broad
@BOTH
@pytest.mark.parametrize("name", EVERY)
def test_patching_a_small_difference_is_its_gradient(name: str, kv: Any) -> None:
    """Patched runs and gradients meet where the prompts nearly agree, whatever the architecture.

    The corrupt token gets the embedding of the clean one and 1e-6 more, so every d_u is small and what is left between
    `exact` and `eap` is of second order. The circuit with one edge less than all is then the exact score.
    """
    with true_float64():
        model, task = hooked(name, dtype=torch.float64), toy_task(1)
        (pair,) = task.tokenize(None, model.layout.d_vocab)
        (at,) = (i for i, (a, b) in enumerate(zip(pair.clean, pair.corrupt, strict=True)) if a != b)
        table = model.hf.get_input_embeddings().weight
        noise = torch.randn(table.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        with torch.no_grad():
            table[pair.corrupt[at]] = table[pair.clean[at]] + 1e-6 * noise
        options: dict[str, Any] = {"level": "edges", "kv": kv, "direction": "noise"}
        exact, eap = (attribute(model, task, method=m, **options).per_example[0] for m in ("exact", "eap"))
        assert np.abs(eap).max() > 1e-8 and np.abs(exact - eap).max() <= 1e-4 * np.abs(eap).max()
        run = runner(model, 1, kv=kv)
        every, chosen = frozenset(run.parts), range(0, len(run.parts), 7)
        sets = [every - {run.parts[i]} for i in chosen]
        found = run.metrics([every, *sets], False)
        change = np.array([found[kept][0] - found[every][0] for kept in sets])
        assert np.abs(change - exact[list(chosen)]).max() <= 1e-6 * np.abs(exact).max()


@pytest.mark.parametrize("name", OWN_ATTENTION)
def test_attention_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(LayoutError, match="AttentionInterface"):
        runner(hooked(name), 2)
