"""Reads and edits in encoder-decoders and two towers: bit for bit what the model computes by itself, in every stack."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from interp.model.edits import Edit, patch, zero
from interp.rules.rules import GRADIENT, RELP, RELP_AH
from tests.interp.model.plain import close, state
from tests.interp.model.several.made import (
    AROUND,
    BART,
    CLIP,
    NAMES,
    PAIRS,
    STACKS,
    T5,
    TOWERS,
    WHISPER,
    given,
    known,
    output,
)

every = pytest.mark.parametrize("name", NAMES)


@every
def test_every_site_is_read_and_edited_without_a_trace(name: str) -> None:
    """Under every rule set the output stays that of the model, and an edit that changes nothing changes nothing."""
    model, inputs = known(name), given(name)
    expected, before = output(model.hf, inputs), state(model.hf)
    for rules in (GRADIENT, RELP, RELP_AH):
        run = model.run(inputs, reads=model.sites(), rules=rules, allow_unsupported=name == "SigLIP")
        assert torch.equal(run.logits, expected), rules.describe()
        embeds = [run[f"{stack}embed"] for stack in STACKS[name]]
        for gradient in torch.autograd.grad(run.logits.square().sum(), embeds):
            assert bool(torch.isfinite(gradient).all()) and bool(gradient.any())
    with torch.no_grad():
        for site in model.sites():
            assert torch.equal(model.run(inputs, edits=[Edit(site, lambda x: x.clone())]).logits, expected), site
    assert state(model.hf) == before


@every
@torch.no_grad()
def test_an_edit_of_every_site_changes_the_output(name: str) -> None:
    """So that the identity edits above reach something, each stack its own."""
    model, inputs = known(name), given(name)
    expected = output(model.hf, inputs)

    def turned(x: Tensor) -> Tensor:
        return x + torch.randn(x.shape, generator=torch.Generator().manual_seed(3))

    for site in model.sites():
        changed = model.run(inputs, edits=[Edit(site, turned)]).logits
        assert float((changed - expected).abs().max()) > 1e-3, site


@every
@torch.no_grad()
def test_everything_of_another_run_gives_its_output(name: str) -> None:
    """A cut through all stacks is the other run; of one stack alone it is neither."""
    model, one, other = known(name), given(name), given(name, seed=2)
    expected, run = output(model.hf, other), model.run(other, reads=model.sites())
    assert float((expected - output(model.hf, one)).abs().max()) > 1e-2
    for kind in ("embed", "resid_post.0", "resid_post.1", "resid_final"):
        cut = [f"{stack}{kind}" for stack in STACKS[name]]
        patched = model.run(one, edits=[patch(site, run[site]) for site in cut]).logits
        assert torch.equal(patched, expected), kind
        if kind == "embed":
            for site in cut:
                half = model.run(one, edits=[patch(site, run[site])]).logits
                assert float((half - expected).abs().max()) > 1e-3, site


@every
@torch.no_grad()
def test_the_streams_are_what_the_equations_say(name: str) -> None:
    """What is added, and norms around the sums called by hand."""
    model, inputs = known(name), given(name)
    run = model.run(inputs, reads=model.sites())
    for stack in model.layout.stacks:
        prefix = f"{stack.name}:" if stack.name else ""
        for layer, block in enumerate(stack.blocks):
            steps = [("attn_out", "resid_mid"), ("mlp_out", "resid_post")]
            if name in PAIRS and not stack.name:
                steps.insert(1, ("cross_out", "resid_cross"))
            x = run[f"{prefix}resid_pre.{layer}"]
            for part, (added, after) in zip(block.sublayers, steps, strict=True):
                assert (part.around is not None) == (name in AROUND)
                x = x + run[f"{prefix}{added}.{layer}"]
                x = model.hf.get_submodule(part.around)(x) if part.around else x
                close(run[f"{prefix}{after}.{layer}"], x)
                x = run[f"{prefix}{after}.{layer}"]
            if layer:
                assert torch.equal(run[f"{prefix}resid_pre.{layer}"], run[f"{prefix}resid_post.{layer - 1}"])


# ---------------------------------------------------------------- facts typed by hand


_PATHS = {
    T5: ("encoder.block.{}", "decoder.block.{}", "layer.0.SelfAttention", "layer.1.EncDecAttention", "layer.2.DenseReluDense.wo"),
    BART: ("model.encoder.layers.{}", "model.decoder.layers.{}", "self_attn", "encoder_attn", "fc2"),
    WHISPER: ("model.encoder.layers.{}", "model.decoder.layers.{}", "self_attn", "encoder_attn", "fc2"),
    "ViT-GPT2": ("encoder.layers.{}", "decoder.transformer.h.{}", "attn", "crossattention", "mlp.c_proj"),
}  # fmt: skip


@pytest.mark.parametrize("name", _PATHS)
def test_the_layout_of_an_encoder_decoder_is_what_its_source_says(name: str) -> None:
    above, below, attends, crosses, down = _PATHS[name]
    layout = known(name).layout
    assert [(stack.name, stack.n_layers, stack.causal, stack.crosses) for stack in layout.stacks] == [
        ("encoder", 2, False, False),
        ("", 2, True, True),
    ]
    assert [block.path for block in layout.others[0].blocks] == [above.format(i) for i in range(2)]
    for i, block in enumerate(layout.blocks):
        assert block.path == below.format(i) and not block.parallel and block.middle and block.crossed
        assert block.cross is not None
        assert (block.attn.module, block.cross.module) == (f"{block.path}.{attends}", f"{block.path}.{crosses}")
        assert block.mlp.down == f"{block.path}.{down}"
        place = "around" if name == BART else "pre"
        assert [part.place for part in block.sublayers] == [place] * 3
    assert layout.readout == "each" and layout.linear
    assert layout.unembed == {WHISPER: "proj_out", "ViT-GPT2": "decoder.lm_head"}.get(name, "lm_head")


@pytest.mark.parametrize("name", TOWERS)
def test_the_layout_of_two_towers(name: str) -> None:
    layout = known(name).layout
    causal = name == CLIP
    assert [(stack.name, stack.causal, stack.crosses) for stack in layout.stacks] == [
        ("vision", False, False),
        ("text", causal, False),
    ]
    for stack in layout.stacks:
        paths = [f"{stack.name}_model.encoder.layers.{i}" for i in range(2)]
        assert [block.path for block in stack.blocks] == paths
    assert layout.d_vocab == 1 and not layout.linear


# ---------------------------------------------------------------- transformers' own hidden states and attentions


def _told(model: Any, inputs: Any) -> Any:
    with torch.no_grad():
        return model(**inputs, use_cache=False, output_attentions=True, output_hidden_states=True)


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "ViT-GPT2"])
@torch.no_grad()
def test_reads_are_what_transformers_returns(name: str) -> None:
    """Its hidden states end behind the final norm; patterns are of the encoder, of the decoder, and across."""
    model, inputs = known(name), given(name)
    told, run = _told(model.hf, inputs), model.run(inputs, reads=model.sites())
    for layer in range(2):
        assert torch.equal(run[f"encoder:pattern.{layer}"], told.encoder_attentions[layer])
        assert torch.equal(run[f"pattern.{layer}"], told.decoder_attentions[layer])
        assert torch.equal(run[f"cross_pattern.{layer}"], told.cross_attentions[layer])
        assert torch.equal(run[f"encoder:resid_pre.{layer}"], told.encoder_hidden_states[layer])
        assert torch.equal(run[f"resid_pre.{layer}"], told.decoder_hidden_states[layer])
    n, below = run["encoder:embed"].shape[1], inputs["decoder_input_ids"].shape[1]
    assert run["cross_pattern.0"].shape == (2, 4, below, n)
    assert torch.equal(model.encode(inputs), told.encoder_last_hidden_state)


@pytest.mark.parametrize("name", PAIRS)
@torch.no_grad()
def test_cross_patterns_make_z_of_the_encoder(name: str) -> None:
    """z = pattern . v, and keys and values have the encoder's positions: k = W_K of what the encoder gives."""
    model, inputs = known(name), given(name)
    run, encoded = (
        model.run(inputs, reads=["cross_pattern", "cross_v", "cross_z", "cross_k", "cross_q"]),
        model.encode(inputs),
    )
    for layer in range(2):
        z = torch.einsum("bhqk,bkhd->bqhd", run[f"cross_pattern.{layer}"], run[f"cross_v.{layer}"])
        close(z, run[f"cross_z.{layer}"])
        assert run[f"cross_k.{layer}"].shape[:2] == encoded.shape[:2]
        block = model.layout.blocks[layer]
        assert block.cross is not None
        module = model.hf.get_submodule(block.cross.module)
        if (matrix := getattr(module, "v_proj", getattr(module, "v", None))) is not None:
            assert torch.equal(matrix(encoded).view(run[f"cross_v.{layer}"].shape), run[f"cross_v.{layer}"])


