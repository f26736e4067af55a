"""Models of images and sound, site by site, against the models themselves."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.parts.outputs import Output
from interp.rules.rules import PRESETS
from tests.interp.model.vision.made import NAMES, made, seen


@cache
def hooked(name: str) -> HookedModel:
    return HookedModel(made(name))


def _plain(model: HookedModel, inputs: Mapping[str, Tensor], **options: Any) -> Any:
    with torch.no_grad():
        return model.hf(**inputs, **options)


def _wanted(model: HookedModel, inputs: Mapping[str, Tensor]) -> Tensor:
    result = _plain(model, inputs)
    names = ("logits", "image_embeds", "last_hidden_state")
    found = next(result[name] for name in names if name in result)
    return found if found.ndim == 3 else found[:, None]


@pytest.mark.parametrize("name", NAMES)
def test_every_site_is_read_and_given_back_bit_for_bit(name: str) -> None:
    model = hooked(name)
    inputs = seen(model.hf)
    want = _wanted(model, inputs)
    assert not model.missing_sites()
    run = model.run(inputs, reads=model.sites())
    assert torch.equal(run.logits, want)
    for site in model.sites():
        given_back = model.run(inputs, edits=[Edit(site, lambda x: x.clone())]).logits
        changed = model.run(inputs, edits=[Edit(site, lambda x: 1.5 * x + 0.1)]).logits
        assert torch.equal(given_back, want), site
        assert not torch.equal(changed, want), site


@pytest.mark.parametrize("name", NAMES)
def test_rules_cover_the_model_and_leave_its_forward(name: str) -> None:
    model = hooked(name)
    inputs = seen(model.hf)
    want = _wanted(model, inputs)
    for preset in ("gradient", "relp", "relp-ah"):
        rules = PRESETS[preset].rules
        assert not model.coverage(rules).unsupported
        with torch.enable_grad():
            run = model.run(inputs, reads=["embed"], rules=rules)
            (grad,) = torch.autograd.grad(run.logits.sum(), [run["embed"]])
        assert torch.equal(run.logits, want)
        assert bool(grad.any())


@pytest.mark.parametrize("name", NAMES)
def test_streams_and_patterns_are_those_of_transformers(name: str) -> None:
    model = hooked(name)
    inputs = seen(model.hf)
    result = _plain(model, inputs, output_hidden_states=True, output_attentions=True)
    run = model.run(inputs, reads=["resid_pre", "resid_post", "pattern"])
    assert len(result.hidden_states) == model.layout.n_layers + 1
    assert len(result.attentions) == model.layout.n_layers
    for layer in range(model.layout.n_layers):
        assert torch.equal(run[f"resid_pre.{layer}"], result.hidden_states[layer])
        assert torch.equal(run[f"pattern.{layer}"], result.attentions[layer])
        if layer + 1 < model.layout.n_layers:  # some classes put the final norm on the last one
            assert torch.equal(run[f"resid_post.{layer}"], result.hidden_states[layer + 1])


@pytest.mark.parametrize("name", NAMES)
def test_what_parts_add_is_what_the_stream_gains(name: str) -> None:
    model = hooked(name)
    run = model.run(seen(model.hf), reads=["resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"])
    for layer, block in enumerate(model.layout.blocks):
        for part, before, added, after in (
            (block.attn, "resid_pre", "attn_out", "resid_mid"),
            (block.mlp, "resid_mid", "mlp_out", "resid_post"),
        ):
            total = run[f"{before}.{layer}"] + run[f"{added}.{layer}"]
            with torch.no_grad():
                expected = model.hf.get_submodule(part.around)(total) if part.around else total
            assert torch.allclose(run[f"{after}.{layer}"], expected, atol=1e-5)


#: Readouts and places, from the Hugging Face sources.
FORMS = {
    "ViTForImageClassification": ("first", "pre", "edit"),
    "DeiTForImageClassification": ("first", "pre", "edit"),
    "Dinov2Model": ("each", "scaled", "edit"),
    "CLIPVisionModelWithProjection": ("first", "pre", "edit"),
    "ASTForAudioClassification": ("whole", "pre", "edit"),
    "Wav2Vec2ForCTC": ("each", "around", "edit"),
    "ViT-tall": ("first", "pre", "edit"),
    "DeiT-teacher": ("whole", "pre", "edit"),
    "DINOv2-registers": ("each", "scaled", "edit"),
    "DINOv2-swiglu": ("whole", "scaled", "edit"),
    "Wav2Vec2-stable": ("whole", "pre", "edit"),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_layout_says_where_norms_stand_and_what_is_read_in_the_end(name: str) -> None:
    layout = hooked(name).layout
    readout, place, pattern = FORMS[name]
    assert (layout.readout, layout.pattern, layout.causal) == (readout, pattern, False)
    assert {part.place for block in layout.blocks for part in (block.attn, block.mlp)} == {place}


def test_a_head_that_is_taken_out_is_the_one_that_a_hook_takes_out() -> None:
    model = hooked("ViTForImageClassification")
    inputs = seen(model.hf)
    o = model.hf.get_submodule("vit.layers.1.attention.o_proj")

    def without(module: Any, args: Any) -> Any:
        z = args[0].clone()
        z[..., 16:24] = 0
        return (z, *args[1:])

    handle = o.register_forward_pre_hook(without)
    try:
        want = _wanted(model, inputs)
    finally:
        handle.remove()

    def zeroed(z: Tensor) -> Tensor:
        z = z.clone()
        z[:, :, 2] = 0
        return z

    assert torch.equal(model.run(inputs, edits=[Edit("z.1", zeroed)]).logits, want)


def test_masks_of_sound_and_images_of_another_size_go_through() -> None:
    sound = hooked("Wav2Vec2ForCTC")
    inputs = seen(sound.hf)
    inputs["attention_mask"] = torch.ones(2, 164, dtype=torch.long)
    inputs["attention_mask"][1, 100:] = 0
    assert torch.equal(sound.run(inputs, reads=["z"]).logits, _plain(sound, inputs).logits)
    image = hooked("ViTForImageClassification")
    other = {"pixel_values": torch.randn(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))}
    switch = {**other, "interpolate_pos_encoding": True}
    run = image.run(switch, reads=["embed"])
    assert torch.equal(run.logits[:, 0], _plain(image, switch).logits)
    assert run["embed"].shape[1] == 31
    assert image.positions(switch)[:1] + image.positions(switch)[-1:] == ("CLS", "r4c5")


def test_an_edit_of_the_last_block_reaches_the_map_of_a_backbone() -> None:
    """transformers keeps what blocks return by hooks of its own; gradients go through them, and somebody else's hook keeps its place."""
    from transformers import Dinov2Backbone, Dinov2Config

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    hf = Dinov2Backbone(Dinov2Config(**sizes, mlp_ratio=2, reshape_hidden_states=False)).eval()
    model = HookedModel(hf, output=Output("map", lambda result, inputs: result.feature_maps[-1]))
    x = torch.randn(2, 1, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        own, other = (hf(x).feature_maps[-1] for x in x)
        moved = model.run(x[1], reads=["resid_post"])["resid_post.1"]
        edit = Edit("resid_post.1", lambda stream: moved)
        assert torch.equal(model.run(x[0]).logits, own)
        assert torch.equal(model.run(x[0], edits=[edit]).logits, other)
        hf.encoder.layer[1].register_forward_hook(lambda m, a, y: 2 * y)
        assert torch.equal(model.run(x[1], reads=["resid_post"])["resid_post.1"], 2 * moved)
    hf.encoder.layer[1]._forward_hooks.popitem()
    model.check_gradients()
