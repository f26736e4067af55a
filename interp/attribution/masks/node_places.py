"""Where nodes are masked: a site, what its values become where nothing is kept, and how shares spread over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from interp.attribution.batching.batches import Batch
from interp.attribution.features.feature_batches import FeatureBatch, parts_of
from interp.attribution.features.groups import ErrorGroup, PartGroup
from interp.dictionaries.dictionary import Dictionary
from interp.parts.nodes import Group
from interp.parts.sites import Site
from interp.precision import wide


@dataclass(frozen=True)
class Place:
    """`source`: broadcasts to what is at the site. spread: shares [unit] -> what broadcasts to it too. slopes: change and gradient
    there -> [batch unit], summed over positions."""

    site: Site
    source: Tensor
    spread: Callable[[Tensor], Tensor]
    slopes: Callable[[Tensor, Tensor], Tensor]

    def mixed(self, shares: Tensor, x: Tensor) -> Tensor:
        """source + share (x - source); `x` itself where all is kept, the source where nothing is."""
        if bool((shares == 1).all()):
            return x
        source = self.source.to(x).expand_as(x)
        if bool((shares == 0).all()):
            return source.clone().requires_grad_(torch.is_grad_enabled())
        return source + self.spread(shares).to(x) * (x - source)


def dictionaries_of(batch: Batch) -> dict[Site, Dictionary]:
    """The dictionaries whose features a batch has, by the site that they make up."""
    found = [group.listed for group in batch.groups if isinstance(group, PartGroup)]
    return {own.target: own.dictionary for own in found}


def places_of(batch: Batch) -> dict[Group, Place]:
    """By group, the place of its nodes."""
    if not isinstance(batch, FeatureBatch):
        return {group: _place_of_units(batch, group) for group in batch.groups}
    groups = [group for group in batch.groups if isinstance(group, PartGroup)]
    sites = [parts_of(group.listed)[isinstance(group, ErrorGroup)] for group in groups]
    sources: dict[Site, Tensor] = {}
    if batch.ablation.has_run:
        with torch.no_grad():
            run = batch.model.run(
                batch.source_inputs, reads=sites, dictionaries=dictionaries_of(batch), logits_to_keep=1
            )
        batch.forwards += 1
        sources = dict(run.reads)
    return {
        group: _place_of_part(batch, group, site, sources.get(site)) for group, site in zip(groups, sites, strict=True)
    }


def _place_of_units(batch: Batch, group: Group) -> Place:
    by_unit = group.view.vector and bool(group.view.units)
    return Place(
        group.site,
        batch.source()[group.site],
        lambda shares: shares[:, None] if by_unit else shares,
        lambda change, g: group.contract(change, g).sum(1),
    )


def _place_of_part(batch: FeatureBatch, group: PartGroup, site: Site, source: Tensor | None) -> Place:
    """The features of a dictionary, or its error. A feature that is in no list is active in neither run of any pair: where anything
    is left out it has the source's value."""
    own, listed = group.listed.dictionary, group.listed.features
    whole = isinstance(group, ErrorGroup)
    if source is None:
        source = torch.zeros(own.d_out if whole else own.n_features, dtype=own.dtype, device=own.device)
        mean = batch.ablation.fixed(site)
        if mean is not None:
            source[slice(None) if whole else listed] = mean.to(source).flatten()

    def spread(shares: Tensor) -> Tensor:
        return shares if whole else shares.new_zeros(own.n_features).index_copy(0, listed, shares)

    def slopes(change: Tensor, g: Tensor) -> Tensor:
        found = (wide(change) * g).sum(1)
        return found.sum(1, keepdim=True) if whole else found[:, listed]

    return Place(site, source, spread, slopes)
