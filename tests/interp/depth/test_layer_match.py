"""Layers of two models: known maps are found, and what is not there is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import interp
from interp.errors import InterpError, MethodError, TaskError
from interp.model.model import HookedModel
from tests.interp.model.tiny import hooked, ids

TEXTS = ids(24, 12)


def rotated(model: HookedModel) -> HookedModel:
    """The same function with every stream rotated: gains of norms must be 1."""
    hf = hooked("llama").hf
    Q = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q.float()
    with torch.no_grad():
        for own in (model.hf, hf):
            for name, p in own.named_parameters():
                if "norm" in name:
                    p.fill_(1.0)
        inner = hf.model
        inner.embed_tokens.weight.copy_(inner.embed_tokens.weight @ Q)
        hf.lm_head.weight.copy_(hf.lm_head.weight @ Q)
        for block in inner.layers:
            attn, mlp = block.self_attn, block.mlp
            for reads in (attn.q_proj, attn.k_proj, attn.v_proj, mlp.gate_proj, mlp.up_proj):
                reads.weight.copy_(reads.weight @ Q)
            for writes in (attn.o_proj, mlp.down_proj):
                writes.weight.copy_(Q.T @ writes.weight)
    return HookedModel(hf)


def test_a_rotated_model_has_the_same_layers() -> None:
    model = hooked("llama")
    other = rotated(model)
    assert torch.allclose(model.run(TEXTS).logits, other.run(TEXTS).logits, atol=1e-3)
    found = interp.match_layers(model, other, TEXTS)
    assert found.best == (0, 1) and np.diag(found.explained).min() > 0.999
    assert interp.match_layers(model, model, TEXTS).explained == pytest.approx(found.explained, abs=1e-3)


def test_maps_are_judged_on_texts_that_they_were_not_fitted_on() -> None:
    """By hand: a layer of 32 numbers on fewer tokens than that fits what it was fitted on, and nothing else."""
    model, other = hooked("llama"), hooked("llama", seed=1)
    found = interp.match_layers(model, other, ids(4, 12), keep_bos=True)
    order = np.random.default_rng(0).permutation(4)
    with torch.no_grad():
        x, y = (m.run(ids(4, 12), ["resid_post.0"])["resid_post.0"].double() for m in (model, other))
    own, held = sorted(order[:2]), sorted(order[2:])
    a, b, a_held, b_held = (v.flatten(0, 1) for v in (x[own], y[own], x[held], y[held]))
    z = a - a.mean(0)
    gram = z.T @ z
    W = torch.linalg.solve(
        gram + 1e-3 * gram.diagonal().mean() * torch.eye(32, dtype=gram.dtype), z.T @ (b - b.mean(0))
    )
    guess = (a_held - a.mean(0)) @ W + b.mean(0)
    r2 = 1 - float((b_held - guess).square().sum() / (b_held - b_held.mean(0)).square().sum())
    assert found.explained[0, 0] == pytest.approx(r2, rel=1e-6) and r2 < 0.5
    assert found.n == (24, 24)


def test_what_cannot_be_matched() -> None:
    model = hooked("llama")
    with pytest.raises(TaskError, match="one text"):
        interp.match_layers(model, model, TEXTS[:1])
    with pytest.raises(MethodError, match="unknown map"):
        interp.match_layers(model, model, TEXTS, map="affine")  # type: ignore[arg-type]
    with pytest.raises(InterpError, match="tokens"):
        interp.match_layers(model, model, TEXTS, tokens=2)