@pytest.mark.parametrize("name", PAIRS)
@torch.no_grad()
def test_a_decoder_alone_is_the_decoder(name: str) -> None:
    model, inputs = known(name), given(name)
    encoded, expected = model.encode(inputs), output(model.hf, inputs)
    assert model.encoded_width == encoded.shape[-1]
    assert torch.equal(model.run(inputs, encoded=encoded).logits, expected)
    assert float((model.run(inputs, encoded=-encoded).logits - expected).abs().max()) > 1e-2
    other = {**given(name, seed=2), "decoder_input_ids": inputs["decoder_input_ids"]}
    assert torch.equal(model.run(other, encoded=encoded).logits, expected), "what is encoded counts, not what is read"


@pytest.mark.parametrize("name", PAIRS)
@torch.no_grad()
def test_logits_of_some_tokens_are_those_of_all(name: str) -> None:
    """Also where the stream is scaled before the unembedding reads it (T5)."""
    model, inputs, tokens = known(name), given(name), torch.tensor([5, 3, 40])
    close(model.run(inputs, vocabulary=tokens).logits, output(model.hf, inputs)[..., tokens])
    close(model.run(inputs, vocabulary=tokens, logits_to_keep=1).logits, output(model.hf, inputs)[:, -1:, tokens])


@pytest.mark.parametrize("name", PAIRS[:2])
@torch.no_grad()
def test_one_head_of_every_attention_is_edited(name: str) -> None:
    """Of both stacks and across, as a change of that head's part alone."""
    model, x = known(name), given(name)
    own = [f"{site}.0" for site in model.sites() if site.endswith(("z", "pattern"))]
    assert {"z.0", "encoder:z.0", "cross_z.0", "cross_pattern.0"} <= {*own}
    reads = model.run(x, reads=own)
    for site in own:
        changed = reads[site].clone()
        changed[(slice(None), *([slice(None)] * site.endswith("z.0")), 1)] = 0.0
        off = model.run(x, reads=[site], edits=[zero(site, heads=1)])
        assert torch.equal(off[site], changed) and not torch.equal(off.logits, reads.logits)
        assert torch.equal(model.run(x, edits=[patch(site, changed)]).logits, off.logits)
