"""Circuits of edges at positions, against the slow twin, exact patching of one edge at one position, and the model itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from circuits.evaluation.running.edge_runner import EdgeRunner
from interp.attribution.request import attribute
from interp.errors import MethodError
from interp.parts.graph import Edge
from interp.tasks.metrics import METRICS
from tests.circuits.evaluation.running.test_edge_runner import runner
from tests.interp.attribution.edges.edge_checks import TWINS, ready
from tests.interp.attribution.edges.edge_twin import Prompts
from tests.interp.attribution.level_edges.test_edge_patching import ablated
from tests.interp.model.tiny import hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task

PLACES = ("each", "end", "spans")


@pytest.mark.broad
@pytest.mark.parametrize("name", TWINS)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_any_set_of_edges_at_positions_is_the_twins(name: str, data: st.DataObject) -> None:
    """Random circuits of all sizes, every naming of positions, both kinds of K/V reader, every ablation."""
    kv, positions = data.draw(st.sampled_from(["shared", "split"])), data.draw(st.sampled_from(PLACES))
    ablation = data.draw(st.sampled_from(["counterfactual", "zero", "mean", "resample"]))
    shares, seed = data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1))), data.draw(st.integers(0, 2**16))
    with true_float64():
        model, weights = ready(name)
        run, rng = runner(model, 2, ablation, kv=kv, positions=positions), np.random.default_rng(seed)
        prompts = Prompts.of(weights, toy_task(2), "noise", kv=kv)
        # Some readers see nearly everything patched at one label and nearly nothing at another.
        chance = rng.choice(shares, size=(3, len(run.positions.labels), len(run.graph.readers)))
        row = {reader: i for i, reader in enumerate(run.graph.readers)}
        column = {label: i for i, label in enumerate(run.positions.labels)}
        sets = [
            frozenset(e for e in run.parts if rng.random() < p[column[e.position], row[e.receiver]]) for p in chance
        ]  # type: ignore[union-attr]
        found = run.metrics(sets, False)
        for kept in sets:
            expected = _twin_metric(prompts, run, kept, ablation)
            assert np.abs(found[kept] - expected).max() <= 1e-9 * max(1, np.abs(expected).max())


def _twin_metric(prompts: Prompts, run: EdgeRunner, kept: Collection[Any], ablation: str) -> np.ndarray:
    """Every edge at each token by itself: which of them the twin takes from the source."""
    where = run.positions.masks(range(len(prompts.base))).double()
    cut: dict[tuple[str, str], Tensor] = {}
    for edge in set(run.parts) - set(kept):
        ends = (edge.sender.name, edge.receiver.name)
        mask = where[run.positions.labels.index(edge.position)][..., None]
        cut[ends] = cut.get(ends, torch.zeros_like(mask)) + mask
    with torch.no_grad():
        logits = prompts.twin(cut=cut, sources=ablated(prompts, ablation))(prompts.base)
    return np.asarray(prompts.measure(logits))


@pytest.mark.parametrize("positions", PLACES)
def test_one_edge_less_than_all_is_its_exact_score(positions: str) -> None:
    """An edge at one position left out of the whole model: what exact patching of it there says."""
    task = toy_task(3)
    with true_float64():
        model, _ = ready("llama")
        run = runner(model, 3, positions=positions)
        exact = attribute(model, task, method="exact", level="edges", direction="noise", positions=positions)
        chosen = range(0, len(run.parts), 5)
        assert exact.parts == run.parts
        found = run.metrics([run.full, *(run.full - {run.parts[i]} for i in chosen)], False)
        change = np.stack([found[run.full - {run.parts[i]}] - found[run.full] for i in chosen], 1)
        expected = exact.per_example[:, list(chosen)]
        assert np.abs(expected).max() > 1e-3 and np.abs(change - expected).max() <= 1e-9


@pytest.mark.parametrize("positions", PLACES)
@pytest.mark.parametrize("lengths", [(6,), (6, 8)])
def test_no_edge_anywhere_is_the_ablated_model(positions: str, lengths: Sequence[int]) -> None:
    """Tokens outside all spans are at `rest`: no circuit keeps them unless it holds edges there."""
    if positions == "each" and len(lengths) > 1:
        pytest.skip("positions counted from the start need one length")
    model, task = hooked("gpt2"), toy_task(4, lengths)
    apart = EdgeRunner(model, task, "counterfactual", METRICS["logit_diff"], 0, None, positions=positions)
    whole = EdgeRunner(model, task, "counterfactual", METRICS["logit_diff"], 0, None)
    none: frozenset[Edge] = frozenset()
    found, expected = apart.metrics([apart.full, none], False), whole.metrics([whole.full, none], False)
    assert np.abs(found[none] - expected[none]).max() <= 1e-5
    assert np.abs(found[apart.full] - expected[whole.full]).max() <= 1e-5
    # An edge at every position is the edge at all of them together.
    for left_out in whole.parts[::9]:
        everywhere = frozenset(replace(left_out, position=label) for label in apart.positions.labels)  # type: ignore[type-var]
        a, b = apart.full - everywhere, whole.full - {left_out}
        assert np.abs(apart.metrics([a], False)[a] - whole.metrics([b], False)[b]).max() <= 1e-5


def test_shares_between_zero_and_one_are_the_twins() -> None:
    """Soft sets: how much of a sender's change a reader sees, at each label by itself."""
    with true_float64():
        model, weights = ready("llama")
        run, prompts = runner(model, 2, positions="spans"), Prompts.of(weights, toy_task(2), "noise")
        batch = run.space.batch(model, run.pairs, [0, 1], run.metric, "noise", run.ablation)
        shares = np.random.default_rng(0).random((2, 3, *run.graph.visible.shape)) * run.graph.visible
        where = run.positions.masks([0, 1])
        found = batch.patched_edges(torch.from_numpy(shares), where)
        for row, expected in zip(found, shares, strict=True):
            seen = np.einsum("lrw,lbp->rwbp", expected, where.double().numpy())
            cut = {
                (w.name, r.name): torch.from_numpy(seen[i, j])[..., None]
                for i, r in enumerate(run.graph.readers)
                for j, w in enumerate(run.graph.writers[: run.graph.n_upstream[i]])
            }
            with torch.no_grad():
                logits = prompts.twin(cut=cut, sources=ablated(prompts, "counterfactual"))(prompts.base)
            assert float((row - prompts.measure(logits)).abs().max()) <= 1e-9


def test_prompts_of_other_positions_are_refused() -> None:
    """A circuit at positions counted from the end goes to shorter prompts, where some have no token, not to longer ones without `rest`."""
    model = hooked("gpt2")
    labels = tuple(range(-6, 0))
    found = EdgeRunner(model, toy_task(2, (5,)), "zero", METRICS["logit_diff"], 0, None, positions="end", labels=labels)
    assert found.positions.labels == labels and found.positions.of_token[0] == (1, 2, 3, 4, 5)
    for task, where, names in ((toy_task(2, (8,)), "end", labels), (toy_task(2, (8,)), "each", tuple(range(6)))):
        with pytest.raises(MethodError, match="of the prompts that were scored"):
            EdgeRunner(model, task, "zero", METRICS["logit_diff"], 0, None, positions=where, labels=names)
    with pytest.raises(MethodError, match="expected"):
        EdgeRunner(model, toy_task(2), "zero", METRICS["logit_diff"], 0, None, positions="spans", labels=("a", "rest"))
    run = EdgeRunner(model, toy_task(2), "zero", METRICS["logit_diff"], 0, None, positions="spans")
    with pytest.raises(MethodError, match="unknown edge"):
        run.metrics([frozenset(run.graph.edges[:1])], False)
