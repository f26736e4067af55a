"""Decoders of transformers that keep less of the stream or add more to it: tiny ones with multipliers far from neutral, and what they compute."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import pytest
import torch
import transformers
from torch import Tensor

from interp.errors import LayoutError
from interp.model.edits import Edit, add, patch
from interp.model.model import HookedModel
from interp.parts.block_layout import BlockLayout
from interp.parts.sites import Site
from interp.rules.rules import RELP_AH
from tests.interp.model.plain import close
from tests.interp.model.tiny import ids, randomise
from tests.interp.rules.float64 import true_float64

_SIZES: Final = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_MAMBA: Final = {"mamba_n_heads": 4, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_d_head": 16, "mamba_chunk_size": 8}
_GEMMA4: Final = {
    "head_dim": 8, "global_head_dim": 8, "num_global_key_value_heads": 2, "hidden_size_per_layer_input": 0, "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention"], "final_logit_softcapping": None,
}  # fmt: skip
_FEW: Final = {"moe_intermediate_size": 16, "num_experts_per_tok": 2, "num_experts": 4}
#: Class, type of model and what differs from the common sizes.
CLASSES: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "Beam": ("BeamForCausalLM", "beam", {**_FEW, "head_dim": 8, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"], "n_group": 1, "topk_group": 1, "mlp_layer_types": ["dense", "sparse"]}),
    "Doge": ("DogeForCausalLM", "doge", {"keep_window_size": 4}),
    "Falcon H1": ("FalconH1ForCausalLM", "falcon_h1", {**_MAMBA, "mamba_d_ssm": 64, "attention_out_multiplier": 0.7, "attention_in_multiplier": 0.5, "ssm_out_multiplier": 0.4, "mlp_multipliers": [0.6, 1.3]}),
    "Granite 4": ("GraniteMoeHybridForCausalLM", "granitemoehybrid", {**_MAMBA, "shared_intermediate_size": 48, "num_local_experts": 4, "num_experts_per_tok": 2, "layer_types": ["mamba", "attention"], "residual_multiplier": 0.22, "position_embedding_type": None}),
    "GPT-NeoX Japanese": ("GPTNeoXJapaneseForCausalLM", "gpt_neox_japanese", {"intermediate_multiple_size": 4}),
    "MiniMax": ("MiniMaxForCausalLM", "minimax", {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "block_size": 8, "layer_types": ["full_attention", "linear_attention"], "full_attn_alpha_factor": 3.5, "linear_attn_alpha_factor": 2.5, "mlp_alpha_factor": 1.5, "mlp_beta_factor": 0.5}),
    "Gemma 4": ("Gemma4ForCausalLM", "gemma4_text", _GEMMA4),
    "Gemma 4, experts": ("Gemma4ForCausalLM", "gemma4_text", {**_GEMMA4, "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 16}),
    "RWKV": ("RwkvForCausalLM", "rwkv", {"attention_hidden_size": 32, "context_length": 64}),
    "Inkling": ("InklingForCausalLM", "inkling_text", {"head_dim": 8, "swa_head_dim": 8, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "sliding_window_size": 4, "layer_types": ["hybrid_sliding", "hybrid"], "mlp_layer_types": ["sparse", "dense"]}),
}  # fmt: skip
every = pytest.mark.parametrize("name", CLASSES)


def made(name: str) -> Any:
    """A tiny random model; its buffers are random too."""
    cls, model_type, changes = CLASSES[name]
    torch.manual_seed(0)
    config = transformers.CONFIG_MAPPING[model_type](**{**_SIZES, **changes})
    model = getattr(transformers, cls)(config)
    randomise(model)
    for i, (_, level) in enumerate(x for x in model.named_buffers() if x[0].endswith("layer_scalar")):
        level.fill_(0.6 + 0.3 * i)
    model.set_attn_implementation("eager")
    return model.eval()


@cache
def hooked(name: str) -> HookedModel:
    return HookedModel(made(name), name=name)


def _held(model: HookedModel, path: str | None) -> Tensor | float:
    if path is None:
        return 1.0
    module, _, name = path.rpartition(".")
    return getattr(model.hf.get_submodule(module), name).detach()  # type: ignore[no-any-return]


_SAID: Final[dict[str, Callable[[BlockLayout], Any]]] = {
    "Beam": lambda b: (round(b.attn.keep**2, 5), round(b.attn.scale**2, 5)),
    "Doge": lambda b: (b.attn.keeper, b.mlp.keeper),
    "Falcon H1": lambda b: (b.attn.scale, b.further["mixer_out"].scale, b.mlp.down, b.mlp.scale),
    "Granite 4": lambda b: (b.attn.scale, b.further["second_mlp_out"].scale, b.mlp.scale, b.mlp.module),
    "GPT-NeoX Japanese": lambda b: (b.attn.bias,),
    "MiniMax": lambda b: (b.first, b.attn.keep, b.attn.around, b.mlp.keep, b.mlp.scale),
    "Gemma 4": lambda b: (b.mlp.keeper, b.mlp.gain, b.attn.keeper, b.mlp.writer),
    "Gemma 4, experts": lambda b: (b.mlp.keeper, b.mlp.gain, b.mlp.module, b.mlp.writer),
    "RWKV": lambda b: (b.first, b.attn.module, b.attn.heads, b.mlp.module),
    "Inkling": lambda b: (b.attn.place, b.attn.writer, b.mlp.place, b.mlp.writer),
}
_IS: Final[dict[str, tuple[Any, ...]]] = {
    "Beam": ((0.5, 0.5), (0.75, 0.25)),
    "Doge": tuple((f"model.layers.{i}.input_residual", f"model.layers.{i}.post_attention_residual") for i in (0, 1)),
    "Falcon H1": ((0.7, 0.4, None, 1.0),) * 2,
    "Granite 4": tuple((0.22, 0.22, 0.22, f"model.layers.{i}.shared_mlp") for i in (0, 1)),
    "GPT-NeoX Japanese": ((None,), ("gpt_neox_japanese.layers.1.attention.dense_bias",)),
    "MiniMax": tuple((f"model.layers.{i}.input_layernorm", a, f"model.layers.{i}.post_attention_layernorm", 1.5, 0.5) for i, a in ((0, 3.5), (1, 2.5))),
    "Gemma 4": tuple((f"model.layers.{i}.layer_scalar", f"model.layers.{i}.layer_scalar", None, f"model.layers.{i}.post_feedforward_layernorm") for i in (0, 1)),
    "Gemma 4, experts": tuple((f"model.layers.{i}.layer_scalar", f"model.layers.{i}.layer_scalar", f"model.layers.{i}", f"model.layers.{i}.post_feedforward_layernorm") for i in (0, 1)),
    "RWKV": tuple(("rwkv.blocks.0.pre_ln" if i == 0 else None, f"rwkv.blocks.{i}.attention", False, f"rwkv.blocks.{i}.feed_forward") for i in (0, 1)),
    "Inkling": tuple(("mixed", f"model.layers.{i}.attn_sconv", "mixed", f"model.layers.{i}.mlp_sconv") for i in (0, 1)),
}  # fmt: skip


@every
def test_the_layout_says_what_the_source_says(name: str) -> None:
    for block, expected in zip(hooked(name).layout.blocks, _IS[name], strict=True):
        for found, own in zip(_SAID[name](block), expected, strict=True):
            assert found == (pytest.approx(own, rel=1e-5) if isinstance(own, float) else own), block.path


@every
@torch.no_grad()
def test_every_site_is_read_and_edited_without_a_trace(name: str) -> None:
    model, hf = hooked(name), made(name)
    expected = hf(input_ids=ids(), use_cache=False).logits
    assert torch.equal(model.run(ids(), reads=model.sites()).logits, expected)
    for kind in model.sites():
        edits = [Edit(site, lambda x: x) for site in model.resolve(kind)]
        assert torch.equal(model.run(ids(), edits=edits).logits, expected), kind


@every
@torch.no_grad()
def test_the_stream_is_the_sum_that_the_layout_says(name: str) -> None:
    """Behind a block: what is kept of the stream and what its parts add, in the order in which the layout has them."""
    model = hooked(name)
    run = model.run(ids(), reads=model.sites())
    for layer, block in enumerate(model.layout.blocks):
        x = run[Site("resid_pre", layer)]
        x = x if block.first is None else model.hf.get_submodule(block.first)(x)
        for part, kinds in ((block.attn, ("attn_out", "mixer_out")), (block.mlp, ("second_mlp_out", "mlp_out"))):
            added = sum(run[Site(kind, layer)] for kind in kinds if f"{kind}" in model.sites())
            x = x * part.keep * _held(model, part.keeper) + added
            x = x if part.around is None else model.hf.get_submodule(part.around)(x)
            if part is block.attn and "resid_mid" in model.sites():
                close(x, run[Site("resid_mid", layer)], 2e-5)
        close(x, run[Site("resid_post", layer)], 2e-5)


@every
@torch.no_grad()
def test_the_stream_of_another_run_gives_its_output(name: str) -> None:
    model = hooked(name)
    one, other = ids(2, 7), ids(2, 7, seed=2)
    kinds = [kind for kind in ("embed", "resid_pre", "resid_mid", "resid_post", "resid_final") if kind in model.sites()]
    run = model.run(other, reads=kinds)
    assert not torch.allclose(run.logits, model.run(one).logits)
    for site, value in run.reads.items():
        assert torch.equal(model.run(one, edits=[patch(site, value)]).logits, run.logits), site


@every
@torch.no_grad()
def test_a_vector_at_the_mlp_is_that_vector_on_the_stream(name: str) -> None:
    model, vector = hooked(name), torch.linspace(-1, 1, 32)
    last = model.layout.blocks[-1].mlp
    found = model.run(ids(), edits=[add("mlp_out.1", vector)]).logits
    assert last.around is None
    close(found, model.run(ids(), edits=[add("resid_post.1", vector)]).logits, 2e-5)


@pytest.mark.parametrize("name", ["Gemma 4", "Gemma 4, experts"])
def test_relp_conserves_or_is_refused_by_name(name: str) -> None:
    with true_float64():
        hf = made(name).double()
        hf.set_experts_implementation("eager")  # torch has no grouped products in float64
        model = HookedModel(hf)
        unsupported = {row.path for row in model.coverage(RELP_AH).unsupported}
        if name != "Gemma 4":
            assert "model.layers.0" in unsupported  # two MLPs behind one norm are no module of their own
            return
        assert not unsupported
        run = model.run(ids(), reads=["embed", "resid_pre", "resid_mid"], rules=RELP_AH)
        m = run.logits[:, -1, 7] - run.logits[:, -1, 11]
        cuts = list(run.reads.values())
        for x, rho in zip(cuts, torch.autograd.grad(m.sum(), cuts), strict=True):
            assert torch.allclose((x * rho).sum((1, 2)), m, rtol=1e-9, atol=0)


def test_what_stands_between_blocks_is_named() -> None:
    """RWKV halves its stream every so many blocks, where it is not told to leave that."""
    torch.manual_seed(0)
    sizes = {**_SIZES, **CLASSES["RWKV"][2], "num_hidden_layers": 3}
    halved, whole = (
        transformers.RwkvForCausalLM(transformers.RwkvConfig(**sizes, rescale_every=n)).eval() for n in (2, 0)
    )
    with pytest.raises(LayoutError, match=r"rwkv\.blocks\.2: it reads 0\.5 times the output of rwkv\.blocks\.1"):
        HookedModel(halved)
    assert HookedModel(whole).layout.n_layers == 3
