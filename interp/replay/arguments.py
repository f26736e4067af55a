"""The arguments of a layer's attention module, cut to some tokens of a recorded run.

Which axis of a tensor counts examples and which count positions is seen by calling the model with two sizes of each:
nothing here knows the name of an argument or an architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interp.errors import LayoutError

Size = tuple[int, int]


@dataclass(frozen=True)
class Axes:
    """The axis of a tensor that counts examples, and those that count positions."""

    batch: int | None
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Rows:
    """Tokens of a recorded batch: the example and the position of each, [row]."""

    examples: Tensor
    positions: Tensor


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor inside nested tuples, lists and dictionaries, in one order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same nest with every tensor changed, in the order of `tensors`."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        return type(value)([mapped(item, change) for item in value])
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    return value


def find_axes(small: Any, large: Any, sizes: tuple[Size, Size]) -> list[Axes]:
    """The axes of every tensor of one call, seen with two sizes (examples, positions) that share no number.

    Raises: LayoutError where an axis grows like neither.
    """
    pairs = list(zip(tensors(small), tensors(large), strict=True))
    return [_axes(tuple(a.shape), tuple(b.shape), sizes) for a, b in pairs]


def _axes(small: tuple[int, ...], large: tuple[int, ...], sizes: tuple[Size, Size]) -> Axes:
    (few, short), (many, long) = sizes
    if len(small) != len(large):
        raise LayoutError(f"an argument of attention has shape {small} for one prompt and {large} for another.")
    grown = [i for i, (a, b) in enumerate(zip(small, large, strict=True)) if a != b]
    batch = [i for i in grown if small[i] * many == large[i] * few]
    positions = [i for i in grown if (small[i], large[i]) == (short, long)]
    if len(batch) > 1 or len(batch) + len(positions) < len(grown):
        raise LayoutError(
            f"an argument of attention has shape {small} for prompts {sizes[0]} and {large} for {sizes[1]}."
        )
    return Axes(batch[0] if batch else None, tuple(positions))


def at_rows(call: Any, axes: Sequence[Axes], rows: Rows) -> Any:
    """The arguments for the tokens `rows` as one example: what has one position axis is gathered, the rest is left.

    What has two is a mask, which the attention function alone looks at.
    """
    known = iter(axes)

    def cut(x: Tensor) -> Tensor:
        own = next(known)
        if len(own.positions) != 1:
            return x
        (position,) = own.positions
        if own.batch is None or x.shape[own.batch] == 1:
            return x.index_select(position, rows.positions.to(x.device))
        picked = x.movedim((own.batch, position), (0, 1))[rows.examples.to(x.device), rows.positions.to(x.device)]
        return picked[None].movedim((0, 1), (own.batch, position))

    return mapped(call, cut)


def repeated(call: Any, axes: Sequence[Axes], n: int) -> Any:
    """The arguments for `n` copies of the batch, one after the other."""
    known = iter(axes)

    def copy(x: Tensor) -> Tensor:
        own = next(known)
        if own.batch is None or x.shape[own.batch] == 1 or n == 1:
            return x
        return torch.cat([x] * n, dim=own.batch)

    return mapped(call, copy)
