"""Loading: what is accepted, what is refused, and that nothing is fetched or unpickled."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import torch

import interp
from interp.errors import InterpError, LoadError, SiteError, TaskError
from tests.interp.model.tiny import tiny


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_dtype_by_name(dtype: str) -> None:
    assert interp.load("demo", dtype=dtype).dtype == getattr(torch, dtype)


def test_transformer_lens_models_are_refused_with_advice() -> None:
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    config = HookedTransformerConfig(n_layers=1, d_model=8, n_ctx=8, d_head=4, d_vocab=10, act_fn="relu", n_heads=2)
    with pytest.raises(LoadError, match="pass that model itself"):
        interp.load(HookedTransformer(config))


def test_training_mode_is_refused() -> None:
    with pytest.raises(LoadError, match="eval"):
        interp.load(tiny("gpt2").train())


@pytest.mark.parametrize("wrong", [3, None, torch.ones(2)])
def test_other_objects_are_refused(wrong: Any) -> None:
    with pytest.raises(LoadError, match="expected"):
        interp.load(wrong)


def test_dtype_and_device_belong_to_names() -> None:
    with pytest.raises(LoadError, match=r"model\.to"):
        interp.load(tiny("gpt2"), dtype="float64")


def test_a_name_is_never_looked_up_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(LoadError, match="hf:ORG/NAME"):
        interp.load("gpt2")
    assert interp.load("demo").layout.n_layers >= 4


def test_a_subclass_is_laid_out_like_its_base() -> None:
    model = tiny("llama")
    model.__class__ = type("MyLlama", (type(model),), {})
    assert interp.load(model).run([3, 4, 5], reads=["z"])["z.0"].shape[1] == 3


def test_a_model_without_tokeniser_takes_ids_and_says_why_not_text() -> None:
    model = interp.load(tiny("llama"))
    assert model.run([3, 4, 5]).logits.shape[:2] == (1, 3)
    assert model.text_of(7) == "<7>"
    with pytest.raises(TaskError, match="tokenizer="):
        model.run("some text")


@pytest.mark.parametrize("bad", [torch.tensor([[0.5]]), torch.tensor([]), [], torch.tensor([[10**6]]), [-1]])
def test_bad_tokens(bad: Any) -> None:
    with pytest.raises(InterpError):
        interp.load(tiny("llama")).run(bad)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resid_pr", "resid_pre"),
        ("z.99", "layers 0 to"),
        ("blocks.0.attn.hook_zz", "hook_z"),
        ("embed.0", "unknown site"),
        ("hook_embed", "one site here"),
        ("blocks.0.attn.hook_q", "hook_rot_q"),
    ],
)
def test_misspelt_sites_list_the_near_ones(name: str, says: str) -> None:
    with pytest.raises(SiteError, match=says):
        interp.load(tiny("llama")).run([3, 4], reads=[name])


def test_aliases_of_transformer_lens_read_the_same_tensor() -> None:
    model = interp.load(tiny("gpt2"))
    for ours, theirs in (
        ("z.1", "blocks.1.attn.hook_z"),
        ("resid_mid.0", "blocks.0.hook_resid_mid"),
        ("q.0", "blocks.0.attn.hook_q"),
    ):
        run = model.run([3, 4, 5], reads=[ours])
        assert run[theirs] is run[ours]


def test_parts_of_a_character_look_different() -> None:
    class Bytes:
        """A tokeniser whose tokens 0 and 1 are halves of a character."""

        def decode(self, ids: list[int]) -> str:
            return {0: "\ufffd", 1: "\ufffd", 2: " a"}[ids[0]]

        def convert_ids_to_tokens(self, i: int) -> str:
            return {0: "Ã", 1: "©", 2: "Ġa"}[i]

    model = interp.load("demo")
    model = interp.HookedModel(model.hf, Bytes())
    assert [model.text_of(i) for i in range(3)] == ["<0>", "<1>", " a"]
