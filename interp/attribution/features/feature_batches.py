"""A batch whose nodes are features and errors: their values are codes of its two runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from interp.attribution.batching.batches import Batch
from interp.attribution.features.changes import Apart, Change, change_between, change_to
from interp.attribution.features.groups import ErrorGroup, PartGroup
from interp.attribution.features.listed import Listed
from interp.parts.nodes import Group
from interp.parts.sites import Site

#: Sites whose values a recorded run has.
RECORDED: Final = frozenset(("embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "mlp_post"))


@dataclass
class FeatureBatch(Batch):
    """A batch at level `features`."""

    parts: dict[Site, Change] = field(default_factory=dict)
    _changes: dict[Site, Change] = field(default_factory=dict)

    @property
    def sites(self) -> list[Site]:
        """The embedding, and what the dictionaries read and make up."""
        read = [group.listed.site for group in self.groups if isinstance(group, PartGroup)]
        return list(dict.fromkeys([*super().sites, *read]))

    def source(self) -> dict[Site, Tensor]:
        """The values of the source run; without one, what enters in its place: the sites have no such value."""
        if self._source is None and not self.ablation.has_run:
            self._source = {site: self.ablation.value(site, self.base()[site]) for site in self.embeds}
        return super().source()

    @property
    def recorded(self) -> bool:
        """Whether a recording has all of its sites."""
        return all(site.kind in RECORDED for site in self.sites)

    def change(self, listed: Listed) -> Change:
        """What patching changes in the features and the error of a dictionary; made once."""
        if listed.target not in self._changes:
            self._changes[listed.target] = self._change(listed)
        return self._changes[listed.target]

    @torch.no_grad()
    def _change(self, listed: Listed) -> Change:
        if self.ablation.has_run:
            return change_between(listed, self.base(), self.source())
        means = (self.ablation.fixed(at) for at in parts_of(listed))
        features, error = (None if mean is None else mean.view(-1) for mean in means)
        return change_to(listed, self.base(), features, error)

    def contracted(
        self, group: Group, coefficient: Mapping[Site, Tensor], positions: Tensor, base: Mapping[Site, Tensor]
    ) -> Tensor:
        """The change of each node . coefficient, summed over the positions of each label [batch label unit]."""
        change = self.change(_part(group).listed)
        rho = coefficient[group.site].to(change.error).view_as(change.error)
        if isinstance(group, ErrorGroup):
            return change.error_scores(rho, positions.to(rho.device))
        return change.scores(rho, positions)

    def step(self, site: Site) -> Tensor:
        """What all nodes of a site together change there, in the shape of the site."""
        listed = next(_part(group).listed for group in self.groups if group.site == site)
        return self.change(listed).written().view(self.base()[site].shape)

    def apart(self, group: Group, units: Tensor, positions: Tensor) -> Apart:
        """Each of the units of a group patched alone at `positions` [batch pos]; `added` as at the site, heads concatenated."""
        change = self.change(_part(group).listed)
        positions = positions.to(change.error.device)
        if isinstance(group, ErrorGroup):
            return change.error_apart(positions)
        return change.apart(units.to(change.error.device), positions)


def parts_of(listed: Listed) -> tuple[Site, Site]:
    """The sites of a dictionary's features and error, by which means are known."""
    at = listed.target
    return Site(at.kind, at.layer, "features"), Site(at.kind, at.layer, "error")


def _part(group: Group) -> PartGroup:
    if not isinstance(group, PartGroup):
        raise RuntimeError(f"nodes of kind {group.kind!r} in a batch of features")
    return group
