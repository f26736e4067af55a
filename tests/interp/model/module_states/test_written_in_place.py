"""Models that write into tensors which somebody has read before: the numbers are those of the same model that does not, or it is
refused."""

from __future__ import annotations

from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.errors import LayoutError
from interp.model.model import HookedModel
from interp.rules.rules import DEEPLIFT
from tests.interp.model.tiny import hooked, ids, tiny


def _into_up(self: Any, x: Tensor) -> Any:
    up = self.up_proj(x)
    up *= self.act_fn(self.gate_proj(x))
    return self.down_proj(up)


def test_a_gated_product_written_into_the_branch_has_its_multipliers() -> None:
    expected = hooked("llama", dtype=torch.float64)
    llama = tiny("llama", dtype=torch.float64)
    for block in llama.model.layers:
        block.mlp.forward = MethodType(_into_up, block.mlp)
    found = []
    for model in (HookedModel(llama), expected):
        run = model.run(ids(), reads=["embed"], rules=DEEPLIFT, toward=model.run(ids(seed=5), keep_operands=True))
        found.append(torch.autograd.grad(run.logits[:, -1, 7].sum(), run["embed"])[0])
    assert torch.allclose(*found, rtol=0, atol=1e-12 * float(found[1].abs().max()))


def _into_stream(self: Any, hidden_states: Tensor, **options: Any) -> Any:
    attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **options)
    hidden_states = hidden_states + attended
    added = self.mlp(self.post_attention_layernorm(hidden_states))
    hidden_states += added
    return hidden_states


def test_a_stream_that_is_written_to_after_it_was_read_is_refused() -> None:
    llama = tiny("llama")
    for block in llama.model.layers:
        block.forward = MethodType(_into_stream, block)
    with pytest.raises(LayoutError, match=r"in place after model\.layers\.0\.post_attention_layernorm has read it"):
        HookedModel(llama)
