"""The nodes of dictionaries: at each target a group of features, and the error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from torch import Tensor

from interp.attribution.features.listed import Listed
from interp.errors import MethodError
from interp.parts.layout import Layout
from interp.parts.nodes import Group, Node


@dataclass(frozen=True, eq=False)
class PartGroup(Group):
    """Nodes of one dictionary. `site` is its target, where they are patched: what is there is not their value."""

    listed: Listed = None  # type: ignore[assignment]

    def contract(self, difference: Tensor, gradient: Tensor) -> NoReturn:
        """Raises: MethodError. The values of these nodes are sparse; a batch contracts them."""
        raise MethodError(
            f"{self.kind}: its values are not what is at {self.site}; use batch.contracted(group, coefficient, positions)."
        )

    def mix(self, base: Tensor, source: Tensor, units: Tensor, positions: Tensor) -> NoReturn:
        """Raises: MethodError, as above."""
        self.contract(base, source)


@dataclass(frozen=True, eq=False)
class FeatureGroup(PartGroup):
    """The listed features of one dictionary."""

    def node(self, unit: int, position: int | str | None = None) -> Node:
        """The node of a listed feature."""
        return Node(self.kind, self.site.layer, self.listed.numbers[unit], position=position)

    def width(self, layout: Layout) -> int:
        """Numbers per token: what the dictionary reads and makes up."""
        return self.listed.dictionary.d_in + self.listed.dictionary.d_out


@dataclass(frozen=True, eq=False)
class ErrorGroup(PartGroup):
    """What one dictionary does not make up."""

    def node(self, unit: int, position: int | str | None = None) -> Node:
        """The node of the error."""
        return Node(self.kind, self.site.layer, position=position)

    def width(self, layout: Layout) -> int:
        """Numbers per token."""
        return self.listed.dictionary.d_out


def groups_of(listed: Sequence[Listed]) -> tuple[Group, ...]:
    """For each dictionary its features, where any is listed, and its error."""
    found: list[Group] = []
    for own in listed:
        at = own.target
        if own.numbers:
            found.append(FeatureGroup(f"{at.kind}.feature", at, len(own.numbers), listed=own))
        found.append(ErrorGroup(f"{at.kind}.error", at, 1, listed=own))
    return tuple(found)
