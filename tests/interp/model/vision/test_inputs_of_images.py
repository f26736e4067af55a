"""What a run takes that is no text: its forms, the names of its positions, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BatchFeature

from interp.errors import InterpError, LayoutError, TaskError
from interp.model.model import HookedModel
from interp.parts.named_inputs import Inputs
from tests.interp.model.tiny import hooked as text_model
from tests.interp.model.vision.made import made, seen
from tests.interp.model.vision.test_reads_of_images import hooked


def test_a_mapping_what_a_processor_returns_and_a_tensor_alone_are_the_same() -> None:
    model = hooked("ViTForImageClassification")
    inputs = seen(model.hf)
    x = inputs["pixel_values"]
    runs = [model.run(given) for given in (inputs, BatchFeature(inputs), x, x.numpy(), Inputs(inputs, "pixel_values"))]
    assert all(torch.equal(run.logits, runs[0].logits) for run in runs)
    assert torch.equal(runs[2].inputs.tensors["pixel_values"], x)
    assert len(runs[0].inputs) == 2
    with pytest.raises(TaskError, match=r"run\.inputs"):
        _ = runs[0].tokens
    with pytest.raises(TaskError, match=r"run\.tokens"):
        _ = text_model("gpt2").run([3, 4]).inputs


def test_numbers_of_another_precision_are_those_of_the_model() -> None:
    model = hooked("ViTForImageClassification")
    inputs = seen(model.hf)
    wide = {name: x.double() for name, x in inputs.items()}
    assert torch.equal(model.run(wide).logits, model.run(inputs).logits)


IMAGE = "ViTForImageClassification"
BAD: dict[str, tuple[str, Callable[[Tensor], Any], str]] = {
    "another size": (IMAGE, lambda x: x[..., :12], r"\[2, 3, 16, 12\].*row 16, column 16.*interpolate_pos_encoding=True"),
    "another number of channels": (IMAGE, lambda x: x[:, :1], r"\[2, 1, 16, 16\].*channel 3"),
    "one image without a batch": (IMAGE, lambda x: x[0], r"\[3, 16, 16\].*\[batch, channel 3"),
    "no image": (IMAGE, lambda x: x[:0], r"\[0, 3, 16, 16\]"),
    "bytes": (IMAGE, lambda x: x.to(torch.uint8), r"whole numbers \(uint8\).*multiply by 0\.00392157"),
    "not finite": (IMAGE, lambda x: x / 0, "not finite"),
    "text": (IMAGE, lambda x: "A cat.", r"'A cat\.'.*takes pixel_values.*not text"),
    "both": (IMAGE, lambda x: {"pixel_values": x, "input_ids": torch.ones(2, 3).long()}, "does not take input_ids"),
    "ids alone": (IMAGE, lambda x: {"input_ids": torch.ones(2, 3).long()}, "does not take input_ids.*pixel_values"),
    "an unknown name": (IMAGE, lambda x: {"pixel_values": x, "pixels": x}, r"does not take pixels\. Leave it out"),
    "nothing": (IMAGE, lambda x: {}, "given nothing; .* needs pixel_values"),
    "several batch sizes": (
        "Wav2Vec2ForCTC",
        lambda x: {"input_values": x, "attention_mask": torch.ones(3, 164)},
        "input_values 2, attention_mask 3",
    ),
    "pictures": (IMAGE, lambda x: {"pixel_values": [object()]}, "given list; expected a tensor"),
    "a spectrogram of another length": ("ASTForAudioClassification", lambda x: x[:, :9], r"\[2, 9, 16\].*frame 16, mel 16"),
    "too short a sound": ("Wav2Vec2ForCTC", lambda x: x[:, :9], "9 samples of sound; one frame takes 25"),
    "sound of two channels": ("Wav2Vec2ForCTC", lambda x: x[:, None], r"\[2, 1, 164\].*\[batch, sample\]"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_input_is_refused_with_a_sentence(what: str) -> None:
    name, change, said = BAD[what]
    model = hooked(name)
    (x,) = seen(model.hf).values()
    with pytest.raises(TaskError) as raised:
        model.run(change(x))
    assert re.search(said, str(raised.value)), str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_of_text_refuses_images_and_what_it_would_leave_out() -> None:
    model = text_model("gpt2")
    ids = torch.tensor([[3, 4, 5]])
    for given, said in (
        ({"pixel_values": torch.randn(1, 3, 4, 4)}, "given pixel_values; .* takes text"),
        ({"input_ids": ids, "pixel_values": torch.randn(1, 3, 4, 4)}, "given pixel_values; "),
        ({"input_ids": ids, "token_type_ids": torch.tensor([[0, 0, 1]])}, "given token_type_ids; "),
        (Inputs({"pixel_values": torch.randn(1, 3, 4, 4)}, "pixel_values"), "given pixel_values; "),
        (torch.randn(1, 3), "expected integer ids"),
    ):
        with pytest.raises(InterpError, match=said):
            model.run(given)
    zeros = {"input_ids": ids, "token_type_ids": torch.zeros_like(ids), "special_tokens_mask": torch.ones_like(ids)}
    assert torch.equal(model.run(zeros).logits, model.run(ids).logits)


def test_a_model_of_images_has_no_tokens() -> None:
    with pytest.raises(TaskError, match="takes pixel_values, and no text"):
        hooked(IMAGE).tokenize("A cat.")


# ---------------------------------------------------------------- positions

CROPPED = {
    "ViTForImageClassification": ("vit.embeddings.patch_embeddings.projection", "vit.embeddings.position_embeddings", ("CLS",)),
    "ViT-tall": ("vit.embeddings.patch_embeddings.projection", "vit.embeddings.position_embeddings", ("CLS",)),
    "DeiT-teacher": ("deit.embeddings.patch_embeddings.projection", "deit.embeddings.position_embeddings", ("CLS", "DIST")),
    "DINOv2-registers": ("embeddings.patch_embeddings.projection", None, ("CLS", "REG0", "REG1", "REG2")),
    "ASTForAudioClassification": (
        "audio_spectrogram_transformer.embeddings.patch_embeddings.projection",
        "audio_spectrogram_transformer.embeddings.position_embeddings",
        ("CLS", "DIST"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CROPPED)
def test_the_name_of_a_patch_is_where_it_was_cut(name: str) -> None:
    """Two images that differ in one patch: the stream differs by the weights times the difference, at the position of this name."""
    model = hooked(name)
    weights, _, first = CROPPED[name]
    (x,) = seen(model.hf, 1).values()
    spectrum = x.ndim == 3
    names = model.positions()
    assert names[: len(first)] == first
    rows, columns = x.shape[-2] // 4, x.shape[-1] // 4
    assert len(names) == len(set(names)) == len(first) + rows * columns
    W = model.hf.get_submodule(weights).weight.detach()
    for row, column in ((1, 2), (rows - 1, 0)):
        y = x.clone()
        y[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += torch.randn(4, 4)
        at = names.index(f"f{column}t{row}" if spectrum else f"r{row}c{column}")
        step = model.run(y, reads=["embed"])["embed"] - model.run(x, reads=["embed"])["embed"]
        cut = (y - x)[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        expected = torch.einsum("ij,dij->d", cut[0].T, W[:, 0]) if spectrum else torch.einsum("cij,dcij->d", cut[0], W)
        assert torch.allclose(step[0, at], expected, atol=1e-5)
        assert int((step[0].abs().amax(-1) > 0).sum()) == 1


def test_frames_of_sound_are_counted_for_each_sound() -> None:
    model = hooked("Wav2Vec2ForCTC")
    inputs = seen(model.hf)
    assert model.positions(inputs) == tuple(f"t{i}" for i in range(model.run(inputs, reads=["z"])["z.0"].shape[1]))
    assert len(model.positions(inputs)) == 7
    assert len(model.positions(torch.randn(1, 100))) == 4


def test_positions_of_text_are_its_tokens() -> None:
    model = text_model("gpt2")
    assert model.positions([3, 4]) == ("<3>", "<4>")
    with pytest.raises(TaskError, match="those of one text"):
        model.positions()


def test_patches_that_are_elsewhere_are_numbered() -> None:
    model = made("ViTForImageClassification")
    inner = model.vit.embeddings.patch_embeddings
    inner.register_forward_hook(lambda m, a, y: y.flip(1))
    assert HookedModel(model).positions() == tuple(f"p{i}" for i in range(17))


# ---------------------------------------------------------------- probes


def test_a_configuration_that_does_not_tell_the_size_is_refused_with_a_sentence() -> None:
    model = made("ViTForImageClassification")
    model.config.image_size = 0
    with pytest.raises(LayoutError, match="main input is pixel_values, whose size its configuration does not tell"):
        HookedModel(model)


def test_whole_numbers_of_numpy_are_refused_too() -> None:
    with pytest.raises(TaskError, match="whole numbers"):
        hooked(IMAGE).run(np.zeros((1, 3, 16, 16), dtype=np.uint8))
