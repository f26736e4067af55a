"""Edge attribution at the base point, for every edge of six architectures, against the slow twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.attribution.request import attribute, attribute_all
from tests.interp.attribution.edges.edge_checks import BOTH, EACH, RULES, agree, ends, ready
from tests.interp.attribution.edges.edge_twin import Prompts
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task

# ---------------------------------------------------------------- at the base point


@pytest.mark.broad
@EACH
@BOTH
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_scores_at_the_base_point(name: str, kv: Any, direction: str) -> None:
    with true_float64():
        model, weights = ready(name)
        found = attribute_all(model, toy_task(2), methods=list(RULES), level="edges", kv=kv, direction=direction)
        prompts = Prompts.of(weights, toy_task(2), direction, kv=kv)
        d = prompts.differences()
        for method, preset in RULES.items():
            twin = prompts.gradients(preset)
            agree(found[method], twin.score(d).detach().sum(1), twin.edges(), 1e-8)
            assert found[method].provenance.kv == kv


@pytest.mark.broad
@EACH
def test_scores_of_ablations(name: str) -> None:
    """Zero; the mean of what a writer writes over all positions of all prompts; with two pairs, the other prompt."""
    with true_float64():
        model, weights = ready(name)
        prompts = Prompts.of(weights, toy_task(2), "noise")
        base = prompts.values(prompts.base)
        sources = {
            "zero": {u: torch.zeros_like(a) for u, a in base.items()},
            "mean": {u: a.mean((0, 1), keepdim=True).expand_as(a) for u, a in base.items()},
            "resample": {u: a.flip(0) for u, a in base.items()},
        }
        for ablation, source in sources.items():
            for method in ("eap", "relp"):
                scores = attribute(model, toy_task(2), method=method, level="edges", ablation=ablation)
                twin = prompts.gradients(RULES[method])
                expected = twin.score({u: source[u] - base[u] for u in base}).detach().sum(1)
                agree(scores, expected, twin.edges(), 1e-8)


def test_positions_as_a_writer_of_their_own() -> None:
    with true_float64():
        model, weights = ready("gpt2")
        prompts = Prompts.of(weights, toy_task(2), "noise", split_positions=True)
        base = prompts.values(prompts.base)
        assert list(base)[:2] == ["embed", "pos_embed"]
        for method in ("eap", "relp"):
            options: dict[str, Any] = {"method": method, "level": "edges", "split_positions": True}
            twin = prompts.gradients(RULES[method])
            zero = attribute(model, toy_task(2), ablation="zero", **options)
            agree(zero, twin.score({u: -a for u, a in base.items()}).detach().sum(1), twin.edges(), 1e-8)
            paired = attribute(model, toy_task(2), direction="noise", **options)
            agree(paired, twin.score(prompts.differences()).detach().sum(1), twin.edges(), 1e-8)


@EACH
def test_each_position_apart(name: str) -> None:
    with true_float64():
        model, weights = ready(name)
        prompts = Prompts.of(weights, toy_task(2))
        for method in ("eap", "relp"):
            twin = prompts.gradients(RULES[method])
            expected = twin.score(prompts.differences()).detach()
            scores = attribute(model, toy_task(2), method=method, level="edges", positions="each")
            assert scores.positions() == list(range(expected.shape[1]))
            per_position = scores.per_example.reshape(2, expected.shape[1], -1)
            assert np.abs(per_position - expected.numpy()).max() <= 1e-8 * expected.abs().max().item()
            whole = attribute(model, toy_task(2), method=method, level="edges")
            largest = np.abs(whole.per_example).max()
            assert np.abs(per_position.sum(1) - whole.per_example).max() <= 1e-12 * largest


# ---------------------------------------------------------------- the replacement model


@pytest.mark.broad
@EACH
@BOTH
def test_relevance_of_edges_is_an_effect_in_the_replacement_model(name: str, kv: Any) -> None:
    """relp-ah: the exact effect there, whatever the size of the patch; relp: its derivative along the patch.

    The soft cap of Gemma 2's logits has no rule, so no replacement model is linear with it: it is left out.
    """
    with true_float64():
        model, weights = ready(name, **({"final_logit_softcapping": None} if name == "gemma2" else {}))
        found = attribute_all(model, toy_task(1), methods=["relp-ah", "relp"], level="edges", kv=kv)
        prompts = Prompts.of(weights, toy_task(1), kv=kv)
        d, base = prompts.differences(), prompts.values(prompts.base)

        def effects(preset: str, h: float) -> Tensor:
            start = prompts.twin(preset=preset)
            start(prompts.base)
            sources = {u: base[u] + h * d[u] for u in d}
            return prompts.effects(ends(found[preset]), sources, preset=preset, constants=start.held)

        agree(found["relp-ah"], effects("relp-ah", 1.0), ends(found["relp-ah"]), 1e-9)
        slope = (effects("relp", 1e-4) - effects("relp", -1e-4)) / 2e-4
        agree(found["relp"], slope, ends(found["relp"]), 1e-6)


@EACH
def test_eap_is_first_order(name: str) -> None:
    """|exact(eps d) - eps score| = O(eps^2) for every edge: log-log slope 1.9 or more from eps 1e-3 to 1e-4."""
    with true_float64():
        model, weights = ready(name)
        scores = attribute(model, toy_task(1), method="eap", level="edges")
        prompts = Prompts.of(weights, toy_task(1))
        d, base = prompts.differences(), prompts.values(prompts.base)
        error = []
        for eps in (1e-3, 1e-4):
            exact = prompts.effects(ends(scores), {u: base[u] + eps * d[u] for u in d}).numpy()
            error.append(np.abs(exact - eps * scores.per_example)[0])
        curved = error[0] > 2e-11
        slopes = np.log10(error[0][curved] / error[1][curved])
        assert curved.mean() > 0.5 and slopes.min() >= 1.9
        assert error[1][~curved].max(initial=0) <= 1e-12
