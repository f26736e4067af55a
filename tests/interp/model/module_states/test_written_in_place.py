"""Models that write into tensors which somebody has read before: the numbers are those of the same model that does not, or it is
refused."""

from __future__ import annotations

from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interp.errors import LayoutError, MethodError
from interp.model.model import HookedModel
from interp.rules.rules import CP_LRP, DEEPLIFT, GRADIENT, RELP, RELP_AH, Rules
from tests.interp.model.tiny import hooked, ids, tiny


def _into_up(self: Any, x: Tensor) -> Any:
    up = self.up_proj(x)
    up *= self.act_fn(self.gate_proj(x))
    return self.down_proj(up)


def _into_act(self: Any, x: Tensor) -> Any:
    h = self.act_fn(self.gate_proj(x))
    return self.down_proj(h.mul_(self.up_proj(x)))


@pytest.mark.parametrize("rules", [GRADIENT, RELP, RELP_AH, CP_LRP, DEEPLIFT], ids=lambda rules: rules.describe())
@pytest.mark.parametrize("forward", [_into_up, _into_act])
def test_a_gated_product_written_into_a_factor_has_the_same_backward_pass(forward: Any, rules: Rules) -> None:
    expected = hooked("llama", dtype=torch.float64)
    llama = tiny("llama", dtype=torch.float64)
    for block in llama.model.layers:
        block.mlp.forward = MethodType(forward, block.mlp)
    found = []
    for model in (HookedModel(llama), expected):
        toward = model.run(ids(seed=5), keep_operands=True) if rules.secants else None
        run = model.run(ids(), reads=["embed", "mlp_post"], rules=rules, toward=toward)
        read = [run["embed"], run["mlp_post.0"]]
        found.append([*read, *torch.autograd.grad(run.logits[:, -1, 7].sum(), read)])
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12 * float(theirs.abs().max()))


class _Relu(nn.ReLU):
    """Keeps its result for its gradient; of a class that is tried."""


def test_a_product_written_over_what_a_gradient_needs_is_refused() -> None:
    """In plain torch too the backward pass of this model fails."""
    llama = tiny("llama")
    for block in llama.model.layers:
        block.mlp.act_fn = _Relu()
        block.mlp.forward = MethodType(_into_act, block.mlp)
    model = HookedModel(llama)
    with pytest.raises(
        MethodError, match=r"through model\.layers\.0\.mlp .*writes in place over what its gradient needs"
    ):
        model.check_gradients()


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
    with pytest.raises(
        LayoutError, match=r"^model\.layers\.0\.post_attention_layernorm: what it has read is written to in place, so"
    ):
        HookedModel(llama)


WRITTEN = [
    "model.layers.0",
    "model.layers.1",
    "model.layers.1.input_layernorm",
    "model.layers.0.self_attn.o_proj",
    "model.layers.1.mlp.down_proj",
    "model.norm",
    "lm_head",
]


@pytest.mark.parametrize("path", WRITTEN)
def test_a_module_that_writes_into_what_it_reads_is_refused_by_name(path: str) -> None:
    llama = tiny("llama")
    module = llama.get_submodule(path)
    own = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        (args[0] if args else kwargs["hidden_states"])[..., :2] = 0
        return own(*args, **kwargs)

    module.forward = forward
    with pytest.raises(LayoutError, match=rf"^{path}: what it has read is written to in place, by itself"):
        HookedModel(llama)


def _norm_written(self: Any, hidden_states: Tensor, **options: Any) -> Any:
    normed = self.input_layernorm(hidden_states)
    attended, _ = self.self_attn(hidden_states=normed.mul_(2.0), **options)
    hidden_states = hidden_states + attended
    return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


def test_a_norm_whose_output_is_written_to_is_no_norm_in_front_of_attention() -> None:
    """As where the block multiplies it in a new tensor: parts that read the stream through a norm would be given another."""
    llama = tiny("llama")
    for block in llama.model.layers:
        block.forward = MethodType(_norm_written, block)
    model = HookedModel(llama)
    assert "attn_in" in model.missing_sites() and model.layout.blocks[0].attn.norm is None
    assert model.layout.blocks[0].attn.entry == model.layout.blocks[0].path  # by which edges are refused
