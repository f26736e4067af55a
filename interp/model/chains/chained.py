"""Blocks called in another order, or several times: what stands where they are while a run lasts, and calls them.

The forward of the model goes through its blocks as always, and so makes the arguments of each, its mask or its rotation. What it calls are
conductors: each keeps the arguments that its block is given, and then the blocks of the chain are called with theirs and with
the stream, as far as their arguments are known. What the model goes on with is the stream that the last of them has made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from interp.errors import LayoutError
from interp.model.modules.tensors import activation_in, activation_out, with_activation, with_output
from interp.model.modules.undo import Change


@dataclass
class Course:
    """The blocks of one stack during one run. chain: which are called, in order; paths: where they are; given: what each returns in an
    ordinary run, from which comes what a block that is left out returns beside the stream."""

    chain: Sequence[int]
    paths: Sequence[str]
    given: Mapping[str, Any]
    blocks: list[nn.Module] = field(default_factory=list)
    calls: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    at: int = 0

    def called(self, layer: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the model gets where it calls a layer. Raises: LayoutError for a block that it calls again."""
        if layer in self.calls:
            raise LayoutError(f"layers: {self.paths[layer]} is called several times in a forward of this model.")
        self.calls[layer] = args, kwargs
        x, last, output = activation_in(args, kwargs), -1, None
        while self.at < len(self.chain) and self.chain[self.at] in self.calls:
            last = self.chain[self.at]
            own_args, own_kwargs = with_activation(*self.calls[last], x)
            output = self.blocks[last](*own_args, **own_kwargs)
            x = activation_out(output)
            self.at += 1
        return output if last == layer else self._as_returned(layer, x)

    def _as_returned(self, layer: int, x: Tensor) -> Any:
        """A stream in the form in which a block returns it."""
        return with_output(self.given[self.paths[layer]], x)

    def check(self) -> None:
        """Raises: LayoutError where the model did not go through all its blocks."""
        if self.at < len(self.chain):
            missing = next(path for layer, path in enumerate(self.paths) if layer not in self.calls)
            raise LayoutError(
                f"layers: {missing} was not called where it stands, so this model takes no other chain of layers."
            )


class Conductor(nn.Module):
    """Stands where a block is, and looks like it to a model that asks for its attributes."""

    def __init__(self, block: nn.Module, course: Course, layer: int) -> None:
        super().__init__()
        self.block = block
        self.training = block.training
        self._course, self._layer = course, layer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._course.called(self._layer, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("block"), name)


def conductors(model: nn.Module, courses: Sequence[Course]) -> dict[str, Conductor]:
    """What will stand in the place of each block, by its path."""
    found: dict[str, Conductor] = {}
    for course in courses:
        course.blocks = [model.get_submodule(path) for path in course.paths]
        found |= {p: Conductor(b, course, i) for i, (p, b) in enumerate(zip(course.paths, course.blocks, strict=True))}
    return found


@contextmanager
def in_place(model: nn.Module, standing: Mapping[str, Conductor]) -> Iterator[None]:
    """Meanwhile conductors stand where the blocks are."""
    places = [
        (model.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2], c) for path, c in standing.items()
    ]

    def undo() -> None:
        for parent, name, own in places:
            parent._modules[name] = own.block

    change = Change(model, undo)
    try:
        for parent, name, own in places:
            parent._modules[name] = own
        yield
    finally:
        change.end()
