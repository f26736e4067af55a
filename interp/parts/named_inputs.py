"""Inputs by name: keyword tensors of a model's `forward`, such as images and sound, or the texts of an encoder and its decoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

from interp.errors import TaskError, some
from interp.parts.forms import Form

#: The main input of a model of text.
TEXT: Final = "input_ids"
#: What the decoder of an encoder-decoder reads.
DECODER: Final = "decoder_input_ids"
#: Main inputs by their usual names.
MAIN: Final = (TEXT, "pixel_values", "input_values", "input_features")
#: Which ids a mask is of.
MASKS: Final = {"attention_mask": TEXT, "decoder_attention_mask": DECODER}
#: What a forward may take and a run makes, or leaves out, by itself.
HELD: Final = (
    "encoder_outputs",
    "past_key_values",
    "inputs_embeds",
    "decoder_inputs_embeds",
    "use_cache",
    "return_dict",
)
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
    model makes of it in the stream that is read last, 0 where none has taken it; `lengths`: the same of each stack, by its prefix."""

    tensors: Mapping[str, Tensor]
    main: str = ""
    length: int = 0
    lengths: Mapping[str, int] = field(default_factory=dict)

    @property
    def longest(self) -> int:
        """Positions of the longest stream."""
        return max(self.lengths.values(), default=self.length)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes, alike of examples that may be run together: its length, and those of all its tensors by name."""
        return (self.length, *(n for _, x in sorted(self.tensors.items()) for n in x.shape))

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


def repeated(given: Tensor | Inputs, n: int) -> Any:
    """All examples `n` times, one copy of the batch behind the other: of token ids [batch pos], or of inputs."""
    if isinstance(given, Tensor):
        return given.repeat(n, *[1] * (given.ndim - 1)) if given.ndim else given
    return Inputs({name: repeated(x, n) for name, x in given.tensors.items()}, given.main)


@dataclass(frozen=True)
class Accepted:
    """What a model's forward accepts: the class of the model, its main input, the inputs that it needs by name, those of ids with how many
    there are (`ids`), the others with how they are configured (`forms`, None where that is not known), and the names of its keyword
    arguments. `factor`: what its processor multiplies whole numbers by, to make pixels of them."""

    model: str
    main: str
    ids: Mapping[str, int]
    forms: Mapping[str, Form | None]
    parameters: frozenset[str]
    factor: float = 1 / 255

    @property
    def needed(self) -> tuple[str, ...]:
        """The inputs that it needs, the main one first."""
        return tuple(sorted((*self.ids, *self.forms), key=lambda name: name != self.main))

    @property
    def fixed(self) -> bool:
        """Whether images must be of the configured size: where its forward has a switch for others."""
        return ANY_SIZE in self.parameters

    @property
    def shown(self) -> str:
        """The inputs that it needs, for messages."""
        known = {name: form.shown for name, form in self.forms.items() if form is not None}
        known |= dict.fromkeys(self.ids, "[batch, pos]") if len(self.needed) > 1 else {}
        return " and ".join(f"{name} {known[name]}" if name in known else name for name in self.needed)


def as_inputs(given: Any, accepted: Accepted) -> Inputs:
    """Checked inputs: from a mapping of names to tensors, as a processor returns it, from the main input alone as a floating-point tensor,
    or from `Inputs`.

    Raises: TaskError for text, for names that forward does not have, for numbers that are whole, not finite or of another shape than
    configured, and for batches of several sizes.
    """
    given = given.batched() if isinstance(given, Example) else given
    given = given.tensors if isinstance(given, Inputs) else given
    alone = (isinstance(given, Tensor) or hasattr(given, "__array__")) and len(accepted.needed) == 1
    named = {accepted.main: given} if alone else dict(given) if isinstance(given, Mapping) else None
    if named is None:
        raise TaskError(f"given {given!r:.80}; {_wanted(accepted)}")
    values = {str(name): tensor_of(str(name), value) for name, value in named.items()}
    _check_names(values, accepted)
    for name, n in accepted.ids.items():
        _check_ids(name, values[name], n)
    for name, ids in MASKS.items():
        if name in values and ids in accepted.ids:
            _check_mask(name, values[name], values[ids])
    for name, form in accepted.forms.items():
        _check_numbers(name, values[name], form, accepted, bool(named.get(ANY_SIZE)))
    batches = {name: len(x) if x.ndim else 0 for name, x in values.items() if name != ANY_SIZE}
    if len(set(batches.values())) > 1:
        shown = ", ".join(f"{name} {n}" for name, n in batches.items())
        raise TaskError(f"inputs of several batch sizes: {shown}; expected as many examples in each.")
    for name, x in values.items():
        if x.is_floating_point() and not bool(torch.isfinite(x).all()):
            raise TaskError(f"{name}: some numbers are not finite (nan, inf); mend the input.")
    return Inputs({accepted.main: values[accepted.main], **values}, accepted.main)


def _wanted(accepted: Accepted) -> str:
    if len(accepted.needed) > 1:
        return (
            f"{accepted.model} takes {accepted.shown}, by name. Give a mapping of names to tensors, or what model.inputs(...) makes of texts "
            "and files."
        )
    return (
        f"{accepted.model} takes {accepted.shown}, not text. Give what its processor makes (model.processor(..., return_tensors='pt')), or "
        "that tensor alone."
    )


def tensor_of(name: str, value: Any) -> Tensor:
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
    if held := [name for name in values if name in HELD]:
        raise TaskError(f"{some(held)}: a run has its own; leave {'it' if len(held) == 1 else 'them'} out.")
    if missing := [name for name in accepted.needed if name not in values]:
        more = f" {some(missing)} missing." if len(accepted.needed) > 1 else ""
        raise TaskError(f"given {some(values) or 'nothing'}; {accepted.model} needs {accepted.shown}.{more}")
    if more_than := [name for name in values if name in MAIN and name not in accepted.needed]:
        both = [name for name in values if name in MAIN]
        raise TaskError(
            f"given {some(both)}; {accepted.model} runs without {some(more_than)} here: give {accepted.main} alone."
        )


def _check_ids(name: str, x: Tensor, n: int) -> None:
    """Raises: TaskError for what is no batch of token ids below `n`."""
    if x.ndim != 2 or not x.numel() or x.is_floating_point() or x.dtype == torch.bool:
        raise TaskError(f"{name}: given {list(x.shape)} {x.dtype}; expected token ids [batch, pos].")
    if int(x.min()) < 0 or int(x.max()) >= n:
        raise TaskError(
            f"{name}: token ids from {int(x.min())} to {int(x.max())} given; this model has ids 0 to {n - 1}."
        )


def _check_mask(name: str, x: Tensor, ids: Tensor) -> None:
    """Raises: TaskError for what does not say of each id, by 0 or 1, whether it is shown."""
    if x.shape != ids.shape or bool(((x != 0) & (x != 1)).any()):
        values = ", ".join(f"{value:g}" for value in sorted(set(x.flatten().tolist()))[:4])
        raise TaskError(
            f"{name}: given {list(x.shape)} of {values}; expected 0 or 1 for each of the ids {list(ids.shape)}."
        )
    if not bool(x.any(-1).all()):
        raise TaskError(f"{name}: an example has no id that is shown; expected one or more.")


def _check_numbers(name: str, x: Tensor, form: Form | None, accepted: Accepted, any_size: bool) -> None:
    """Raises: TaskError for whole numbers, and for other axes or sizes than configured."""
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
