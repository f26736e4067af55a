"""The weights of a projection are those of what the module computes, also where an adapter is around it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from interp.errors import LayoutError
from interp.model.model import HookedModel
from interp.model.modules.linear import linear
from interp.rules.rules import RELP
from tests.interp.model import adapters
from tests.interp.model.tiny import ids, tiny

MAKE: dict[str, Any] = {
    "lora": adapters.Linear,
    "dropout": lambda base: adapters.Linear(base, dropout=0.5),
    "dora": lambda base: adapters.Linear(base, scaled=True),
    "matrices": adapters.Matrices,
    "subclass": adapters.Subclass.around,
}
NAMES = ("q_proj", "o_proj", "down_proj", "lm_head")
PATHS = [
    "model.layers.0.self_attn.o_proj",
    "model.layers.1.mlp.down_proj",
    "model.layers.0.self_attn.q_proj",
    "lm_head",
]


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_it_is_the_merged_map(name: str, kind: str) -> None:
    hf = adapters.adapted(tiny(name), MAKE[kind], *NAMES)
    model, merged = HookedModel(hf), HookedModel(adapters.merge(copy.deepcopy(hf)))
    for path in PATHS:
        (W, bias), (expected, expected_bias) = linear(model, path), linear(merged, path)
        assert torch.allclose(W, expected, atol=1e-5)
        assert (bias is None) == (expected_bias is None)
        assert bias is None or torch.allclose(bias, expected_bias, atol=1e-5)


def test_it_follows_the_adapter() -> None:
    model = HookedModel(adapters.adapted(tiny("llama"), adapters.Linear, *NAMES))
    part = model.hf.get_submodule(PATHS[0])
    before = linear(model, PATHS[0])[0]
    assert linear(model, PATHS[0])[0] is before
    with torch.no_grad():
        part.lora_B["default"].weight.mul_(2)
    assert torch.allclose(linear(model, PATHS[0])[0] - before, part.low_rank() / 2, atol=1e-5)


def test_a_bias_takes_no_digits_from_the_weights() -> None:
    hf = tiny("qwen2", dtype=torch.bfloat16)
    hf.model.layers[0].self_attn.q_proj.bias.data.fill_(50.0)
    hf = adapters.adapted(hf, lambda base: adapters.Linear(base).to(torch.bfloat16), "q_proj")
    part = hf.model.layers[0].self_attn.q_proj
    part.lora_B["default"].weight.data.zero_()
    W, bias = linear(HookedModel(hf), PATHS[2])
    expected = part.base_layer.weight.T
    assert bias is not None and (bias == 50).all()
    assert (W - expected).abs().max() <= 0.02 * expected.abs().max()


class Curved(nn.Module):
    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base_layer = base

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.base_layer(x))  # type: ignore[no-any-return]


def test_what_is_no_linear_map_is_refused_with_what_to_do() -> None:
    model = HookedModel(adapters.adapted(tiny("llama"), Curved, "o_proj"))
    with pytest.raises(LayoutError, match=r"o_proj is a Curved.*merge_and_unload"):
        linear(model, PATHS[0])


@pytest.mark.parametrize("kind", ["lora", "dropout", "dora", "matrices"])
def test_rules_cover_an_adapter_as_one_map(kind: str) -> None:
    plain = HookedModel(tiny("llama"))
    model = HookedModel(adapters.adapted(tiny("llama"), MAKE[kind], *NAMES, "up_proj", "gate_proj", "k_proj", "v_proj"))
    assert [(r.path, r.operation) for r in model.coverage(RELP).rows] == [
        (r.path, r.operation) for r in plain.coverage(RELP).rows
    ]


def test_an_adapter_around_the_embedding() -> None:
    hf = adapters.adapted(tiny("llama"), adapters.Embedding, "embed_tokens")
    model, merged = HookedModel(hf), HookedModel(adapters.merge(copy.deepcopy(hf)))
    assert torch.allclose(model.run(ids()).logits, merged.run(ids()).logits, atol=1e-5)
    assert model.device == merged.device
