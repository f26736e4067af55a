"""A live model whose weights cannot be used is refused by their names: not in memory, closed to gradients, not numbers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from interp.errors import LoadError
from interp.model.model import HookedModel
from tests.interp.model.tiny import ids, tiny


def set_(model: Any, name: str, value: float) -> Any:
    with torch.no_grad():
        model.get_parameter(name).view(-1)[0] = value
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "name", ["model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
)
def test_a_weight_that_is_no_number_is_named(name: str, value: float) -> None:
    with pytest.raises(LoadError, match=f"not finite.*: {name}"):
        HookedModel(set_(tiny("llama"), name, value))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_in_every_precision(dtype: torch.dtype) -> None:
    model = tiny("llama", dtype=dtype)
    HookedModel(model)
    with pytest.raises(LoadError, match="not finite"):
        HookedModel(set_(model, "model.layers.0.self_attn.q_proj.weight", float("nan")))


def test_a_token_may_be_banned_by_an_infinite_bias() -> None:
    model = tiny("phi")
    model.lm_head.bias.data[3] = -float("inf")
    assert HookedModel(model).run([4, 5]).logits[..., 3].isneginf().all()
    model.lm_head.bias.data[3] = float("nan")
    with pytest.raises(LoadError, match=r"lm_head\.bias"):
        HookedModel(model)


def test_many_names_are_counted() -> None:
    model = tiny("llama")
    for p in model.parameters():
        p.data.fill_(float("nan"))
    n = len(list(model.parameters()))
    with pytest.raises(LoadError, match=rf"weights \({n}\).*and {n - 4} more"):
        HookedModel(model)


def test_numbers_that_overflow_name_the_block_and_what_to_do() -> None:
    model = tiny("llama", dtype=torch.float16)
    model.model.layers[1].mlp.down_proj.weight.data.fill_(6e4)
    with pytest.raises(LoadError, match=r"model\.layers\.1.*float32"):
        HookedModel(model)


def test_weights_made_in_inference_mode_are_refused_and_a_copy_works() -> None:
    with torch.inference_mode():
        model = tiny("llama")
    with pytest.raises(LoadError, match=r"inference_mode.*copy\.deepcopy"):
        HookedModel(model)
    plain, copied = HookedModel(tiny("llama")), HookedModel(copy.deepcopy(model))
    assert torch.equal(plain.run(ids()).logits, copied.run(ids()).logits)


def test_one_such_weight_or_buffer_is_enough() -> None:
    model = tiny("llama")
    with torch.inference_mode():
        model.model.norm.weight = nn.Parameter(torch.ones(32), requires_grad=False)
    with pytest.raises(LoadError, match=r"inference_mode.*: model\.norm\.weight"):
        HookedModel(model)
    model = HookedModel(tiny("llama")).hf
    with torch.inference_mode():
        scale = torch.full((32,), 2.0)
    handle = model.model.norm.register_forward_hook(lambda m, a, y: y * scale)
    with pytest.raises(LoadError, match="inference_mode"):
        HookedModel(model)
    handle.remove()
    HookedModel(model)


def test_an_edit_with_such_a_tensor_is_refused_with_what_to_do() -> None:
    import interp

    model = HookedModel(tiny("llama"))
    with torch.inference_mode():
        v = torch.ones(32)
    with pytest.raises(LoadError, match=r"inference_mode.*clone"):
        model.run([3, 4], edits=[interp.Edit("resid_post.0", lambda x: x * v)])
    with torch.no_grad():
        model.run([3, 4], edits=[interp.Edit("resid_post.0", lambda x: x * v)])


def test_weights_that_were_never_loaded_are_refused() -> None:
    with torch.device("meta"):
        model = tiny_on_meta()
    with pytest.raises(LoadError, match="'meta'"):
        HookedModel(model)
    model = tiny("llama")
    model.model.layers[1].mlp.to("meta")
    with pytest.raises(LoadError, match=r"\(3\).*'meta'.*layers\.1\.mlp"):
        HookedModel(model)


def tiny_on_meta() -> Any:
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM(tiny("llama").config).eval()


@pytest.mark.parametrize("where", ["cpu", "disk"])
def test_offloaded_weights_are_refused(where: str, tmp_path: Any) -> None:
    accelerate = pytest.importorskip("accelerate")
    model = tiny("llama")
    if where == "cpu":
        accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    else:
        accelerate.disk_offload(model, str(tmp_path), execution_device=torch.device("cpu"))
    model(ids())  # it runs by itself
    with pytest.raises(LoadError, match="offload"):
        HookedModel(model)


def test_a_part_left_in_training_mode_is_refused_where_it_drops() -> None:
    model = tiny("gpt2")
    model.transformer.h[0].mlp.dropout = nn.Dropout(0.5)
    with pytest.raises(LoadError, match=r"h\.0\.mlp\.dropout.*eval"):
        HookedModel(model)
    model.transformer.h[0].mlp.dropout = nn.Dropout(0.0)
    HookedModel(model)
    model = tiny("llama", attention_dropout=0.2)
    model.model.layers[0].self_attn.train()
    with pytest.raises(LoadError, match=r"self_attn.*eval"):
        HookedModel(model)


def test_weights_put_in_after_loading_are_refused_by_their_names_and_nothing_is_left() -> None:
    model = HookedModel(tiny("llama"))
    own = model.hf.lm_head.weight
    with torch.inference_mode():
        model.hf.lm_head.weight = nn.Parameter(own.clone())
    with pytest.raises(LoadError, match=r"inference_mode.*: lm_head\.weight"):
        model.run(ids())
    model.hf.lm_head.weight = nn.Parameter(own.detach().to("meta"))
    with pytest.raises(LoadError, match=r"'meta' device.*: lm_head\.weight"):
        model.run(ids(), vocabulary=torch.tensor([3]))
    model.hf.lm_head.weight = own
    assert torch.equal(model.run(ids()).logits, HookedModel(tiny("llama")).run(ids()).logits)
    assert own.requires_grad
