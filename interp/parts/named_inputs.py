"""Inputs that are no text, such as images and sound: keyword tensors of a model's `forward`, and how a model takes them.

| main input | axes behind the batch | sizes from the configuration |
| --- | --- | --- |
| `pixel_values` | channel row column | `num_channels`, `image_size`; patches of `patch_size` are positions |
| `input_values`, spectrogram | frame mel | `max_length`, `num_mel_bins`; patches with strides of their own |
| `input_values`, sound | sample | any number; convolutions (`conv_kernel`, `conv_stride`) make frames of them |
| `input_features` | mel frame, or frame feature | `num_mel_bins` and `max_source_positions`, or `feature_projection_input_dim` |
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

from interp.errors import TaskError, some

#: The main input of a model of text.
TEXT: Final = "input_ids"
#: Main inputs by their usual names.
MAIN: Final = (TEXT, "pixel_values", "input_values", "input_features")
#: Lets a model take images of another size, where its forward has it.
ANY_SIZE: Final = "interpolate_pos_encoding"


@dataclass(frozen=True, eq=False, repr=False)
class Inputs:
    """Keyword tensors of a model's `forward` by name, batch first; `main` is the name of what it reads first."""

    tensors: Mapping[str, Tensor]
    main: str

    def __repr__(self) -> str:
        return f"Inputs({', '.join(f'{name} {list(x.shape)}' for name, x in self.tensors.items())})"

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.tensors[self.main])

    @property
    def shape(self) -> tuple[int, ...]:
        """The axes of one example of the main input."""
        return tuple(self.tensors[self.main].shape[1:])

    @property
    def alone(self) -> Tensor:
        """The main input, where there is nothing else. Raises: TaskError."""
        if len(self.tensors) > 1:
            raise TaskError(f"given {some(self.tensors)}; expected {self.main} alone here.")
        return self.tensors[self.main]

    def to(self, device: Any, dtype: torch.dtype | None = None) -> Inputs:
        """The same elsewhere; floating-point numbers in `dtype`, where one is given."""
        moved = {k: x.to(device, dtype if x.is_floating_point() else None) for k, x in self.tensors.items()}
        return Inputs(moved, self.main)


@dataclass(frozen=True, eq=False, repr=False)
class Example:
    """One example of such inputs, without a batch axis, as a value: equal to another of the same numbers. `length`: how many positions a
    model makes of it, 0 where none has taken it."""

    tensors: Mapping[str, Tensor]
    main: str = ""
    length: int = 0

    def __len__(self) -> int:
        return self.length

    def __bool__(self) -> bool:
        return bool(self.tensors)

    def batched(self) -> Inputs:
        """The same as a batch of one."""
        return Inputs({name: x[None] if x.ndim else x for name, x in self.tensors.items()}, self.main)

    @cached_property
    def content(self) -> str:
        """A short hash of its numbers."""
        found = hashlib.sha256()
        for name, x in sorted(self.tensors.items()):
            found.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
            found.update(x.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Example) and other.content == self.content

    def __hash__(self) -> int:
        return hash(self.content)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in self.tensors.items())
        return f"Example({shapes}, {self.content})"


def stacked(examples: Sequence[Example]) -> Inputs:
    """Examples of one shape as the inputs of one run."""
    first = examples[0]
    tensors = {
        name: torch.stack([example.tensors[name] for example in examples]) if x.ndim else x
        for name, x in first.tensors.items()
    }
    return Inputs(tensors, first.main)


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


@dataclass(frozen=True)
class Accepted:
    """What a model's forward accepts: the class of the model, its main input and how that is configured (None where that is not known),
    and the names of its keyword arguments. `factor`: what its processor multiplies whole numbers by, to make pixels of them. `ids`: how many ids the
    main input is of, 0 for floating-point numbers."""

    model: str
    main: str
    form: Form | None
    parameters: frozenset[str]
    factor: float = 1 / 255
    ids: int = 0

    @property
    def fixed(self) -> bool:
        """Whether images must be of the configured size: where its forward has a switch for others."""
        return ANY_SIZE in self.parameters

    @property
    def shown(self) -> str:
        """The main input, for messages."""
        return self.main if self.form is None else f"{self.main} {self.form.shown}"


def form_of(config: Any, main: str) -> Form | None:
    """How the main input is configured; None for text, and where the settings for it are others than those of the table above."""
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


