"""How inputs that are no text are configured: their axes and sizes, and what the patches and frames in them are called.

| main input | axes behind the batch | sizes from the configuration |
| --- | --- | --- |
| `pixel_values` | channel row column | `num_channels`, `image_size`; patches of `patch_size` are positions |
| `input_values`, spectrogram | frame mel | `max_length`, `num_mel_bins`; patches with strides of their own |
| `input_values`, sound | sample | any number; convolutions (`conv_kernel`, `conv_stride`) make frames of them |
| `input_features` | mel frame, or frame feature | `num_mel_bins` and `max_source_positions`, or `feature_projection_input_dim` |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Form:
    """How a main input is configured: the names of its axes behind the batch, how many entries each has (None: any number), and, of what
    is cut into patches, their size and step along the last two axes. `kernels`, `steps`: of the convolutions that make frames of sound.
    """

    axes: tuple[str, ...]
    sizes: tuple[int | None, ...]
    patch: tuple[int, int] | None = None
    step: tuple[int, int] | None = None
    kernels: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()

    @property
    def shown(self) -> str:
        """The axes with their sizes, for messages."""
        sizes = (axis if n is None else f"{axis} {n}" for axis, n in zip(self.axes, self.sizes, strict=True))
        return f"[{', '.join(('batch', *sizes))}]"

    def grid(self, shape: Sequence[int]) -> tuple[int, int] | None:
        """How many patches an input of this shape has along its last two axes; None where it is not cut into patches."""
        if self.patch is None or self.step is None:
            return None
        rows, columns = (
            (n - size) // step + 1 for n, size, step in zip(shape[-2:], self.patch, self.step, strict=True)
        )
        return rows, columns

    @property
    def spectrum(self) -> bool:
        """Whether the patches are cut from a spectrogram."""
        return self.axes[0] == "frame"

    def patch_name(self, row: int, column: int) -> str:
        """What a patch is called, counted along the last two axes: `r0c1`; of a spectrogram `f0t1`, mel bands then time."""
        return f"f{column}t{row}" if self.spectrum else f"r{row}c{column}"

    def samples(self, frames: int) -> int:
        """How many samples of sound make so many frames."""
        for kernel, step in zip(reversed(self.kernels), reversed(self.steps), strict=True):
            frames = (frames - 1) * step + kernel
        return frames


def form_of(config: Any, main: str) -> Form | None:
    """How an input is configured, in the configuration or in its part about images or sound; None for text, and where the settings for it
    are others than those of the table above."""
    parts = (config, *(getattr(config, name, None) for name in ("vision_config", "audio_config", "encoder")))
    found = (_form_in(part, main) for part in parts if part is not None)
    return next((form for form in found if form is not None), None)


def _form_in(config: Any, main: str) -> Form | None:
    have = {name: getattr(config, name, None) for name in _SETTINGS}
    if main == "pixel_values" and have["image_size"]:
        size, patch = _pair(have["image_size"]), _pair(have["patch_size"])
        return Form(("channel", "row", "column"), (have["num_channels"] or 3, *(size or (None, None))), patch, patch)
    if main == "input_values" and have["num_mel_bins"] and have["max_length"]:
        step = _pair((have["time_stride"] or 0, have["frequency_stride"] or 0))
        patch = _pair(have["patch_size"]) if step and all(step) else None
        return Form(("frame", "mel"), (have["max_length"], have["num_mel_bins"]), patch, step if patch else None)
    if main == "input_values" and have["conv_kernel"] and have["conv_stride"]:
        return Form(("sample",), (None,), kernels=tuple(have["conv_kernel"]), steps=tuple(have["conv_stride"]))
    if main == "input_features" and have["num_mel_bins"] and have["max_source_positions"]:
        return Form(("mel", "frame"), (have["num_mel_bins"], 2 * have["max_source_positions"]))
    if main == "input_features" and have["feature_projection_input_dim"]:
        return Form(("frame", "feature"), (None, have["feature_projection_input_dim"]))
    return None


_SETTINGS: Final = (
    "image_size", "patch_size", "num_channels", "num_mel_bins", "max_length", "time_stride", "frequency_stride", "conv_kernel",
    "conv_stride", "max_source_positions", "feature_projection_input_dim",
)  # fmt: skip


def _pair(size: Any) -> tuple[int, int] | None:
    """A size that is written as one number or two."""
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, (list, tuple)) and len(size) == 2 else None


def position_names(grid: tuple[int, int], before: int, form: Form, config: Any) -> tuple[str, ...]:
    """What the positions of a grid of patches are called, `before` of which are no patches: `CLS`, `DIST`, `REG0`, ..., `r0c0`, `r0c1`, ...;
    of a spectrogram `f0t0`, `f0t1`, ... (mel bands, then time)."""
    registers = min(before, int(getattr(config, "num_register_tokens", 0) or 0))
    n = before - registers
    first = ("CLS", "DIST")[:n] if n <= 2 else tuple(f"S{i}" for i in range(n))
    rows, columns = grid
    places = ((i, j) for i in range(rows) for j in range(columns))
    patches = [form.patch_name(i, j) for i, j in (sorted(places, key=lambda at: at[::-1]) if form.spectrum else places)]
    return (*first, *(f"REG{i}" for i in range(registers)), *patches)
