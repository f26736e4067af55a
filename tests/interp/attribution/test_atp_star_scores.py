"""What AtP* gives: scores without a sign, their agreement and their ranking, the same whatever the batches and ablations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interp.attribution.methods import METHODS
from interp.attribution.methods import atp_star as module
from interp.attribution.request import attribute, attribute_all
from interp.errors import MethodError, MetricError, ScoreError
from interp.scores.agreement import agreement
from interp.scores.scores import Scores
from tests.interp.attribution.test_atp_star import last_attention
from tests.interp.model.tiny import hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task, with_twins

# ---------------------------------------------------------------- scores without a sign


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_scores_are_sizes(direction: str, tmp_path: Path) -> None:
    ours, task = hooked("llama"), toy_task(4)
    found = attribute_all(ours, task, methods=["exact", "atp-star"], level="qkv", direction=direction)
    exact, scores = found["exact"], found["atp-star"]
    assert METHODS["atp-star"].unsigned and scores.provenance.unsigned and not exact.provenance.unsigned
    assert (scores.per_example >= 0).all() and np.array_equal(scores.importance, scores.mean)
    assert list(scores.rank()) == list(np.argsort(-scores.mean, kind="stable"))
    with pytest.raises(ScoreError, match="atp-star, which are sizes without a sign; use 'absolute'"):
        scores.rank("signed")
    scores.save(tmp_path / "scores.parquet")
    again = Scores.load(tmp_path / "scores.parquet")
    assert again.provenance == scores.provenance and np.array_equal(again.per_example, scores.per_example)


def test_agreement_is_with_the_sizes_of_exact_effects() -> None:
    found = attribute_all(hooked("llama"), toy_task(6), methods=["exact", "atp-star", "atp"], level="heads")
    exact, scores = found["exact"], found["atp-star"]
    row = agreement(scores, exact)["head"]
    keep = [i for i, part in enumerate(exact.parts) if part.kind == "head"]
    sizes = np.abs(exact.mean[keep])
    assert row.sign is None and row.pearson == pytest.approx(np.corrcoef(scores.mean[keep], sizes)[0, 1], abs=1e-12)
    assert row.pearson_ci is not None and row.pearson_ci[0] <= row.pearson <= row.pearson_ci[1]
    signed = agreement(found["atp"], exact)["head"]
    assert signed.sign == np.mean(np.sign(found["atp"].mean[keep]) == np.sign(exact.mean[keep]))
    assert signed.pearson == pytest.approx(np.corrcoef(found["atp"].mean[keep], exact.mean[keep])[0, 1], abs=1e-12)


def test_a_negative_span_does_not_turn_sizes() -> None:
    """A normalised metric divides by clean - corrupt, which is negative where the model prefers the wrong answer."""
    ours, spans = hooked("gpt2"), []
    for seed in range(6):
        task = toy_task(3, seed=seed)
        plain, scaled = (
            attribute(ours, task, method="atp-star", level="heads", metric=metric)
            for metric in ("logit_diff", "normalized_logit_diff")
        )
        clean, corrupt = plain.provenance.source_metric, plain.provenance.base_metric
        assert clean is not None
        spans.append(clean - corrupt)
        assert np.allclose(scaled.per_example, plain.per_example / abs(spans[-1]), rtol=1e-5)
    assert min(spans) < 0 < max(spans)


# ---------------------------------------------------------------- the driver


@pytest.mark.broad
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "granite", "opt"])
def test_a_value_patched_by_itself_scores_nothing(name: str) -> None:
    ours = hooked(name)
    task = with_twins(ours, toy_task(3))
    for level in ("resid", "blocks", "heads", "qkv", "neurons"):
        assert not attribute(ours, task, method="atp-star", level=level).per_example.any()


def test_batches_and_portions_change_nothing_but_the_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    with true_float64():
        ours, task = hooked("llama", dtype=torch.float64, num_hidden_layers=3), toy_task(4, lengths=(5, 7))
        options: dict[str, Any] = {"method": "atp-star", "level": "qkv", "positions": "end"}
        whole, single = (attribute(ours, task, batch_size=size, **options) for size in (4, 1))
        monkeypatch.setattr(module, "PATTERN_BYTES", 1)
        layered = attribute(ours, task, **options)
    for other in (single, layered):
        assert np.allclose(whole.per_example, other.per_example, rtol=1e-9, atol=1e-12)
    assert (whole.provenance.forwards, whole.provenance.backwards) == (3, 3)
    assert layered.provenance.backwards == 9


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_scored_in_more(dtype: torch.dtype) -> None:
    task = toy_task(2)
    half, full = (
        attribute(hooked("llama", dtype=d), task, method="atp-star", level="qkv") for d in (dtype, torch.float32)
    )
    assert np.corrcoef(half.mean, full.mean)[0, 1] > 0.95


@pytest.mark.parametrize("kind", ["mean", "zero", "resample"])
def test_ablations_patch_what_exact_patches(kind: str) -> None:
    """With what follows the pattern nearly linear, the same comparison as above: sizes of the exact effects."""
    with true_float64():
        ours, task = last_attention("llama", out=1e-5), toy_task(3)
        found = attribute_all(ours, task, methods=["exact", "atp-star"], level="qkv", positions="each", ablation=kind)
        columns = [i for i, p in enumerate(found["exact"].parts) if p.layer == 1]
        exact, star = (found[m].per_example[:, columns] for m in ("exact", "atp-star"))
        assert np.allclose(np.abs(exact), star, rtol=0, atol=1e-3 * np.abs(exact).max())


def test_nothing_is_left_on_the_model() -> None:
    ours = hooked("gpt2")
    before = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in ours.hf.modules()]
    attribute(ours, toy_task(2), method="atp-star", level="qkv")
    assert before == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in ours.hf.modules()]
    assert ours.hf.config._attn_implementation == "eager"
    assert all(p.grad is None and p.requires_grad for p in ours.hf.parameters())


def test_what_has_no_meaning_is_refused() -> None:
    task = toy_task(2)
    with pytest.raises(MethodError, match="this model has only one; expected two or more"):
        attribute(hooked("gpt2", n_layer=1), task, method="atp-star", level="heads")
    with pytest.raises(MethodError, match="scores nodes, not level 'edges'"):
        attribute(hooked("gpt2"), task, method="atp-star", level="edges")
    with pytest.raises(MetricError, match="flat at the base run, so atp-star would score every node 0"):
        attribute(hooked("gpt2"), task, method="atp-star", level="heads", metric="kl_base")
