"""A block that does something else on the prompts than on the few tokens that a restart was tried on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.errors import LayoutError
from interp.model.model import HookedModel
from tests.interp.model.discovery.written import Block, Config, Decoder, eager_attention_forward
from tests.interp.model.tiny import ids, randomise

__all__ = ["eager_attention_forward"]


class _Longer(Block):
    """Attention is added twice to prompts of ten tokens and more."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        added = self.attn(self.n1(x), mask)
        middle = x + added
        out: Tensor = middle + self.mlp(self.n2(middle))
        return out + added if x.shape[1] >= 10 else out


class Longer(Decoder):
    block = _Longer


def _scores(model: HookedModel, length: int) -> tuple[Any, Tensor]:
    """Heads patched by a method, and by whole forwards with an edit each."""
    clean, corrupt = ids(2, length)
    pair = interp.InputPair(clean, corrupt, answers=4, wrong=5)
    found = interp.attribute(model, interp.Task("ids", (pair,)), method="exact", level="heads", direction="noise")
    source = model.run(corrupt[None], reads=["z"])

    def metric(edits: list[Any]) -> float:
        logits = model.run(clean[None], edits=edits).logits[0, -1]
        return float(logits[4] - logits[5])

    heads = [(layer, head) for layer in range(model.layout.n_layers) for head in range(model.layout.n_heads)]
    edits = [interp.patch(f"z.{layer}", source[f"z.{layer}"][:, :, head], heads=head) for layer, head in heads]
    return found, torch.tensor([metric([edit]) - metric([]) for edit in edits])


def test_a_layer_that_is_another_sum_on_these_prompts_is_not_replayed() -> None:
    torch.manual_seed(0)
    hf = Longer(Config(attn_implementation="eager")).eval()
    randomise(hf)
    model = HookedModel(hf)
    found, whole = _scores(model, 9)
    of_heads = ["h" in part.name for part in found.parts]
    assert found.provenance.engine == "replay"
    np.testing.assert_allclose(found.mean[of_heads], whole, rtol=1e-4, atol=1e-5)
    with pytest.raises(LayoutError, match=r"layer 0: on prompts of 10 positions it is not stream \+ attention \+ MLP"):
        _scores(model, 10)
