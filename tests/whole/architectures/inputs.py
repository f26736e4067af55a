"""What a tiny model may run on: text, an image, sound or its features, by the name of the main input of its class."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn

_LENGTH: Final = 6
_BINS: Final = (
    "num_mel_bins",
    "input_feat_per_channel",
    "feature_size",
    "input_dim",
    "feature_projection_input_dim",
)

Inputs = dict[str, Tensor]


def inputs(model: nn.Module) -> Iterator[Inputs]:
    """What a class may run on, by the name of its main input, the likeliest first."""
    main: Any = model.main_input_name
    config: Any = model.config
    parameters = inspect.signature(model.forward).parameters
    answer = {"decoder_input_ids": torch.tensor([[1, 45, 42, 48]])} if "decoder_input_ids" in parameters else {}
    noise = _Noise()
    if main == "input_ids":
        yield from _text(main, config, parameters, answer, noise)
    elif main == "pixel_values":
        yield from _image(main, config, parameters, answer, noise)
    elif main == "input_values":
        yield from _sound(main, config, answer, noise)
    else:
        yield from _any(main, parameters, answer, noise) if main == "inputs" else ()
        yield from _features(main, config, answer, noise)


class _Noise:
    """Normal numbers of any shape, the same in every run."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)


def _ids() -> Tensor:
    return torch.arange(40, 40 + _LENGTH)[None]  # no special tokens, whose ids are small


def _text(main: str, config: Any, parameters: Any, answer: Inputs, noise: _Noise) -> Iterator[Inputs]:
    """Text; text of several channels; text and the features of sound of its length."""
    text = _ids()
    yield {main: text, **answer}
    for channels in _sizes(getattr(config, "decoder_config", None), "num_channels"):
        yield {main: text, **{name: ids[..., None].repeat(1, 1, channels) for name, ids in answer.items()}}
    for channels in _sizes(config, "num_codebooks"):
        yield {main: text[..., None].repeat(1, 1, channels + 1), **answer}
    for frames in _sizes(config, "audio_length_per_tok") if "input_features" in parameters else ():
        for bins in _sizes(config, *_BINS):
            yield {main: text, "input_features": noise(1, bins, frames * _LENGTH), **answer}


def _image(main: str, config: Any, parameters: Any, answer: Inputs, noise: _Noise) -> Iterator[Inputs]:
    """An image; or its patches, with how many there are in each direction."""
    if "spatial_shapes" in parameters:
        for patch in _sizes(config, "patch_size"):
            own = {
                "pixel_attention_mask": torch.ones(1, 16, dtype=torch.long),
                "spatial_shapes": torch.tensor([[4, 4]]),
            }
            yield {main: noise(1, 16, 3 * patch**2), **own}
    for size in dict.fromkeys((*_sizes(config, "image_size"), 64, 224)):
        for channels in dict.fromkeys((*_sizes(config, "num_channels"), 3)):
            yield {main: noise(1, channels, size, size), **answer}


def _sound(main: str, config: Any, answer: Inputs, noise: _Noise) -> Iterator[Inputs]:
    yield {main: noise(1, 2000), **answer}
    yield {main: noise(1, 16000), **answer}
    for bins in _sizes(config, "num_mel_bins"):
        yield {main: noise(1, *_sizes(config, "max_length", "spec_size"), bins), **answer}


def _any(main: str, parameters: Any, answer: Inputs, noise: _Noise) -> Iterator[Inputs]:
    """Of a class whose input may be anything: text or an image where its forward takes that too, else sound."""
    if "input_ids" in parameters:
        yield {main: _ids(), **answer}
    elif "pixel_values" in parameters:
        for size in (56, 64, 224):
            yield {main: noise(1, 3, size, size), **answer}
    else:
        yield {main: noise(1, 2000), **answer}


def _features(main: str, config: Any, answer: Inputs, noise: _Noise) -> Iterator[Inputs]:
    """Features of sound [1 frame bin] or [1 bin frame]; or several frames in one."""
    known = _sizes(config, *_BINS)
    for bins in dict.fromkeys((*known, 80, 128, 160, *(4 * n for n in known))):
        for frames in (*(2 * n for n in _sizes(config, "max_source_positions")), 32, 100, 3000):
            yield {main: noise(1, frames, bins), **answer}
            yield {main: noise(1, bins, frames), **answer}


def _sizes(config: Any, *names: str) -> list[int]:
    """The numbers that a configuration, or a part of it, has under these names."""
    parts = [config, *(getattr(config, part, None) for part in getattr(config, "sub_configs", {}))]
    found = [getattr(part, name, None) for name in names for part in parts if part is not None]
    return [(x[0] if isinstance(x, (list, tuple)) else x) for x in found if isinstance(x, (int, list, tuple)) and x]