def as_inputs(given: Any, accepted: Accepted) -> Inputs:
    """Checked inputs: from a mapping of names to tensors, as a processor returns it, from the main input alone as a floating-point tensor,
    or from `Inputs`.

    Raises: TaskError for text, for names that forward does not have, for numbers that are whole, not finite or of another shape than
    configured, and for batches of several sizes.
    """
    given = given.batched() if isinstance(given, Example) else given
    given = given.tensors if isinstance(given, Inputs) else given
    alone = isinstance(given, Tensor) or hasattr(given, "__array__")
    named = {accepted.main: given} if alone else dict(given) if isinstance(given, Mapping) else None
    if named is None:
        raise TaskError(f"given {given!r:.80}; {_wanted(accepted)}")
    values = {str(name): _tensor(str(name), value) for name, value in named.items()}
    _check_names(values, accepted)
    _check_main(values[accepted.main], accepted, bool(named.get(ANY_SIZE)))
    batches = {name: len(x) if x.ndim else 0 for name, x in values.items() if name != ANY_SIZE}
    if len(set(batches.values())) > 1:
        shown = ", ".join(f"{name} {n}" for name, n in batches.items())
        raise TaskError(f"inputs of several batch sizes: {shown}; expected as many examples in each.")
    for name, x in values.items():
        if x.is_floating_point() and not bool(torch.isfinite(x).all()):
            raise TaskError(f"{name}: some numbers are not finite (nan, inf); mend the input.")
    return Inputs({accepted.main: values[accepted.main], **values}, accepted.main)


def _wanted(accepted: Accepted) -> str:
    return (
        f"{accepted.model} takes {accepted.shown}, not text. Give what its processor makes (model.processor(..., return_tensors='pt')), or "
        "that tensor alone."
    )


def _tensor(name: str, value: Any) -> Tensor:
    """Raises: TaskError for what is no tensor of numbers."""
    try:
        found = value if isinstance(value, Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskError(
            f"{name}: given {type(value).__name__}; expected a tensor, batch first (return_tensors='pt')."
        ) from error
    if found.is_complex():
        raise TaskError(f"{name}: given complex numbers; expected real ones.")
    return found


def _check_names(values: Mapping[str, Tensor], accepted: Accepted) -> None:
    """Raises: TaskError for names that forward does not have, and without the main input."""
    if unknown := [name for name in values if name not in accepted.parameters]:
        more = _wanted(accepted) if TEXT in unknown else f"Leave {'it' if len(unknown) == 1 else 'them'} out."
        raise TaskError(f"{accepted.model} does not take {some(unknown)}. {more}")
    if accepted.main not in values:
        raise TaskError(f"given {some(values) or 'nothing'}; {accepted.model} needs {accepted.shown}.")
    if len(both := [name for name in values if name in MAIN]) > 1:
        raise TaskError(f"given {some(both)}; {accepted.model} runs one of them here: give {accepted.main} alone.")


def _check_main(x: Tensor, accepted: Accepted, any_size: bool) -> None:
    """Raises: TaskError for whole numbers, and for other axes or sizes than configured."""
    name, form = accepted.main, accepted.form
    if accepted.ids:
        _check_ids(x, accepted)
        return
    if not x.is_floating_point():
        what = f" as floating-point numbers: multiply by {accepted.factor:.6g} and normalise, as its processor does"
        raise TaskError(
            f"{name}: given whole numbers ({str(x.dtype).removeprefix('torch.')}); {accepted.model} takes them{what}."
        )
    if form is None:
        return
    image = "column" in form.axes
    free = image and (any_size or not accepted.fixed)
    sizes = (*form.sizes[:1], None, None) if free else form.sizes
    right = x.ndim == 1 + len(sizes) and all(n in (None, m) for n, m in zip(sizes, x.shape[1:], strict=True))
    if not right or not x.numel():
        more = f" For images of another size pass {ANY_SIZE}=True too." if image and accepted.fixed else ""
        raise TaskError(
            f"{name}: given {list(x.shape)}; {accepted.model} takes {form.shown}. Resize or crop as its processor does.{more}"
        )
    if form.kernels and x.shape[-1] < form.samples(1):
        raise TaskError(
            f"{name}: {x.shape[-1]} samples of sound; one frame takes {form.samples(1)}. Give a longer sound."
        )


def _check_ids(x: Tensor, accepted: Accepted) -> None:
    """Raises: TaskError for anything but ids that the model's embedding has."""
    if x.is_floating_point() or x.dtype == torch.bool or x.ndim < 2 or not x.numel():
        kind = str(x.dtype).removeprefix("torch.")
        raise TaskError(
            f"{accepted.main}: given {kind} {list(x.shape)}; {accepted.model} takes ids [batch, pos], as whole numbers."
        )
    if int(x.min()) < 0 or int(x.max()) >= accepted.ids:
        raise TaskError(
            f"{accepted.main}: ids from {int(x.min())} to {int(x.max())} given; {accepted.model} has ids 0 to {accepted.ids - 1}."
        )


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
