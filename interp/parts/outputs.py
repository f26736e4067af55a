"""What comes out of a forward: the numbers that metrics read, and what each of them is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import Tensor

from interp.errors import LayoutError
from interp.parts.named_inputs import Example

#: How outputs come out of the stream behind the last block: `each` position has its own; else the prompt has one, read at its
#: `first` position or its `last` one, from the `mean` of them, or in another way (`whole`).
Kind = Literal["each", "first", "last", "mean", "whole"]
#: The attributes of a result that are read, the first that is there.
ATTRIBUTES: Final = ("logits", "image_embeds", "text_embeds", "last_hidden_state")
#: What two towers that compare images, or other inputs, with texts give.
_COMPARED: Final = ("logits_per_image", "logits_per_audio")


@dataclass(frozen=True)
class Output:
    """What of a forward is read. `take`: the result of a forward and its keyword arguments -> [batch pos output], or [batch output]
    where a prompt has one. `labels`: what the outputs are called, where they are no tokens (classes). `linear`: `take` is linear in what
    the model gives; it belongs to what is measured, so that its gradient is the plain one under any rules."""

    name: str
    take: Callable[[Any, Mapping[str, Any]], Tensor] = field(compare=False)
    labels: tuple[str, ...] = ()
    linear: bool = True

    def __call__(self, result: Any, inputs: Mapping[str, Any]) -> Tensor:
        """[batch pos output]; one position where a prompt has one output."""
        found = self.take(result, inputs)
        return found[:, None] if found.ndim == 2 else found


def default_output(result: Any, name: str) -> Output:
    """What is read of the result of a forward by itself: its logits, or embeddings; of two towers how like each example's two are, as
    they compare them. Raises: LayoutError where it has none."""
    for attribute in _COMPARED:
        if isinstance(_part(result, attribute), Tensor):
            return Output(attribute, partial(_each_with_its_own, attribute), ("similarity",))
    for attribute in ATTRIBUTES:
        found = _part(result, attribute)
        if isinstance(found, Tensor) and found.is_floating_point() and found.ndim in (2, 3):
            return Output(attribute, partial(_attribute, attribute))
    given = (
        f"{type(result).__name__} with {', '.join(result)}" if isinstance(result, Mapping) else type(result).__name__
    )
    raise LayoutError(f"{name}: a forward pass gives a {given}; expected one of {', '.join(ATTRIBUTES)} in it.")


def _each_with_its_own(name: str, result: Any, inputs: Mapping[str, Any]) -> Tensor:
    """The diagonal of [batch batch], as [batch 1]: each example's first input with its second one."""
    return torch.diagonal(_part(result, name))[:, None]


def _attribute(name: str, result: Any, inputs: Mapping[str, Any]) -> Tensor:
    found: Tensor = _part(result, name)
    return found


def _part(result: Any, name: str) -> Any:
    """What a result has under a name, as an attribute or in a mapping; None where it has nothing."""
    return getattr(result, name, result.get(name) if isinstance(result, Mapping) else None)


def part_of_result(name: str) -> Callable[[Any], Tensor]:
    """What reads the part `name` of the result of a forward, an attribute or a key."""

    def read(result: Any) -> Tensor:
        found = _part(result, name)
        if not isinstance(found, Tensor):
            there = ", ".join(result) if isinstance(result, Mapping) else type(result).__name__
            raise LayoutError(f"output={name!r}: forward returns {there}; expected the name of a tensor of it.")
        return found

    read.__name__ = name
    return read


@dataclass(frozen=True)
class NextToken:
    """Outputs are `n` tokens, of what follows each position. `example`: of a decoder behind an encoder, what makes a checked example of what
    both read."""

    n: int
    example: Callable[..., Example] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class AtMask:
    """Outputs are `n` tokens, of what stands at the token `mask`."""

    n: int
    mask: int


@dataclass(frozen=True)
class Classes:
    """Outputs are classes, or other numbers with names. `example`: of a model that takes no text, what makes a checked example of named
    inputs. `types`: how many types of tokens the model tells apart, where it reads two texts."""

    names: tuple[str, ...]
    example: Callable[[Any], Example] | None = field(default=None, compare=False, repr=False)
    types: int = field(default=0, compare=False, repr=False)

    @property
    def n(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class NoAnswer:
    """`n` outputs of which none is the answer of a prompt, and `why`: what to do, as a sentence. `names`: of classes of each position."""

    n: int
    why: str
    names: tuple[str, ...] = ()


Outputs = NextToken | AtMask | Classes | NoAnswer


def class_names(config: Any, n: int) -> tuple[str, ...]:
    """The names that a configuration has for its classes; their numbers where it has none, or not as many."""
    known = getattr(config, "id2label", None) or {}
    names = tuple(str(known[i]) for i in range(n) if i in known)
    return names if len(set(names)) == n else tuple(map(str, range(n)))
