"""q, k and v of single readers, where readers share columns: the attention runs up to them once for each set of readers that do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from interp.attribution.edges.projections import Projections, entry
from interp.ledger import spend
from interp.model.modules import attention
from interp.parts.graph import Graph
from interp.parts.sites import Site


class _Reached(Exception):
    """Ends an attention module's forward where its q, k and v are known."""


@dataclass
class Grabbed:
    """What was grabbed in one run, until it is put in."""

    model: Any
    graph: Graph
    projections: Mapping[int, Projections]
    held: dict[Site, list[tuple[int, Tensor]]] = field(default_factory=dict)

    def grab(self, layer: int, chosen: Sequence[int], module: Any, args: Any, kwargs: Any) -> None:
        """Run the attention up to its q, k and v, and keep the heads of the readers chosen."""
        found: dict[str, Tensor] = {}

        def around(_: Any, native: attention.Native, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            found.update(q=q, k=k, v=v)
            raise _Reached

        with attention.diverted(around), suppress(_Reached):
            module.forward(*args, **kwargs)
        spend(self.model.prices.rows["qkv", layer] * found["q"].shape[0] * found["q"].shape[2])
        for i in chosen:
            reader = self.projections[layer].readers[i]
            value = found[reader.kind][:, entry(reader, self.graph)]
            self.held.setdefault(Site(reader.kind, layer), []).append((reader.unit or 0, value))

    def put(self, site: Site, x: Tensor) -> Tensor:
        """q, k or v [row pos head d_head] with the heads that were grabbed."""
        held = self.held.pop(site, [])
        x = x.clone() if held else x
        for unit, value in held:
            x[:, :, unit] = value
        return x
