"""Inputs that are no text as pictures: numbers to pixels, as many as a page needs; and one of them with numbers over its positions."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool1d

from interp.errors import InterpError, TaskError
from interp.formatting.showing import card
from interp.formatting.text import visible
from interp.model.inputs.taking import taken
from interp.model.modules.calling import stack_input
from interp.parts.forms import Form, form_of
from interp.parts.named_inputs import Inputs
from interp.pictures.input_picture import LONGEST, Box, Kind, Picture
from interp.pictures.position_places import places
from interp.pictures.time_axis import TimeAxis


def pictures(model: Any, given: Sequence[Any], names: Sequence[str]) -> tuple[Picture, ...] | None:
    """Inputs of one example each, in colours that mean the same in all of them; None where it is not known how this model's inputs look.

    names: what each is called. Images are shown as they were before the processor's normalisation, where the model has the
    processor; else, as spectrograms always, from the least to the largest number of them all. Waves are scaled by their largest sample.
    Raises: TaskError for text and for several examples in one.
    """
    found = [_one(model, x) for x in given]
    form = form_of(model.hf.config, found[0].main) if found else None
    if form is None:
        return None
    numbers = [x.tensors[x.main][0].detach().float().cpu() for x in found]
    kind: Kind = "wave" if form.axes == ("sample",) else "image" if form.axes[0] == "channel" else "spectrogram"
    axis: TimeAxis | None = None
    if kind == "spectrogram":
        axis, drawn = _spectrograms(numbers, form)
    else:
        drawn = _waves(numbers) if kind == "wave" else _images(model, numbers)
    narrowed = None if axis is None else axis.narrowed
    # The stream that reads it: of an encoder with a decoder behind it the encoder's.
    stack = next((s.name for s in model.layout.stacks if stack_input(model.hf, s.name) == found[0].main), None)
    shapes = {x.shape: x for x in found}
    called = {shape: () if stack is None else model.positions(x, stack) for shape, x in shapes.items()}
    return tuple(
        Picture(name, kind, *_sized(pixels), _placed(axis, form, x.shape, called[x.shape]), stack or "", narrowed)
        for x, name, pixels in zip(found, names, drawn, strict=True)
    )


@dataclass(frozen=True)
class DrawnInput:
    """One input as it looks, in a notebook too; with `values`, a number for each of its `positions` in `unit`, tinted over it.

    what: what the numbers are. Raises: InterpError where there are other than as many numbers as positions, or some that are not finite.
    """

    picture: Picture
    positions: tuple[str, ...]
    values: tuple[float, ...] | None = None
    unit: str = ""
    what: str = ""

    def __post_init__(self) -> None:
        if self.values is not None and (
            len(self.values) != len(self.positions) or not all(map(math.isfinite, self.values))
        ):
            raise InterpError(
                f"{len(self.values)} values for {len(self.positions)} positions; expected a finite number for each."
            )

    def __str__(self) -> str:
        what = f"{self.what or 'values'} at {len(self.positions)} positions" if self.values is not None else "no values"
        return visible(f"DrawnInput({self.picture.kind} {self.picture.name}, {what})")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return str(card(self))


def picture(
    model: Any,
    given: Any,
    values: Sequence[float] | None = None,
    *,
    name: str = "input",
    unit: str = "",
    what: str = "",
) -> DrawnInput:
    """How one image or sound looks, with a number for each position tinted over it where `values` [pos] are given: token attributions, scores
    of a map, a row of a pattern.

    given: what `model.run` takes, one example. unit, what: of the values, for what is said. Raises: TaskError for text, for several examples, and
    where it is not known how this model's inputs look; InterpError for other than a finite value for each position.
    """
    found = pictures(model, [given], [name])
    if found is None:
        raise TaskError(f"picture: it is not known how the inputs of {type(model.hf).__name__} look.")
    numbers = None if values is None else tuple(float(v) for v in values)
    return DrawnInput(found[0], tuple(model.positions(given)), numbers, unit, what)


def _one(model: Any, given: Any) -> Inputs:
    """One checked input. Raises: TaskError."""
    found = taken(model, given)
    if not isinstance(found, Inputs) or len(found) != 1:
        what = "text" if not isinstance(found, Inputs) else f"{len(found)} examples"
        raise TaskError(f"a picture of {what}: expected one image or sound.")
    return found


def _sized(pixels: Tensor) -> tuple[int, int, int, str]:
    """Width, height, channels, and bytes in base64, of numbers from 0 to 1 [row column channel]."""
    height, width, channels = pixels.shape
    raw = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy().tobytes()
    return width, height, channels, base64.b64encode(raw).decode("ascii")


def _reduced(x: Tensor) -> Tensor:
    """[channel row column] of at most as many rows and columns as a picture has, each the mean of what it stands for."""
    height, width = x.shape[-2:]
    share = min(1.0, LONGEST["image"][0] / max(height, width))
    size = max(1, round(height * share)), max(1, round(width * share))
    return x if size == (height, width) else adaptive_avg_pool2d(x[None], size)[0]


def _images(model: Any, numbers: list[Tensor]) -> list[Tensor]:
    """[channel row column] each, to [row column channel]: colours of three channels, else grey, the mean of them."""
    own = _statistics(model, len(numbers[0]))
    shown = numbers if own is None else [x * own[1] + own[0] for x in numbers]
    small = [_reduced(x if len(x) == 3 else x.mean(0, keepdim=True)) for x in shown]
    return [x.permute(1, 2, 0) for x in (_in_range(small) if own is None else small)]


def _placed(axis: TimeAxis | None, form: Form, shape: Sequence[int], names: Sequence[str]) -> tuple[Box, ...]:
    """The place of each position along an axis of time."""
    found = places(form, shape, names)
    return found if axis is None else tuple(map(axis.place, found))


def _spectrograms(numbers: list[Tensor], form: Form) -> tuple[TimeAxis, list[Tensor]]:
    """[frame mel] or [mel frame] each, to [row column 1], low frequencies in the last row; and how time goes in all of them."""
    upright = [(x if form.axes[-1] == "frame" else x.T).flip(0) for x in numbers]
    widest, highest = LONGEST["spectrogram"]
    axis = TimeAxis.of(upright, widest)
    return axis, [x[..., None] for x in _in_range([axis.columns(x, min(len(x), highest)) for x in upright])]


def _waves(numbers: list[Tensor]) -> list[Tensor]:
    """[sample] each, to the lowest and highest sample of each column [2 column 1]."""
    largest = max(float(x.abs().max()) for x in numbers) or 1.0
    columns = [min(len(x), LONGEST["wave"][0]) for x in numbers]
    ends = [
        torch.stack([-adaptive_max_pool1d(-x[None], n)[0], adaptive_max_pool1d(x[None], n)[0]])
        for x, n in zip(numbers, columns, strict=True)
    ]
    return [(1 + x[..., None] / largest) / 2 for x in ends]


def _in_range(numbers: list[Tensor]) -> list[Tensor]:
    """Numbers of any size, from 0 to 1 by the range of them all; one half where all are the same."""
    low, high = min(float(x.min()) for x in numbers), max(float(x.max()) for x in numbers)
    return [(x - low) / (high - low) if high > low else torch.full_like(x, 0.5) for x in numbers]


def _statistics(model: Any, channels: int) -> tuple[Tensor, Tensor] | None:
    """The mean and deviation [channel 1 1] by which the processor of a model normalises numbers from 0 to 1; None where it does not."""
    own = getattr(model.processor, "image_processor", model.processor)
    mean, deviation = getattr(own, "image_mean", None), getattr(own, "image_std", None)
    if (
        not getattr(own, "do_normalize", False)
        or not mean
        or not deviation
        or {len(mean), len(deviation)} != {channels}
    ):
        return None
    return torch.tensor(mean)[:, None, None], torch.tensor(deviation)[:, None, None]
