"""Exact scores of edges and ACDC, against the slow twin and the model itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.attribution.request import attribute
from interp.model.model import HookedModel
from tests.interp.attribution.edges.edge_checks import BOTH, EACH, agree, ends, ready
from tests.interp.attribution.edges.edge_twin import Ends, Prompts
from tests.interp.model.tiny import ARCHITECTURES, OWN_ATTENTION, VARIANTS, architecture
from tests.interp.rules.float64 import true_float64
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


def _plain(model: HookedModel, pairs: Any, side: str) -> np.ndarray:
    """The logit difference of the Hugging Face model on one side of the pairs [example].

    Logits of the last position alone, as runs compute them: with more rows some processors add in another order.
    """
    ids = torch.tensor([getattr(p, side) for p in pairs])
    with torch.no_grad():
        logits = model.hf(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
    return np.array([float(row[p.answers[0]] - row[p.wrong[0]]) for row, p in zip(logits, pairs, strict=True)])
