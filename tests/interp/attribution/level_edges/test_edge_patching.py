"""Runs with edges patched: exact scores, ACDC and any set of edges, against the slow twin and the model itself."""

from __future__ import annotations

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
from interp.errors import LayoutError
from interp.model.model import HookedModel
from interp.tasks.metrics import METRICS, Metric
from tests.interp.attribution.edges.edge_checks import BOTH, EACH, TWINS, agree, ends, ready
from tests.interp.attribution.edges.edge_twin import Ends, Prompts
from tests.interp.model.tiny import ARCHITECTURES, OWN_ATTENTION, VARIANTS, architecture, hooked, true_float64
from tests.interp.tasks.toy import toy_task

EVERY = tuple(name for name in (*ARCHITECTURES, *VARIANTS) if architecture(name) not in OWN_ATTENTION)


def ablated(prompts: Prompts, ablation: str) -> dict[str, Tensor]:
    """What every writer is replaced by in the base run; `resample` for two pairs, where each is the other's."""
    base = prompts.values(prompts.base)
    return {
        "counterfactual": prompts.values(prompts.source),
        "zero": {u: torch.zeros_like(a) for u, a in base.items()},
        "mean": {u: a.mean((0, 1), keepdim=True).expand_as(a) for u, a in base.items()},
        "resample": {u: a.flip(0) for u, a in base.items()},
    }[ablation]


def runner(
    model: HookedModel, n: int, ablation: str = "counterfactual", metric: Metric = METRICS["logit_diff"], **options: Any
) -> EdgeRunner:
    """The runner of the toy task."""
    return EdgeRunner(model, toy_task(n), ablation, metric, 0, None, **options)


# ---------------------------------------------------------------- one edge at a time


@pytest.mark.broad
@EACH
@BOTH
@pytest.mark.parametrize(
    ("direction", "ablation"),
    [
        ("denoise", "counterfactual"),
        ("noise", "counterfactual"),
        ("noise", "zero"),
        ("noise", "mean"),
        ("noise", "resample"),
    ],
)
def test_exact_scores_are_patched_runs(name: str, kv: Any, direction: str, ablation: str) -> None:
    with true_float64():
        model, weights = ready(name)
        options: dict[str, Any] = {"level": "edges", "kv": kv, "direction": direction, "ablation": ablation}
        scores = attribute(model, toy_task(2), method="exact", **options)
        prompts = Prompts.of(weights, toy_task(2), direction, kv=kv)
        agree(scores, prompts.effects(ends(scores), ablated(prompts, ablation)), ends(scores), 1e-9)


@pytest.mark.broad
@EACH
def test_exact_scores_at_each_position(name: str) -> None:
    with true_float64():
        model, weights = ready(name)
        scores = attribute(model, toy_task(1), method="exact", level="edges", positions="each")
        prompts = Prompts.of(weights, toy_task(1))
        edges, length = ends(scores)[: len(scores.parts) // 6], prompts.base.shape[1]
        assert len(scores.parts) == 6 * len(edges) and length == 6
        found = scores.per_example.reshape(length, -1)
        for pos in range(length):
            at = torch.eye(length)[:, pos : pos + 1]
            expected = prompts.effects(edges, prompts.values(prompts.source), at)[0].numpy()
            assert np.abs(found[pos] - expected).max() <= 1e-9 * np.abs(found).max()


def test_exact_scores_with_positions_as_a_writer() -> None:
    with true_float64():
        model, weights = ready("gpt2")
        scores = attribute(model, toy_task(2), method="exact", level="edges", ablation="zero", split_positions=True)
        prompts = Prompts.of(weights, toy_task(2), "noise", split_positions=True)
        agree(scores, prompts.effects(ends(scores), ablated(prompts, "zero")), ends(scores), 1e-9)


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_acdc_cuts_backwards_what_changes_the_metric_less_than_tau(name: str) -> None:
    """Algorithm 1 of Conmy et al., on the twin: its scores, and so the circuit of every edge with |score| >= tau."""
    with true_float64():
        model, weights = ready(name)
        prompts = Prompts.of(weights, toy_task(2), "noise")
        sources = prompts.values(prompts.source)
        tau = float(np.median(np.abs(attribute(model, toy_task(2), method="exact", level="edges").mean)))
        scores = attribute(model, toy_task(2), method="acdc", level="edges", direction="noise", tau=tau)
        cut: dict[Ends, float] = {}
        with torch.no_grad():
            now = prompts.measure(prompts.twin()(prompts.base))
            for i in reversed(range(len(scores.parts))):
                tried = {**cut, ends(scores)[i]: 1.0}
                without = prompts.measure(prompts.twin(cut=tried, sources=sources)(prompts.base))
                assert np.abs(scores.per_example[:, i] - (without - now).numpy()).max() <= 1e-9 * now.abs().max().item()
                if abs((without - now).mean().item()) < tau:
                    cut, now = tried, without
        assert 0 < len(cut) < len(scores.parts)
        assert sum(np.abs(scores.mean) < tau) == len(cut)


# ---------------------------------------------------------------- any set of edges


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


# ---------------------------------------------------------------- every architecture


@pytest.mark.broad
@BOTH
@pytest.mark.parametrize("name", EVERY)
def test_full_and_empty_circuits_are_the_two_runs(name: str, kv: Any) -> None:
    """Full: the clean run, bit for bit. Empty: the corrupt run."""
    model = hooked(name)
    run = runner(model, 3, metric=replace(METRICS["logit_diff"], vocabulary="all"), kv=kv)
    full, empty = frozenset(run.parts), frozenset()
    found = run.metrics([full, empty], False)
    pairs = toy_task(3).tokenize(None, model.layout.d_vocab)
    clean, corrupt = (_plain(model, pairs, side) for side in ("clean", "corrupt"))
    assert np.array_equal(found[full], clean)
    assert np.abs(found[empty] - corrupt).max() <= 1e-5 * np.abs(corrupt).max()
    assert np.abs(clean - corrupt).max() > 1e-3 * np.abs(corrupt).max()


def _plain(model: HookedModel, pairs: Any, side: str) -> np.ndarray:
    """The logit difference of the Hugging Face model on one side of the pairs [example]."""
    with torch.no_grad():
        logits = model.hf(input_ids=torch.tensor([getattr(p, side) for p in pairs]), use_cache=False).logits[:, -1]
    return np.array([float(row[p.answers[0]] - row[p.wrong[0]]) for row, p in zip(logits, pairs, strict=True)])


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
