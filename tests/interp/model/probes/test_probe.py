"""The probe takes any vocabulary and any module, and ends in a layout or in a sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interp.errors import InterpError, LayoutError, UnsupportedRuleError
from interp.model.model import HookedModel
from interp.model.modules.linear import vocabulary_size
from interp.model.probing.sample import probe_inputs
from interp.rules.activations import recognise_activation
from interp.rules.rules import PRESETS, RELP, recognise_norm
from tests.interp.model.probes.causal_lms import MODEL_TYPES, causal_lm
from tests.interp.model.tiny import hooked, tiny


@pytest.mark.broad
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_registered_model_loads_or_is_refused_with_a_sentence(model_type: str) -> None:
    if (hf := causal_lm(model_type)) is None:
        pytest.skip(f"the recipe makes no tiny {model_type}")
    try:
        model = HookedModel(hf)
    except InterpError as error:
        assert len(str(error)) > 40
        return
    ids = torch.arange(3, 9)[None]
    with torch.no_grad():
        assert torch.equal(model.run(ids).logits, hf(input_ids=ids, use_cache=False).logits)
    for preset in PRESETS.values():
        try:
            run = model.run(ids, reads=["embed"], rules=preset.rules)
        except UnsupportedRuleError:
            continue
        (grad,) = torch.autograd.grad(run.logits.float().square().sum(), [run["embed"]])
        assert bool(torch.isfinite(grad).all())


# ---------------------------------------------------------------- vocabularies


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 64])
def test_every_vocabulary_is_probed_with_ids_that_it_has(size: int) -> None:
    special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    hf = tiny("llama", vocab_size=size, **special)
    assert vocabulary_size(hf) == size
    ids = probe_inputs(hf)["input_ids"]
    assert ids.shape == (1, 5) and 0 <= int(ids.min()) <= int(ids.max()) < size
    assert len(set(ids[0].tolist())) == min(5, max(1, size - 2)) or size < 5
    model = HookedModel(hf)
    assert model.layout.d_vocab == size
    assert torch.equal(model.run([[0] * 3]).logits, hf(input_ids=torch.zeros(1, 3, dtype=torch.long)).logits)


def test_a_model_without_a_table_of_tokens_is_refused() -> None:
    hf = tiny("llama")
    hf.get_input_embeddings = lambda: nn.Identity()
    with pytest.raises(LayoutError, match="no table of token embeddings"):
        HookedModel(hf)


# ---------------------------------------------------------------- models that do otherwise


class _Raises(nn.Module):
    def forward(self, x: Tensor, **_: Any) -> Tensor:
        raise ZeroDivisionError("no such thing")


class _Narrow(nn.Module):
    """Gives half of what it is given."""

    def forward(self, x: Tensor, **_: Any) -> Tensor:
        return x[..., : x.shape[-1] // 2]


def _failing(hf: Any) -> str:
    hf.model.layers[1].mlp = _Raises()
    return "model.layers.1.mlp|fails"


def _no_blocks(hf: Any) -> str:
    hf.model.layers = nn.ModuleList()
    return "LlamaForCausalLM: no attention was seen"


def _other_heads(hf: Any) -> str:
    wide = tiny("llama", num_attention_heads=8, num_key_value_heads=4, head_dim=8).model.layers[1].self_attn
    wide.config = hf.config
    hf.model.layers[1].self_attn = wide
    return "query heads of its layers: 4, 8"


def _narrow(hf: Any) -> str:
    hf.lm_head = _Narrow()
    hf.model.norm = nn.Sequential(hf.model.norm, nn.Flatten(2), nn.Unflatten(2, (2, -1)), nn.Flatten(1, 2))
    return "LlamaForCausalLM"


@pytest.mark.parametrize("change", [_failing, _other_heads, _no_blocks, _narrow])
def test_what_is_no_such_decoder_is_refused_with_a_sentence(change: Any) -> None:
    hf = tiny("llama")
    said = change(hf)
    with pytest.raises(LayoutError, match=said):
        HookedModel(hf)


@pytest.mark.parametrize("stated", [2, 0])
def test_heads_are_those_of_the_attention_whatever_the_configuration_says(stated: int) -> None:
    hf = tiny("llama")
    hf.config.num_attention_heads = stated
    assert HookedModel(hf).layout == hooked("llama").layout


def test_a_model_that_cannot_run_says_why() -> None:
    hf = causal_lm(
        "deepseek_v3", num_key_value_heads=2
    )  # its keys have as many heads as its queries, whatever is stated
    assert hf is not None
    with pytest.raises(LayoutError, match="a forward pass on 5 token ids fails"):
        HookedModel(hf)


@pytest.mark.parametrize("name", ["llama", "gpt_neo"])
def test_a_layout_takes_two_forwards(name: str) -> None:
    hf, calls = tiny(name), list[int]()
    with hf.register_forward_pre_hook(lambda *_: calls.append(1)):
        HookedModel(hf)
    assert len(calls) == 2 and not hf._forward_pre_hooks


# ---------------------------------------------------------------- modules


class _Wrapped(nn.Module):
    """A norm with one odd attribute."""

    def __init__(self, **odd: Any) -> None:
        super().__init__()
        for name, value in odd.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)


class _InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(torch.sigmoid(x))


CPU = torch.device("cpu")
_X = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "module",
    [
        nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False),
        nn.InstanceNorm2d(4, affine=True), nn.BatchNorm1d(4), nn.Linear(6, 3), nn.Conv2d(4, 2, 3), nn.Bilinear(6, 6, 6),
        nn.MultiheadAttention(6, 2), nn.LSTM(6, 6), nn.Flatten(), nn.Softmax(-1), nn.PReLU(4), _Raises(), nn.Embedding(4, 6),
        _Wrapped(weight=nn.Linear(2, 2)), _Wrapped(weight=nn.Parameter(torch.ones(5))), _Wrapped(bias=True),
    ],
    ids=lambda module: type(module).__name__,
)  # fmt: skip
@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_a_module_that_is_no_norm_is_not_recognised_as_one(module: nn.Module, ndim: int) -> None:
    module.eval()
    x = _X[(0,) * (4 - ndim)]
    assert recognise_norm(module, x) is None
    recognise_activation(module, CPU)  # whatever it is, no crash


def test_a_group_norm_of_one_group_over_the_last_axis_is_a_layer_norm() -> None:
    found = recognise_norm(nn.GroupNorm(1, 6), _X[0, 0])
    assert found is not None and found.centred


def test_an_activation_that_writes_into_its_input_is_recognised() -> None:
    found = recognise_activation(_InPlace(), CPU)
    assert found is not None and found.name == "silu"


class _Gated(nn.Module):
    """RMSNorm, times the gate that its model gives it."""

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)
        return y if gate is None else y * torch.sigmoid(gate)


class _WithGate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = _Gated()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x, x.roll(1, -1))


def test_a_norm_with_a_second_argument_is_no_norm() -> None:
    hf = tiny("llama")
    hf.model.layers[1].post_attention_layernorm = _WithGate()
    model = HookedModel(hf)
    assert recognise_norm(_Gated(), _X[0, 0]) is not None
    assert ("model.layers.1.post_attention_layernorm.norm", "_Gated") in [
        (row.path, row.operation) for row in model.coverage(RELP).unsupported
    ]


def test_rules_that_are_no_rules_are_refused() -> None:
    model = hooked("gpt2")
    for wrong in ("relp", None, 0.5):
        with pytest.raises(UnsupportedRuleError, match="expected a rule set"):
            model.coverage(wrong)  # type: ignore[arg-type]
        with pytest.raises(UnsupportedRuleError, match="expected a rule set"):
            model.run([1, 2], rules=wrong)  # type: ignore[arg-type]
