"""The places of dictionaries in a run, the nodes of each that are wanted, and the edges between these.

`unit` counts the nodes of one place whose edges are wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from interp.attribution.features.groups import ErrorGroup, PartGroup
from interp.dictionaries.dictionary import Dictionary
from interp.parts.graph import Edge
from interp.parts.nodes import Group, Node
from interp.parts.sites import Site, order

METRIC: Final = Node("logits")


@dataclass(frozen=True, eq=False)
class Place:
    """The wanted nodes of one dictionary: some of its listed features (`units` among them), and perhaps its error, last."""

    features: PartGroup | None
    error: ErrorGroup
    units: Tensor
    with_error: bool

    @property
    def dictionary(self) -> Dictionary:
        return self.error.listed.dictionary

    @property
    def target(self) -> Site:
        return self.error.site

    @property
    def nodes(self) -> list[Node]:
        own = [self.features.node(int(u)) for u in self.units] if self.features is not None else []
        return [*own, *([self.error.node(0)] if self.with_error else [])]


def places_of(groups: Iterable[Group], names: frozenset[str]) -> list[Place]:
    """The places of the dictionaries with these groups of nodes, in forward order, and of each the nodes of these `names`: also those without
    one, which are held fixed too."""
    at_site: dict[Site, list[Any]] = {}
    for group in groups:
        at_site.setdefault(group.site, []).append(group)
    found = []
    for *features, error in at_site.values():
        own = features[0] if features else None
        units = [u for u in range(own.n_units) if own.node(u).name in names] if own is not None else []
        device = error.listed.features.device
        at = torch.tensor(units, dtype=torch.long, device=device)
        found.append(Place(own, error, at, error.node(0).name in names))
    return sorted(found, key=lambda place: order(place.target))


def edges_of(places: Sequence[Place]) -> Iterator[Edge]:
    """Every edge: receivers in the order of `pulled`, and for each its senders in forward order."""
    for place in places:
        for receiver in place.nodes:
            yield from (Edge(sender, receiver) for sender in _senders(places, place.target))
    yield from (Edge(sender, METRIC) for sender in _senders(places, None))


def before(places: Sequence[Place], target: Site | None) -> list[Place]:
    """The places before a target; all of them before the metric."""
    return [p for p in places if target is None or order(p.target) < order(target)]


def _senders(places: Sequence[Place], target: Site | None) -> Iterator[Node]:
    for place in before(places, target):
        yield from place.nodes
