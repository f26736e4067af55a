"""The last block and the response of an MLP: against the model's own output, planted responses, and reference numbers."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.effects.answer_ends import Ends
from interp.effects.mlp_response import ridge_fit
from interp.errors import InterpError, LayoutError, SiteError, TaskError
from interp.parts.nodes import Node
from interp.parts.sites import Site
from tests.interp.effects.stories import reference
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import pairs_of, toy_task

#: The module, whose function has its name.
mlp_response = sys.modules[ridge_fit.__module__]
TASK = toy_task(n=4, lengths=(6, 5))


@pytest.mark.parametrize("name", ("gpt2", "llama", "gemma2", "phi"))
def test_behind_the_last_block_is_what_the_model_says(name: str) -> None:
    model = hooked(name)
    found = interp.last_block(model, TASK)
    for i, pair in enumerate(pairs_of(TASK)):
        own = torch.log_softmax(model.run(torch.tensor([pair.clean])).logits[0, -1].double(), -1)[pair.answers[0]]
        assert found.log_prob_after[i, 1] == pytest.approx(float(own), abs=2e-5)
    assert np.array_equal(found.log_prob_after[:, 0], found.log_prob_before[:, 1])
    halves = [Node("attn_out", 1), Node("mlp", 1)]
    assert np.allclose(found.logits, interp.direct_effects(model, TASK, halves, measure="logit").per_example, atol=1e-5)
    if not model.layout.blocks[1].parallel:
        direct = interp.direct_effects(model, TASK, halves, measure="log_prob_increase")
        assert np.allclose(found.increases, direct.per_example, atol=1e-5)
    assert np.allclose(found.others + found.logits, found.increases)


def test_reference_numbers_of_the_last_block(assets: Path) -> None:
    wanted, folder = reference(assets, "s11_last_layer_stories260K"), assets / "models" / "stories260K"
    model = interp.load(folder)
    for name in ("gender_pronoun", "they_plural", "name_gender"):
        found = interp.last_block(model, interp.load_task(folder / "tasks" / f"{name}.json").limit(100))
        rows, row = found.to_pandas().set_index("half"), wanted[name]
        ours = {
            "p_answer_before_last_block": rows.p_before["attention"],
            "p_answer_after_last_attention": rows.p_after["attention"],
            "p_answer_model": rows.p_after["mlp"],
            "direct_logit_of_answer_last_attention": rows.logit["attention"],
            "direct_logit_of_answer_last_mlp": rows.logit["mlp"],
            "share_prompts_lowered_by_last_block": found.share_lowered,
            "share_mlp_negative": rows.logit_lowered["mlp"],
            "share_attn_negative": rows.logit_lowered["attention"],
            "last_mlp_log_prob_increase_run_sigma": rows.increase["mlp"],
            "share_prompts_log_prob_lowered_by_last_mlp": rows.increase_lowered["mlp"],
        }
        assert {key: ours[key] for key in row} == pytest.approx(row, abs=1e-4)


def test_a_fit_finds_planted_weights_and_leaving_out_is_refitting() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(14, 4, 6, generator=generator, dtype=torch.float64)
    planted = torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64)
    y = torch.einsum("h,ehd->ed", planted, x) + torch.randn(6, generator=generator, dtype=torch.float64)
    weights, r2, left_out = ridge_fit(x, y, 1e-10)
    assert np.allclose(weights, planted, atol=1e-8) and r2 > 1 - 1e-12 and left_out > 1 - 1e-12
    noisy = y + torch.randn(14, 6, generator=generator, dtype=torch.float64)
    _, r2, left_out = ridge_fit(x, noisy, 1e-12)
    rest, total = 0.0, 0.0
    for i in range(14):
        kept = [j for j in range(14) if j != i]
        own, _, _ = ridge_fit(x[kept], noisy[kept], 1e-12)
        b = noisy[kept].mean(0) - torch.einsum("h,hd->d", own, x[kept].mean(0))
        rest += float((noisy[i] - b - torch.einsum("h,hd->d", own, x[i])).square().sum())
        total += float((noisy[i] - noisy[kept].mean(0)).square().sum())
    assert left_out == pytest.approx(1 - rest / total, abs=1e-9) and left_out < r2


def test_an_mlp_that_adds_heads_up_is_found_with_its_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the MLP adds is a planted sum of what the heads of the run add, and a constant."""
    planted = torch.tensor([0.5, -1.0, 0.25, 2.0], dtype=torch.float64)
    ends_of = mlp_response.ends_of

    def with_planted(*given: Any, **options: Any) -> Ends:
        ends = ends_of(*given, **options)
        added = torch.einsum("h,ehd->ed", planted, ends.stream.heads(1)) + 0.1
        return dataclasses.replace(ends, values={**ends.values, Site("mlp_out", 1): added})

    monkeypatch.setattr(mlp_response, "ends_of", with_planted)
    model, task = hooked("llama"), toy_task(n=14)
    found = interp.mlp_response(model, task, 1)
    assert np.allclose(found.weights, planted, atol=1e-4) and found.r2_left_out > 0.9999
    heads = interp.direct_effects(model, task, [Node("head", 1, h) for h in range(4)], measure="logit").mean
    assert np.allclose(found.logits, planted.numpy() * heads, atol=1e-3) and abs(found.constant) > 1e-3


def test_bad_input_is_refused_in_one_sentence() -> None:
    model, many = hooked("llama"), toy_task(n=24)
    for task, layer, options, error, words in (
        (TASK, 1, {}, TaskError, "4 prompts for 4 heads; expected 12"),
        (many, 7, {}, SiteError, "layer 7"),
        (many, 0, {"attention": [1]}, SiteError, "does not read the heads of layer 1"),
        (many, 1, {"attention": []}, SiteError, "no layers given"),
        (many, 1, {"ridge": 0}, InterpError, "above 0"),
        (many, 1, {"ridge": float("nan")}, InterpError, "above 0"),
    ):
        with pytest.raises(error, match=words):
            interp.mlp_response(model, task, layer, **options)
    with pytest.raises(SiteError, match="does not read the heads"):
        interp.mlp_response(hooked("phi"), many, 1)
    assert interp.mlp_response(model, many, 1, attention=[0, 1]).heads[4] == "a1.h0"
    with pytest.raises((LayoutError, InterpError), match="prompts"):
        interp.last_block(model, TASK, prompts="dirty")
