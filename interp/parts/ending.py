"""What a metric reads of a run where that is not the logits: the tensors at some sites, side by side.

A model with an outcome is a view of the same live modules (`HookedModel.ending_at`): the `logits` of its runs are what stands at these sites, and
its forwards end there. So everything that measures runs by their logits, and every layer that may come before, stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Final

import torch
from torch import Tensor

from interp.errors import SiteError
from interp.parts.layout import Layout
from interp.parts.sites import MODULE, Site, order

LOGITS, FINAL = Site("logits"), Site("resid_final")
_STREAMS: Final = ("resid_pre", "resid_attn", "resid_mid", "resid_cross", "resid_mlp", "resid_post", "resid_final")


@dataclass(frozen=True)
class Outcome:
    """The sites whose tensors are measured, by the names that they were given by, and the shapes behind batch and positions that they were seen
    with. `streams`: whether the stream that leaves the last layer of the map is all that is measured, so that layers alone make it."""

    sites: tuple[Site, ...]
    names: tuple[str, ...]
    shapes: dict[Site, tuple[int, ...]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, sites: Sequence[Site], layout: Layout) -> tuple[Outcome, Layout]:
        """What is measured at these sites, and the map of the model up to there: without the layers behind it. Of several stacks, and of modules,
        it is the whole map."""
        given = cls(tuple(sites), tuple(map(str, sites)))
        last = given.last
        if last is None or layout.others or layout.entry is not None or last.layer is None:
            return given, layout
        n = last.layer + 1
        until = replace(
            layout,
            n_layers=n,
            blocks=layout.blocks[:n],
            ln_final=None,
            unembed=None,
            head=(),
            readout="each",
            linear=False,
        )
        if last.kind != "resid_post":
            return given, until
        end = tuple(FINAL if site == last else site for site in given.sites)
        return cls(end, given.names), until

    def __post_init__(self) -> None:
        for site in self.sites:
            if site.kind.endswith("pattern"):
                raise SiteError(f"site '{site}' has two axes of positions; a metric reads [batch pos ...]. Read z.")
            if site.part:
                raise SiteError(
                    f"site '{site}' is of a dictionary; a metric reads places of the model, and no features."
                )

    @property
    def reads(self) -> tuple[Site, ...]:
        """Those that are no logits."""
        return tuple(site for site in self.sites if site != LOGITS)

    @property
    def last(self) -> Site | None:
        """The site behind which nothing is measured; None where that is not known."""
        known = all(site.kind != MODULE for site in self.sites)
        return max(self.sites, key=order) if known and LOGITS not in self.sites else None

    def reaches(self, site: Site) -> bool:
        """Whether a site is not behind all that is measured."""
        return self.last is None or order(site) <= order(self.last)

    def joined(self, reads: Mapping[Site, Tensor], logits: Tensor | None) -> Tensor:
        """What was measured, side by side [batch pos number]."""
        found = {site: logits if site == LOGITS else reads[site] for site in self.sites}
        tensors = {site: x for site, x in found.items() if x is not None}
        n = {site: x.shape[1] for site, x in tensors.items()}
        if len({*n.values()}) > 1:
            said = ", ".join(f"'{site}' {count}" for site, count in n.items())
            raise SiteError(f"a metric reads sites of one stack; given sites with as many positions as: {said}.")
        self.shapes.update({site: tuple(x.shape[2:]) for site, x in tensors.items()})
        return torch.cat([x.flatten(2) if x.ndim > 2 else x[..., None] for x in tensors.values()], dim=-1)

    def parts(self, joined: Tensor) -> dict[str, Tensor]:
        """The same by the names of the sites: [batch pos ...], or [batch ...] of one position."""
        widths = [prod(self.shapes[site]) for site in self.sites]
        pieces = torch.split(joined, widths, dim=-1)
        shaped = [
            x.view(*x.shape[:-1], *(self.shapes[site] or (1,))) for site, x in zip(self.sites, pieces, strict=True)
        ]
        return dict(zip(self.names, shaped, strict=True))

    @property
    def streams(self) -> bool:
        return self.sites == (FINAL,) and self.names != (str(FINAL),)


def check_ends(outcome: Outcome, what: str) -> None:
    """Raises: SiteError where what is measured is the stream, but not the one behind all that writes into it, naming what needs that."""
    for site, name in zip(outcome.sites, outcome.names, strict=True):
        if site.kind in _STREAMS and site != FINAL:
            raise SiteError(
                f"{what}: the metric reads '{name}' of the stream; expected what leaves a layer, such as 'resid_post.{site.layer or 0}', and no place of "
                "the stream before that."
            )
