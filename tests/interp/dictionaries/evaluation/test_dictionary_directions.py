"""What the weights say of a feature: logit effects are direct attributions; neighbours and heads of hand-made rows are known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.evaluation.dashboard_stream import seen
from interp.dictionaries.evaluation.dashboards import make_dashboards
from interp.dictionaries.evaluation.feature_directions import Unembedding
from interp.lenses.lens import direct_logit_attribution
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import ARCHITECTURES, VARIANTS, hooked, ids


@cache
def model(name: str = "llama") -> Any:
    return hooked(name)


def with_rows(site: str, *decoder: Tensor, **more: Any) -> Dictionary:
    d = made(site, decoder[0].shape[0], n=len(decoder), **more)
    return replace(d, W_dec=torch.stack(decoder).to(d.dtype))


def effect(m: Any, d: Dictionary, tokens: Tensor) -> Tensor:
    """The effect of feature 0 on all logits."""
    found = Unembedding(m, d)
    for batch in seen(m, d, [tokens], final=True):
        found.add(batch)
    return found.logits(0)


@pytest.mark.broad
@pytest.mark.parametrize("name", [*ARCHITECTURES, *VARIANTS])
def test_logit_effects_are_direct_attributions(name: str) -> None:
    """A decoder row that is what a component writes at the only token has the effect that the component has there."""
    m, prompt = hooked(name), torch.tensor([[21]])
    run = m.run(prompt, reads=["z", "mlp_out", "embed"])
    one_head = torch.zeros_like(run["z.1"][0, 0])
    one_head[2] = run["z.1"][0, 0, 2].detach()
    rows = {
        "a1.h2": ("z.1", one_head.flatten()),
        "m0": ("mlp_out.0", run["mlp_out.0"][0, 0]),
        "embed": ("resid_pre.1", run["embed"][0, 0]),
    }
    for node, (site, row) in rows.items():
        logits = effect(m, with_rows(site, row.detach()), prompt)
        for token in (3, 40):
            wanted = direct_logit_attribution(m, [[21]], answers=token)[node]
            assert float(logits[token]) == pytest.approx(wanted, rel=2e-4, abs=2e-5)


def test_logit_effects_are_means_over_the_tokens_seen() -> None:
    m, tokens = model("gpt2"), ids(3, 5)
    row = torch.randn(32, generator=torch.Generator().manual_seed(1))
    final = m.hf.transformer.ln_f
    x = m.run(tokens, reads=["resid_final"])["resid_final"].detach()
    sigma = (x.var(-1, unbiased=False) + final.eps).sqrt()
    centred = (row - row.mean()) * final.weight.detach()
    wanted = torch.stack([m.hf.lm_head.weight.detach() @ (centred / s) for s in sigma.flatten()]).mean(0)
    assert torch.allclose(effect(m, with_rows("resid_post.0", row), tokens).float(), wanted, rtol=1e-4, atol=1e-5)
    plain = with_rows("resid_post.0", row)
    scaled = replace(plain, normalize="layer_norm")
    at = m.run(tokens, reads=["resid_post.0"])["resid_post.0"].detach()
    spread = at.std(-1)
    wanted = torch.stack(
        [
            m.hf.lm_head.weight.detach() @ (centred * t / s)
            for s, t in zip(sigma.flatten(), spread.flatten(), strict=True)
        ]
    ).mean(0)
    assert torch.allclose(effect(m, scaled, tokens).float(), wanted, rtol=1e-4, atol=1e-5)


def test_the_tokens_that_a_feature_raises_and_lowers_are_in_order() -> None:
    m, tokens = model(), ids(2, 6)
    W_U = m.hf.lm_head.weight.detach()
    weight = m.hf.model.norm.weight.detach()
    d = with_rows("mlp_out.1", W_U[30] / weight, torch.zeros(32))
    one, zero = make_dashboards(m, d, [tokens], features=[0, 1], n_logits=4)
    order = (W_U @ W_U[30]).argsort(descending=True).tolist()
    assert [t.id for t in one.effects.top] == order[:4] and [t.id for t in one.effects.bottom] == order[::-1][:4]
    assert one.effects.top[0].token == f"<{order[0]}>"
    logits = effect(m, d, tokens)
    assert [t.effect for t in one.effects.top] == pytest.approx([float(logits[i]) for i in order[:4]])
    assert zero.effects.top == () and "zero" in zero.effects.reason and zero.nearest == ()


@pytest.mark.parametrize(
    ("site", "target", "d_in", "d_out", "writes"),
    [
        ("mlp_normed.0", "mlp_out.0", 32, 32, True), ("attn_out.1", "", 32, 32, True), ("resid_mid.0", "", 32, 32, True),
        ("mlp_post.0", "", 48, 48, False), ("mlp_normed.1", "", 32, 32, False), ("mlp_in.1", "", 32, 32, False), ("q.0", "", 32, 32, False),
    ],
)  # fmt: skip
def test_only_what_is_added_to_the_stream_has_effects(
    site: str, target: str, d_in: int, d_out: int, writes: bool
) -> None:
    d = made(site, d_in, target=target, d_out=d_out)
    (one,) = make_dashboards(model(), d, [ids(2, 6)], features=[0])
    assert bool(one.effects.top) == writes
    assert one.effects.reason == (
        ""
        if writes
        else f"what is at '{d.target}' is not added to the residual stream, so it has no direct effect on logits."
    )


def test_a_transcoder_to_z_has_no_effects() -> None:
    (one,) = make_dashboards(model(), made("attn_in.1", 32, target="z.1"), [ids(2, 6)], features=[0])
    assert not one.effects.top and one.effects.reason.startswith("a transcoder to z") and len(one.heads) == 4


def test_nearest_features_have_the_largest_cosines() -> None:
    e = torch.eye(32)
    d = with_rows("resid_post.0", e[0], 5 * e[0] + 5 * e[1], -e[0], e[0] * 0, 0.1 * e[0] + 0.01 * e[1], e[2])
    first, zero = make_dashboards(model(), d, [ids(2, 6)], features=[0, 3], n_nearest=4)
    assert [n.feature for n in first.nearest] == [4, 1, 5, 2]
    assert [n.cosine for n in first.nearest] == pytest.approx([1 / 1.01**0.5, 0.5**0.5, 0, -1], abs=1e-6)
    assert zero.nearest == ()
    assert make_dashboards(model(), d, [ids(2, 6)], features=[0], n_nearest=0)[0].nearest == ()


def test_heads_have_the_shares_of_their_slices() -> None:
    row = torch.zeros(4, 8)
    row[2, 3], row[2, 4], row[0, 0] = 3.0, 4.0, -5 / 3
    d = with_rows("z.0", row.flatten(), torch.zeros(32))
    one, zero = make_dashboards(model(), d, [ids(2, 6)], features=[0, 1])
    assert one.heads == pytest.approx((0.25, 0, 0.75, 0)) and zero.heads == ()
    assert make_dashboards(model(), made("resid_post.0", 32), [ids(2, 6)], features=[0])[0].heads == ()
