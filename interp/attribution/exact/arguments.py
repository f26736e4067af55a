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


def slots(value: Any) -> Iterator[Tensor | None]:
    """Every tensor inside nested tuples, lists and dictionaries, in one order; and every None, where one may be another time."""
    if value is None or isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from slots(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from slots(item)


def mapped(value: Any, axes: Sequence[Axes | None], change: Callable[[Tensor, Axes], Tensor]) -> Any:
    """The same nest with every tensor changed by what is known of its axes, in the order of `slots`.

    Raises: LayoutError for a tensor where there was none when the axes were found.
    """
    known = iter(axes)

    def at(x: Tensor | None) -> Tensor | None:
        own = next(known, None)
        if x is None:
            return None
        if own is None:
            raise LayoutError(f"attention is given a tensor {tuple(x.shape)} that it was not given when it was tried.")
        return change(x, own)

    return _mapped(value, at)


def _mapped(value: Any, change: Callable[[Tensor | None], Tensor | None]) -> Any:
    if value is None or isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        return type(value)([_mapped(item, change) for item in value])
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    return value


def find_axes(small: Any, large: Any, sizes: tuple[Size, Size]) -> list[Axes | None]:
    """The axes of every slot of one call, None where it holds no tensor, seen with two sizes (examples, positions).

    The sizes share no number, and positions do not grow as examples do. Raises: LayoutError where an axis grows like neither.
    """
    pairs = [(_shape(a), _shape(b)) for a, b in zip(slots(small), slots(large), strict=True)]
    return [_axes(a, b, sizes) for a, b in pairs]


def _shape(x: Tensor | None) -> tuple[int, ...] | None:
    return None if x is None else tuple(x.shape)


def _axes(small: tuple[int, ...] | None, large: tuple[int, ...] | None, sizes: tuple[Size, Size]) -> Axes | None:
    (few, short), (many, long) = sizes
    if small is None and large is None:
        return None
    if small is None or large is None or len(small) != len(large):
        raise LayoutError(f"an argument of attention has shape {small} for one prompt and {large} for another.")
    grown = [i for i, (a, b) in enumerate(zip(small, large, strict=True)) if a != b]
    batch = [i for i in grown if small[i] * many == large[i] * few]
    positions = [i for i in grown if (small[i], large[i]) == (short, long)]
    if len(batch) > 1 or len(batch) + len(positions) < len(grown):
        raise LayoutError(
            f"an argument of attention has shape {small} for prompts {sizes[0]} and {large} for {sizes[1]}."
        )
    return Axes(batch[0] if batch else None, tuple(positions))


def at_rows(call: Any, axes: Sequence[Axes | None], rows: Rows) -> Any:
    """The arguments for the tokens `rows` as one example: what has one position axis is gathered, the rest is left.

    What has two is a mask, which the attention function alone looks at.
    """

    def cut(x: Tensor, own: Axes) -> Tensor:
        if len(own.positions) != 1:
            return x
        (position,) = own.positions
        if own.batch is None or x.shape[own.batch] == 1:
            return x.index_select(position, rows.positions.to(x.device))
        picked = x.movedim((own.batch, position), (0, 1))[rows.examples.to(x.device), rows.positions.to(x.device)]
        return picked[None].movedim((0, 1), (own.batch, position))

    return mapped(call, axes, cut)


def repeated(call: Any, axes: Sequence[Axes | None], batch: int, n: int) -> Any:
    """The arguments for `n` copies of a batch of `batch` prompts, one after the other."""

    def copy(x: Tensor, own: Axes) -> Tensor:
        if own.batch is None or n == 1 or x.shape[own.batch] < batch:  # one for all prompts
            return x
        return torch.cat([x] * n, dim=own.batch)

    return mapped(call, axes, copy)
