"""Parts of layers left out of a run, and runs that begin at the first layer that is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor

from interp.depth.material import Prompts
from interp.errors import MethodError, SiteError, unknown
from interp.model.edits import Edit, patch, zero
from interp.model.result import Run
from interp.parts.sites import Site

Unit = Literal["attention", "mlp", "block", "both"]
#: Which kinds of parts each unit is, and the site that each part adds at.
UNITS: Final[dict[str, tuple[str, ...]]] = {
    "attention": ("attention",),
    "mlp": ("mlp",),
    "block": ("block",),
    "both": ("attention", "mlp"),
}
ADDS: Final = {"attention": "attn_out", "mlp": "mlp_out"}
_SHORT: Final = {"attention": "attn", "mlp": "mlp", "block": "block"}


@dataclass(frozen=True, order=True)
class Part:
    """A layer, or what attention (or what mixes positions in its place) or the MLP adds in it."""

    layer: int
    kind: str

    @property
    def name(self) -> str:
        return f"{_SHORT[self.kind]}.{self.layer}"


def parts_of(model: Any, unit: str) -> tuple[Part, ...]:
    """The parts of a unit, layer by layer. Raises: MethodError for an unknown unit, and where the model has none."""
    if unit not in UNITS:
        raise MethodError(unknown("unit", unit, UNITS))
    found = tuple(
        Part(layer, kind) for layer in range(model.layout.n_layers) for kind in UNITS[unit] if has(model, kind, layer)
    )
    if not found:
        raise MethodError(f"unit={unit!r}: no layer of this model has such a part.")
    return found


def has(model: Any, kind: str, layer: int) -> bool:
    """Whether a layer has a part that can be left out: every layer has itself."""
    if kind == "block":
        return True
    return readable(model, Site(ADDS[kind], layer))


def readable(model: Any, site: Site) -> bool:
    """Whether the model has a site."""
    try:
        model.resolve(site)
    except SiteError:
        return False
    return True


def blocks_left(n_layers: int, removed: Iterable[Part]) -> tuple[int, ...]:
    """The layers that are still called."""
    gone = {part.layer for part in removed if part.kind == "block"}
    return tuple(layer for layer in range(n_layers) if layer not in gone)


def edits_of(removed: Iterable[Part], called: Sequence[int]) -> list[Edit]:
    """What sets to zero what parts add in the layers that are called."""
    return [zero(Site(ADDS[p.kind], p.layer)) for p in removed if p.kind != "block" and p.layer in called]


def run_without(
    model: Any,
    prompts: Prompts,
    removed: Sequence[Part],
    *,
    reads: Sequence[Site] = (),
    keep: int | None = None,
    edits: Sequence[Edit] = (),
    streams: Mapping[int, Tensor] | None = None,
    start: int = 0,
) -> Run:
    """A run without some parts; `streams`: what enters each layer in a run that is the same up to layer `start`, where this one then begins.

    The layers in front of `start` are not called. Where none is left behind it, the stream goes to the output as it is.
    """
    n = model.layout.n_layers
    left = blocks_left(n, removed)
    chain = left if streams is None else tuple(layer for layer in left if layer >= start)
    begun = [] if streams is None else [patch(Site("resid_pre", chain[0]) if chain else _end(model), streams[start])]
    called = chain or (n - 1,)
    layers = None if called == tuple(range(n)) else called
    with torch.no_grad():
        return model.run(  # type: ignore[no-any-return]
            prompts.run,
            reads=list(reads),
            edits=[*begun, *edits_of(removed, called if chain else ()), *edits],
            logits_to_keep=prompts.keep if keep is None else keep,
            layers=layers,
        )


def _end(model: Any) -> Site:
    """Where the stream goes to the output."""
    return Site("resid_final") if model.layout.ln_final is not None else Site("resid_post", model.layout.n_layers - 1)


def streams_of(run: Mapping[Site, Tensor], left: Sequence[int], n_layers: int) -> dict[int, Tensor]:
    """What enters each layer in a run that read the streams of the layers that were `left`; a layer that was not called has what enters the
    next one, and what leaves the last one has the number `n_layers`."""
    found = {n_layers: run[Site("resid_post", left[-1])]}
    for layer in range(n_layers - 1, -1, -1):
        found[layer] = run[Site("resid_pre", layer)] if layer in left else found[layer + 1]
    return found


def stream_sites(left: Sequence[int]) -> list[Site]:
    """What must be read for `streams_of`."""
    return [*(Site("resid_pre", layer) for layer in left), Site("resid_post", left[-1])]
