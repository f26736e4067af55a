"""What neurons do through one later attention, against the weights written out and patching with everything else held."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.errors import InterpError, LayoutError, SiteError, TaskError
from interp.lenses.second_order import SecondOrder
from interp.model.model import HookedModel
from tests.interp.model.encoders.models import hooked as encoder
from tests.interp.model.tiny import hooked, tiny
from tests.interp.model.vision.made import made, seen
from tests.interp.parts.masks import wordpiece
from tests.interp.tasks.toy import toy_task

IDS = torch.tensor([[3, 9, 4, 17, 5], [8, 8, 2, 30, 31]])


def double(hf: Any) -> HookedModel:
    return HookedModel(copy.deepcopy(hf).double())


def frozen_rms(norm: Any, at: Tensor, x: Tensor) -> Tensor:
    """A norm without a mean, with the scale that it has at `at`."""
    return x * norm.weight / (at.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()


def frozen_layer(norm: Any, at: Tensor, x: Tensor) -> Tensor:
    """A LayerNorm without its bias, with the scale that it has at `at`."""
    sigma = (at.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    return (x - x.mean(-1, keepdim=True)) / sigma * norm.weight


class Llama:
    """What of a llama a change of the stream goes through."""

    def __init__(self, hf: Any) -> None:
        self.hf, self.blocks = hf, hf.model.layers

    def down(self, layer: int) -> Tensor:
        return self.blocks[layer].mlp.down_proj.weight.T

    def attended(self, layer: int, at: Tensor, pattern: Tensor, change: Tensor) -> Tensor:
        """What attention adds of a change [batch pos d], where its pattern and its norm are held."""
        own = self.blocks[layer]
        v = own.self_attn.v_proj(frozen_rms(own.input_layernorm, at, change))
        v = v.unflatten(-1, (2, -1)).repeat_interleave(2, dim=2)
        z = torch.einsum("bhqk,bkhe->bqhe", pattern, v).flatten(2)
        return own.self_attn.o_proj(z)

    def read(self, at: Tensor, change: Tensor) -> Tensor:
        """Logits [batch d_vocab] at the last position."""
        return self.hf.lm_head(frozen_rms(self.hf.model.norm, at, change))[:, -1]


class Gpt2:
    def __init__(self, hf: Any) -> None:
        self.hf, self.blocks = hf, hf.transformer.h

    def down(self, layer: int) -> Tensor:
        return self.blocks[layer].mlp.c_proj.weight

    def attended(self, layer: int, at: Tensor, pattern: Tensor, change: Tensor) -> Tensor:
        own, d = self.blocks[layer], change.shape[-1]
        v = (frozen_layer(own.ln_1, at, change) @ own.attn.c_attn.weight[:, 2 * d :]).unflatten(-1, (4, -1))
        return torch.einsum("bhqk,bkhe->bqhe", pattern, v).flatten(2) @ own.attn.c_proj.weight

    def read(self, at: Tensor, change: Tensor) -> Tensor:
        return self.hf.lm_head(frozen_layer(self.hf.transformer.ln_f, at, change))[:, -1]


class Vit:
    def __init__(self, hf: Any) -> None:
        self.hf, self.blocks = hf, [m for m in hf.modules() if type(m).__name__ == "ViTLayer"]

    def down(self, layer: int) -> Tensor:
        return _named(self.blocks[layer], ("output.dense", "mlp.fc2"), last=True).weight.T

    def attended(self, layer: int, at: Tensor, pattern: Tensor, change: Tensor) -> Tensor:
        own = self.blocks[layer]
        W_V = _named(own, ("value", "v_proj")).weight
        W_O = _named(own, ("attention.output.dense", "o_proj")).weight
        v = (frozen_layer(own.layernorm_before, at, change) @ W_V.T).unflatten(-1, (4, -1))
        return torch.einsum("bhqk,bkhe->bqhe", pattern, v).flatten(2) @ W_O.T

    def read(self, at: Tensor, change: Tensor) -> Tensor:
        norm = _named(self.hf, ("vit.layernorm",))
        return (frozen_layer(norm, at, change)[:, 0]) @ self.hf.classifier.weight.T


def _named(module: Any, ends: tuple[str, ...], last: bool = False) -> Any:
    found = [m for name, m in module.named_modules() if name.endswith(ends)]
    return found[-1 if last else 0]


def by_hand(weights: Any, run: Any, layer: int, n_layers: int, change: Tensor) -> Tensor:
    """What a change of the stream behind `layer` [batch pos d] does through the attention of each later layer, one at a time."""
    total = torch.zeros(())
    for later in range(layer + 1, n_layers):
        added = weights.attended(later, run[f"resid_pre.{later}"], run[f"pattern.{later}"], change)
        total = total + weights.read(run[f"resid_post.{n_layers - 1}"], added)
    return total


CASES = {
    "llama": (lambda: double(tiny("llama", num_hidden_layers=3)), Llama, IDS),
    "gpt2": (lambda: double(tiny("gpt2", n_layer=3)), Gpt2, IDS),
    "vit": (lambda: double(made("ViT-tall")), Vit, None),
}


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_every_neuron_is_its_change_through_frozen_heads(name: str) -> None:
    make, kind, ids = CASES[name]
    model = make()
    given = ids if ids is not None else seen(model.hf)
    weights, n = kind(model.hf), model.layout.n_layers  # type: ignore[operator]
    run = model.run(given, reads=["resid_pre", "resid_post", "pattern", "mlp_post.0", "mlp_out.0"])
    found = interp.second_order(model, given, 0, outputs=[0, 1])
    for neuron in (0, 7, 31):
        change = run["mlp_post.0"][..., neuron, None] * weights.down(0)[neuron]
        wanted = by_hand(weights, run, 0, n, change)[:, :2]
        np.testing.assert_allclose(found.per_example[:, neuron], wanted, rtol=1e-9, atol=1e-12)
    wanted = by_hand(weights, run, 0, n, run["mlp_out.0"])[:, :2]
    np.testing.assert_allclose(found.whole, wanted, rtol=1e-9, atol=1e-12)
    bias = run["mlp_out.0"] - run["mlp_post.0"] @ weights.down(0)
    np.testing.assert_allclose(found.bias, by_hand(weights, run, 0, n, bias)[:, :2], atol=1e-9)


def test_without_a_head_behind_it_nothing_is_carried() -> None:
    """Only what later output projections let through counts: all of them zero but for one head, whose pattern is its own."""
    model = double(tiny("gpt2"))
    with torch.no_grad():
        model.hf.transformer.h[1].attn.c_proj.weight.zero_()
    model = HookedModel(model.hf)
    assert np.abs(interp.second_order(model, IDS, 0, outputs=[3]).per_example).max() == 0


def test_a_wired_neuron_is_the_largest() -> None:
    """A neuron that writes what head a1.h2 copies into the logit of one token, and no other neuron writes anything."""
    hf = copy.deepcopy(tiny("gpt2"))
    block, head = hf.transformer.h[1], slice(16, 24)
    with torch.no_grad():
        direction = torch.randn(32, generator=torch.Generator().manual_seed(1))
        hf.transformer.h[0].mlp.c_proj.weight.mul_(1e-6)[5] = direction
        carried = torch.zeros(32, 8)
        carried[:, 0] = direction - direction.mean()
        block.attn.c_attn.weight[:, 64:96][:, head] = carried
        block.attn.c_proj.weight.zero_()[16] = hf.lm_head.weight[9]
    found = interp.second_order(HookedModel(hf), IDS, 0, outputs=[9])
    assert found.largest(k=1)[0][0] == "m0.n5"
    assert abs(found.largest(k=1)[0][1]) > 1e3 * abs(found.largest(k=2)[1][1])


def test_what_a_task_asks_is_a_difference_of_outputs() -> None:
    model, task = hooked("llama"), toy_task()
    found = interp.second_order(model, task, 0)
    pairs = task.tokenize(model.tokenizer, model.outputs)
    for i, pair in enumerate(pairs[:3]):
        apart = interp.second_order(model, list(pair.clean), 0, outputs=[*pair.answers, *pair.wrong])  # type: ignore[arg-type]
        right, wrong = np.split(apart.per_example[0], [len(pair.answers)], axis=1)
        np.testing.assert_allclose(found.per_example[i, :, 0], right.mean(1) - wrong.mean(1), atol=1e-5)
    assert found.outputs == ("answers minus wrong",)


def test_directions_are_sums_of_outputs(tmp_path: Path) -> None:
    model = hooked("gpt2")
    W = torch.zeros(1, 64)
    W[0, 4], W[0, 7] = 2.0, -1.0
    by, apart = (interp.second_order(model, IDS, 0, outputs=o) for o in (W, [4, 7]))
    np.testing.assert_allclose(by.per_example[..., 0], apart.per_example @ [2.0, -1.0], atol=1e-5)
    one = interp.second_order(model, IDS, 0, outputs=[4, 7], batch_size=1)
    np.testing.assert_allclose(one.per_example, apart.per_example, atol=1e-5)
    apart.save(tmp_path / "x.parquet")
    back = SecondOrder.load(tmp_path / "x.parquet")
    assert json.loads(json.dumps(back.to_dict()))["rows"][1]["effect"] == apart.mean[0, 1]
    assert back.to_pandas().equals(apart.to_pandas()) and back.largest("<7>", 3) == apart.largest("<7>", 3)


def test_what_cannot_be_asked() -> None:
    model = hooked("gpt2")
    for layer, outputs, error, why in (
        (1, [0], SiteError, "layer 1: no attention is behind it"),
        (5, [0], SiteError, "layer 5"),
        (0, None, TaskError, "name those"),
        (0, [64], TaskError, "0 to 63"),
        (0, [], TaskError, "none given"),
        (0, ["cat"], TaskError, "expected one"),
        (0, torch.zeros(2, 3), TaskError, "directions"),
        (0, torch.full((1, 64), torch.nan), TaskError, "finite"),
    ):
        with pytest.raises(error, match=why):
            interp.second_order(model, IDS, layer, outputs=outputs)  # type: ignore[arg-type]
    with pytest.raises(LayoutError, match="act on the sums"):
        interp.second_order(encoder("bert-mlm", wordpiece()), "the [MASK] sat", 0, outputs=["cat"])
    with pytest.raises(TaskError, match="0 masks in a text"):
        interp.second_order(encoder("by-hand-before", wordpiece()), "the cat sat", 0, outputs=["cat"])
    classes = HookedModel(made("ViT-tall"))
    with pytest.raises(InterpError, match="LABEL_0"):
        interp.second_order(classes, seen(classes.hf), 0, outputs=["LABEL_9"])
    assert interp.second_order(classes, seen(classes.hf), 0).outputs == ("LABEL_0", "LABEL_1")
