"""Nodes of a net without blocks: modules, and their channels: entries of axis 1, units of recurrent layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor

from interp.errors import MethodError
from interp.parts.layout import Layout
from interp.parts.nodes import Group, Node
from interp.parts.sites import MODULE, Site
from interp.precision import wide


@dataclass(frozen=True)
class ModuleGroup(Group):
    """What one module returns [batch channel ...]: one node, or (`channels`) one for each entry of `axis`. `numbers`: how many of each position of
    the net's input."""

    channels: bool = False
    numbers: int = 0
    axis: int = 1

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
        self._check(product)
        product = product.movedim(self.axis, 1) if self.channels else product
        apart = product.flatten(2).sum(-1) if product.ndim > 2 else product
        return (apart if self.channels else apart.sum(-1, keepdim=True))[:, None]

    def mix(self, base: Tensor, source: Tensor, units: Tensor, positions: Tensor) -> Tensor:
        """`base` with `source` at some units, in all examples that have a position chosen. units: bool [unit]; positions: bool [batch pos]."""
        self._check(base)
        chosen = positions.any(1)[:, None] & units[None]
        chosen = chosen.view(*chosen.shape, *[1] * (base.ndim - 2))
        return source.to(base).where(chosen.movedim(1, self.axis) if self.channels else chosen, base)

    def _check(self, x: Tensor) -> None:
        """Raises: MethodError where a module returns another number of channels than on the example that the net was watched on."""
        if self.channels and x.shape[self.axis] != self.n_units:
            raise MethodError(
                f"level 'channels': {self.site.path} returns {x.shape[self.axis]} entries of axis 1 for these inputs and {self.n_units} for the example "
                "that the net was loaded with; load it with inputs of this shape, interp.load(net, inputs=x), or use level 'modules'."
            )


def groups_of_net(
    nodes: Mapping[str, tuple[int, ...]], channels: bool, positions: int, recurrent: Collection[str] = ()
) -> tuple[Group, ...]:
    """A group for each module. nodes: the shape of what it returns, without the batch; positions: of the input that it was seen on; recurrent:
    those that return [batch step unit], whose channels are the units, each over all steps."""
    return tuple(
        ModuleGroup(
            "channel" if channels else MODULE,
            Site(MODULE, path=path),
            1 if not channels else shape[-1] if path in recurrent else shape[0],
            channels=channels,
            numbers=-(-prod(shape) // max(1, positions)),
            axis=-1 if path in recurrent else 1,
        )
        for path, shape in nodes.items()
    )
