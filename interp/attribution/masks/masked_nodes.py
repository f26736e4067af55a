"""One run with a mask over nodes: a node goes on with  source + M (now - source)  in the place of what it has.

A place whose shares are all 1 is left alone, and one where they are all 0 has the source's values, bit for bit. What is there before
the mask depends on the masks upstream, so the slope of a node's own share is  g . (now - source)  with g behind the mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from interp.attribution.batching.batches import Batch
from interp.attribution.masks.node_places import Place, dictionaries_of
from interp.errors import UnsupportedRuleError
from interp.model.edits import Edit
from interp.model.result import Run
from interp.parts.nodes import Group
from interp.parts.sites import Site
from interp.rules.rules import GRADIENT, Rules


@dataclass
class MaskedNodes:
    """One masked run of a batch. shares: of each group that has a place [unit]; all other nodes stay as they are."""

    batch: Batch
    places: Mapping[Group, Place]
    shares: Mapping[Group, Tensor]
    rules: Rules = GRADIENT
    now: dict[Site, Tensor] = field(default_factory=dict)

    def metric(self) -> Tensor:
        """The metric [batch] of the masked run."""
        with torch.no_grad():
            return self.batch.measure(self.batch.at_metric(self._run().logits))

    def derivative(self) -> tuple[Tensor, dict[Group, Tensor]]:
        """The metric [batch], and d metric / d share of every group [batch unit], the coefficients of the rules for gradients.

        Raises: UnsupportedRuleError for rules between two runs at features: what a dictionary makes has no operands.
        """
        batch = self.batch
        batch.model.check_gradients()
        with torch.enable_grad():
            run = self._run(reads=[place.site for place in self.places.values()])
            logits = batch.at_metric(run.logits)
            found = batch.descend(logits, [run.reads[place.site] for place in self.places.values()], self.rules)
        batch.backwards += 1
        slopes = {}
        for (group, place), g in zip(self.places.items(), found, strict=True):
            now = self.now[place.site]
            change = now - place.source.to(now)
            slopes[group] = place.slopes(change, torch.zeros_like(change) if g is None else g.to(change))
        return batch.measure(logits.detach()), slopes

    def _run(self, reads: list[Site] | None = None) -> Run:
        batch, given = self.batch, dictionaries_of(self.batch)
        if given and self.rules.secants:
            raise UnsupportedRuleError("masks over features: rules between two runs have no average there.")
        batch.targets()
        batch.forwards += 1
        return batch.model.run(  # type: ignore[no-any-return]
            batch.base_inputs,
            reads=reads or [],
            edits=[Edit(place.site, partial(self._mixed, group)) for group, place in self.places.items()],
            rules=self.rules,
            allow_unsupported=True,
            logits_to_keep=batch.keep,
            vocabulary=batch.columns,
            dictionaries=given or None,
            toward=batch.toward(self.rules),
        )

    def _mixed(self, group: Group, x: Tensor) -> Tensor:
        place = self.places[group]
        self.now[place.site] = x.detach()
        return place.mixed(self.shares[group], x)
