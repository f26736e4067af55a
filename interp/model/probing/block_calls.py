"""The calls of one block as the probe saw them: what reads which tensor, what is made of it, and which modules are projections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor, nn

from interp.errors import LayoutError
from interp.model.modules.linear import has_base, is_linear_map, mixes
from interp.model.modules.tensors import close
from interp.model.probing.probe import Attended, Call


@dataclass(frozen=True, eq=False)
class BlockCalls:
    """One block: its path, its attention or what `mixed` positions in its place (None: nothing in it), and the calls of the whole probe by
    path in the order in which they returned, and how many there were."""

    model: nn.Module
    path: str
    mixed: Attended | None
    calls: dict[str, Call]
    counts: Mapping[str, int]

    @property
    def attended(self) -> Attended:
        """What mixes positions in it. Raises: LayoutError where nothing does."""
        if self.mixed is None:
            raise LayoutError(f"{self.path}: nothing in it mixes positions.")
        return self.mixed

    @property
    def mixing(self) -> tuple[str, ...]:
        """The path of what mixes positions, where there is such."""
        return () if self.mixed is None else (self.mixed.path,)

    @cached_property
    def inside(self) -> dict[str, Call]:
        """The calls inside the block, without its own."""
        return {path: call for path, call in self.calls.items() if path.startswith(f"{self.path}.")}

    @cached_property
    def later(self) -> dict[str, Call]:
        """Those of them that returned after the attention was computed."""
        behind = list(self.calls)[self.attended.after :]
        return {path: self.inside[path] for path in behind if path in self.inside}

    @property
    def own(self) -> Call:
        """The call of the block itself."""
        return self.calls[self.path]

    @cached_property
    def cutting(self) -> tuple[str, ...]:
        """The modules without weights that mix, such as norms, through which everything goes that the block makes of its input; all of
        them where the forward has no gradients, which tell."""
        x, y = self.own.read, self.own.made
        found = [
            path for path, call in self.inside.items() if call.y.numel() == self.own.x.numel() and not passes(call)
        ]
        return tuple(p for p in found if not self.makes(p) and not depends(y, x, but_through=self.inside[p].made))

    def projects(self, path: str) -> bool:
        """Whether a module is a linear map, rounding apart, or an adapter around one."""
        module = self.model.get_submodule(path)
        if is_linear_map(module) or has_base(module):
            return True
        alone = not any(other.startswith(f"{path}.") for other in self.inside)
        return alone and mixes(module, self.inside[path].x_value)

    def makes(self, path: str) -> bool:
        """Whether a module has weights that mix the entries of what it reads, as norms, scales and dropout have not."""
        return has_matrix(self.model.get_submodule(path)) or any(True for _ in self.projections(f"{path}."))

    def projections(self, prefix: str = "") -> Iterator[str]:
        """The projections of the block, or below a path that ends in a dot; an adapter in place of what is inside it."""
        whole = "\0"
        for path in sorted(path for path in self.inside if path.startswith(prefix)):
            if not path.startswith(whole) and self.projects(path):
                whole = f"{path}."
                yield path

    def parents(self, path: str) -> Iterator[str]:
        """The modules around `path` that were called, from the inside out, below the block."""
        while (path := path.rpartition(".")[0]) and path != self.path:
            if path in self.inside:
                yield path

    def feeder(self, reader: Call) -> str | None:
        """The module of the block whose output, as it was made, is what the reader reads, if it mixes nothing: a norm."""
        x, value = reader.x, reader.x_value.flatten()
        found = (
            path
            for path, call in self.inside.items()
            if same(call.y, x) and not same(call.x, x) and torch.equal(call.y_value.flatten(), value)
        )
        path = next(found, None)
        return (
            None if path is None or self.makes(path) or (self.own.made is not None and path in self.cutting) else path
        )


def has_matrix(module: nn.Module) -> bool:
    """Whether a weight of the module has two axes, or more, of several entries."""
    return any(sum(n > 1 for n in p.shape) > 1 for p in module.parameters())


def same(a: Tensor, b: Tensor) -> bool:
    """The same memory: `a` is `b`, or a reshaped view of all of it."""
    return a.data_ptr() == b.data_ptr() and a.numel() == b.numel()


def passes(call: Call) -> bool:
    """Whether a module gives what it reads, as dropout does."""
    return same(call.x, call.y) and torch.equal(call.x_value.flatten(), call.y_value.flatten())


def reads(call: Call, value: Tensor) -> bool:
    return close(call.x_value, value)


def depends(node: Any, on: Any, *, but_through: Any = None) -> bool:
    """Whether a place in torch's graph (`Tensor.grad_fn`) was computed from `on`, by another way than through `but_through`, one place or a
    tuple of them."""
    goal, open_ = on, [node]
    seen = {*but_through} if isinstance(but_through, tuple) else {but_through}
    while open_:
        node = open_.pop()
        if node is None or node in seen:
            continue
        if node is goal:
            return True
        seen.add(node)
        open_ += [parent for parent, _ in node.next_functions]
    return False


_VIEWS: Final = (
    "View",
    "Reshape",
    "UnsafeView",
    "Transpose",
    "Permute",
    "Expand",
    "Slice",
    "Unsqueeze",
    "Squeeze",
    "Alias",
    "TBackward",
)


def used_before(node: Any, on: Any, behind: Any) -> bool:
    """Whether something that `node` was computed from had used the tensor made at `on` before what was made at `behind`, and otherwise than
    as a view of it: what is then written into that tensor does not reach it."""
    open_, seen, shared = [node], {behind}, {on}
    users: list[tuple[Any, Any]] = []
    while open_:
        node = open_.pop()
        if node is None or node in seen or node is on:
            continue
        seen.add(node)
        parents = [parent for parent, _ in node.next_functions]
        users += [(node, parent) for parent in parents]
        open_ += parents
    while found := {user for user, used in users if used in shared and user.name().startswith(_VIEWS)} - shared:
        shared |= found
    early = (user for user, used in users if used in shared and user not in shared)
    return any(user._sequence_nr() < behind._sequence_nr() for user in early)
