"""Rules through encoders: what must hold of relevance where norms act on the sums, and of outputs that are one for a prompt."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from interp.model.model import HookedModel
from interp.parts.sites import SUMS
from interp.rules.rules import RELP_AH
from tests.interp.model.encoders.models import hooked, known
from tests.interp.model.encoders.places import parts
from tests.interp.model.plain import close
from tests.interp.model.tiny import ids
from tests.interp.rules.float64 import true_float64


@pytest.mark.parametrize("name", ["bert", "by-hand-around", "by-hand-before", "by-hand-mean", "llama-classes"])
def test_relevance_is_conserved_without_biases(name: str) -> None:
    """Every cut of the stream, around-norms in between, holds the output: norms are linear in what they read."""
    with true_float64():
        model = hooked(name)
        hf = model.hf.double()
        for module in hf.modules():
            if getattr(module, "bias", None) is not None:
                module.bias.data.zero_()
        model = HookedModel(hf)
        streams = ["embed", "resid_pre", "resid_mid", "resid_post", *(kind for kind in SUMS if kind in model.sites())]
        run = model.run(ids(2, 9), reads=streams, rules=RELP_AH, allow_unsupported=True)
        at = 4 if run.logits.shape[1] > 1 else 0
        metric = run.logits[:, at, 2] - 0.5 * run.logits[:, at, 0]
        cuts = list(run.reads.values())
        for x, relevance in zip(cuts, torch.autograd.grad(metric.sum(), cuts), strict=True):
            assert torch.allclose((x * relevance).sum((1, 2)), metric, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["bert-mlm", "distilbert-classes", "by-hand-around"])
def test_a_frozen_norm_around_a_sum_divides_by_its_own_size(name: str) -> None:
    """The way back through N(x + f(x)) of the last block, written out: w / sigma of what is not constant."""
    model, tokens = known(name), ids(2, 9)
    run = model.run(tokens, reads=["mlp_out.1", "resid_mid.1", "resid_post.1"], rules=RELP_AH, allow_unsupported=True)
    target = run.logits.square().sum()
    behind, before = torch.autograd.grad(target, [run["resid_post.1"], run["mlp_out.1"]])
    norm: nn.LayerNorm = parts(name, model.hf, 1).second  # type: ignore[assignment]
    summed = (run["resid_mid.1"] + run["mlp_out.1"]).detach().double()
    size = (summed.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    scaled = behind.double() * norm.weight.detach().double() / size
    close(before.double(), scaled - scaled.mean(-1, keepdim=True), 1e-4)
