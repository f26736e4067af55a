"""Nodes of a net without blocks: modules, and entries of their axis 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor

from interp.parts.layout import Layout
from interp.parts.nodes import Group, Node
from interp.parts.sites import MODULE, Site
from interp.precision import wide


@dataclass(frozen=True)
class ModuleGroup(Group):
    """What one module returns [batch channel ...]: one node, or (`channels`) one for each entry of axis 1. `numbers`: how many of each position of
    the net's input."""

    channels: bool = False
    numbers: int = 0

    def node(self, unit: int, position: int | str | None = None) -> Node:
        """The node of one unit."""
        return Node(str(self.site), None, unit if self.channels else None, False, position)

    def width(self, layout: Layout) -> int:
        """Numbers per position of the net's input."""
        return self.numbers

    def contract(self, difference: Tensor, gradient: Tensor) -> Tensor:
        """difference . gradient within each node: [batch channel ...] -> [batch 1 unit], in float32 or better."""
        change = wide(difference)
        product = change * gradient.to(change.dtype)
        apart = product.flatten(2).sum(-1) if product.ndim > 2 else product
        return (apart if self.channels else apart.sum(-1, keepdim=True))[:, None]

    def mix(self, base: Tensor, source: Tensor, units: Tensor, positions: Tensor) -> Tensor:
        """`base` with `source` at some units, in all examples that have a position chosen. units: bool [unit]; positions: bool [batch pos]."""
        chosen = positions.any(1)[:, None] & units[None]
        return source.to(base).where(chosen.view(*chosen.shape, *[1] * (base.ndim - 2)), base)


def groups_of_net(nodes: Mapping[str, tuple[int, ...]], channels: bool, positions: int) -> tuple[Group, ...]:
    """A group for each module. nodes: the shape of what it returns, without the batch; positions: of the input that it was seen on."""
    return tuple(
        ModuleGroup(
            "channel" if channels else MODULE,
            Site(MODULE, path=path),
            shape[0] if channels else 1,
            channels=channels,
            numbers=-(-prod(shape) // max(1, positions)),
        )
        for path, shape in nodes.items()
    )
