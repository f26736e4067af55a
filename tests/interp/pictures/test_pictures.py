"""What inputs look like, and that a position stands where its numbers come from."""

from __future__ import annotations

import base64
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.errors import TaskError
from interp.model.inputs.position_naming import embedded
from interp.model.inputs.taking import taken
from interp.model.model import HookedModel
from interp.parts.named_inputs import Inputs
from interp.pictures.input_picture import Picture
from interp.pictures.picturing import pictures
from tests.interp.model.tiny import hooked as text_model
from tests.interp.model.vision.made import made, seen

PATCHED = ("ViTForImageClassification", "ViT-tall", "DeiTForImageClassification", "DINOv2-registers")
PATCHED_SOUND = "ASTForAudioClassification"


def _one(model: HookedModel) -> Tensor:
    (x,) = seen(model.hf, 1).values()
    return x


def _shown(model: HookedModel, *given: Any) -> tuple[Picture, ...]:
    found = pictures(model, given, [f"input {i}" for i in range(len(given))])
    assert found is not None
    return found


def _pixels(picture: Picture) -> np.ndarray:
    return np.frombuffer(picture.data, np.uint8).reshape(picture.height, picture.width, picture.channels)


def _depends(model: HookedModel, x: Tensor) -> Tensor:
    """Whether what enters the first block depends on each entry of the last two axes of an input [pos row column], one entry at a time."""
    base = embedded(model, Inputs({model.hf.main_input_name: x}, model.hf.main_input_name))
    found = torch.zeros(base.shape[1], *x.shape[-2:], dtype=torch.bool)
    for row in range(x.shape[-2]):
        for column in range(x.shape[-1]):
            other = x.clone()
            other[..., row, column] += 1
            changed = embedded(model, Inputs({model.hf.main_input_name: other}, model.hf.main_input_name))
            found[:, row, column] = (changed != base).any(-1)[0]
    return found


@pytest.mark.parametrize("name", PATCHED)
def test_a_patch_stands_where_its_numbers_come_from(name: str) -> None:
    model = HookedModel(made(name))
    x = _one(model)
    (picture,) = _shown(model, x)
    height, width = x.shape[-2:]
    for reads, box in zip(_depends(model, x), picture.places, strict=True):
        own = torch.zeros(height, width, dtype=torch.bool)
        if box:
            left, top, wide, high = (round(n) for n in np.array(box) * [width, height, width, height])
            own[top : top + high, left : left + wide] = True
        assert torch.equal(reads, own)


def test_patches_that_overlap_stand_around_their_middle_and_low_frequencies_are_below() -> None:
    model = HookedModel(made(PATCHED_SOUND))
    x = _one(model)
    (picture,) = _shown(model, x)
    frames, mels = x.shape[-2:]
    for reads, box in zip(_depends(model, x), picture.places, strict=True):
        if not box:
            assert not reads.any()
            continue
        times, bands = (reads.any(axis).nonzero().flatten().double() for axis in (1, 0))
        left, top, wide, high = box
        assert (times.mean() + 0.5) / frames == pytest.approx(left + wide / 2, abs=1e-4)
        assert 1 - (bands.mean() + 0.5) / mels == pytest.approx(top + high / 2, abs=1e-4)


def test_frames_stand_over_the_middle_of_what_they_hear() -> None:
    model = HookedModel(made("Wav2Vec2-stable"))
    x = _one(model)
    (picture,) = _shown(model, x)
    features = model.hf.wav2vec2.feature_extractor
    for i, (left, _, wide, _) in enumerate(picture.places):
        sound = x.clone().requires_grad_()
        # In the first convolution alone: the norms that follow mix frames in no class tried here.
        (grad,) = torch.autograd.grad(features(sound)[0, :, i].square().sum(), sound)
        heard = grad[0].nonzero().flatten().double()
        assert (heard.min() + heard.max() + 1) / 2 / x.shape[-1] == pytest.approx(left + wide / 2, abs=1e-3)


def test_pixels_are_those_of_the_image_before_it_was_normalised() -> None:
    class Processor:
        image_mean, image_std, do_normalize = (0.5, 0.4, 0.3), (0.5, 0.25, 0.2), True

    model = HookedModel(made(PATCHED[0]), processor=Processor())
    own = np.random.default_rng(0).integers(0, 256, (16, 16, 3))
    normalised = (
        torch.tensor(own).permute(2, 0, 1) / 255 - torch.tensor([0.5, 0.4, 0.3])[:, None, None]
    ) / torch.tensor([0.5, 0.25, 0.2])[:, None, None]
    (picture,) = _shown(model, normalised[None])
    assert np.array_equal(_pixels(picture), own) and picture.kind == "image"


def test_without_a_processor_both_inputs_have_one_scale() -> None:
    model = HookedModel(made(PATCHED[0]))
    x = _one(model)
    first, second = _shown(model, x / x.max(), 3 * x / x.max())
    low, high = float((3 * x / x.max()).min()), 3.0
    wanted = (255 * (x / x.max() - low) / (high - low)).round()[0].permute(1, 2, 0).numpy()
    assert np.abs(_pixels(first) - wanted).max() <= 1 and _pixels(second).max() == 255 and _pixels(second).min() == 0


def test_large_inputs_become_small_pictures() -> None:
    model = HookedModel(made("Wav2Vec2-stable"))
    sound = torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0))
    (picture,) = _shown(model, sound)
    assert (picture.kind, picture.width, picture.height) == ("wave", 480, 2)
    low, high = _pixels(picture)[:, :, 0]
    scaled = 127.5 + 127.5 * sound[0].numpy() / float(sound.abs().max())
    assert low.min() == round(scaled.min()) and high.max() == round(scaled.max()) and (low <= high).all()
    # Each column has the extremes of its samples.
    for column in (0, 17, 479):
        own = scaled[math.floor(column * 20_000 / 480) : math.ceil((column + 1) * 20_000 / 480)]
        assert low[column] == round(own.min()) and high[column] == round(own.max())


def test_text_and_several_inputs_are_refused() -> None:
    model = HookedModel(made(PATCHED[0]))
    with pytest.raises(TaskError, match="2 examples"):
        pictures(model, [torch.randn(2, 3, 16, 16)], ["two"])
    with pytest.raises(TaskError, match="text"):
        pictures(text_model("gpt2"), [[1, 2]], ["text"])
    assert isinstance(taken(model, _one(model)), Inputs)


GOOD = Picture("a.png", "image", 2, 2, 1, base64.b64encode(bytes(4)).decode(), ((), (0.0, 0.5, 1.0, 0.5)))


@pytest.mark.parametrize(
    "change",
    [
        {"width": 3},
        {"width": 161, "pixels": base64.b64encode(bytes(322)).decode()},
        {"channels": 2},
        {"pixels": "<svg onload=x>"},
        {"pixels": ""},
        {"kind": "wave", "height": 1, "pixels": base64.b64encode(bytes(2)).decode()},
        {"places": ((0.0, 0.0, 1.0),)},
        {"places": ((0.0, 0.0, math.nan, 1.0),)},
        {"places": ((0.5, 0.0, 0.6, 1.0),)},
        {"places": ((0.5, 0.0, 0.0, 1.0),)},
        {"height": 0, "pixels": ""},
    ],
)
def test_a_file_that_is_no_picture_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        replace(GOOD, **change)


def test_of_an_encoder_with_a_decoder_behind_it_the_encoders_positions_stand_in_it() -> None:
    """Not the decoder's tokens, which are the positions of the stream that is read last."""
    model = HookedModel(made("WhisperForConditionalGeneration"))
    n = 2 * model.hf.config.max_source_positions
    given = {
        "input_features": torch.randn(1, model.hf.config.num_mel_bins, n),
        "decoder_input_ids": torch.tensor([[1, 2, 3]]),
    }
    (picture,) = _shown(model, given)
    assert picture.stack == "encoder" and len(picture.places) == len(model.positions(given, "encoder"))
    assert picture.kind == "spectrogram" and picture.width == n
    widths = [box[2] for box in picture.places]
    assert sum(widths) == pytest.approx(1, abs=1e-3) and max(widths) == min(widths)
