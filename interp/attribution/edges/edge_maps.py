"""What level `edges` knows of a model: found and checked once, whatever is asked of its edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor

from interp.attribution.edges.assumptions import check_model
from interp.attribution.edges.projections import Projections, find_projections
from interp.attribution.edges.workspace import Workspace
from interp.attribution.edges.writers import EMBED, Writers
from interp.ledger import uncounted
from interp.model.coverage.backward import untouched
from interp.model.modules.linear import norm_at
from interp.model.modules.lock import reserved, settled
from interp.parts.graph import Graph
from interp.parts.named_inputs import Inputs

POSITION: Final = "position embedding"


@dataclass(frozen=True)
class EdgeMap:
    """What level `edges` knows of a model: its graph, its writers, how its attention reads, and memory to work in.

    `checked`: the model that it was last checked on, where that tells whether it is the same.
    """

    graph: Graph
    writers: Writers
    projections: Mapping[int, Projections]
    workspace: Workspace = field(default_factory=Workspace)
    checked: tuple[Any, ...] | None = None

    @classmethod
    def of(cls, model: Any, graph: Graph) -> EdgeMap:
        """Found and checked once per model and graph; checked again when a module is another one, and each time where somebody's
        hook or another forward acts on any.

        Raises: LayoutError where a norm, an output projection or attention is not understood, or does something else now.
        """
        with settled(model.device), uncounted(), reserved(model.hf):
            known: EdgeMap = model.edge_maps.get(graph) or cls._find(model, graph)
            now = untouched(model.hf)
            if now is None or now != known.checked:
                check_model(known.writers, known.projections, now is not None)
        model.edge_maps[graph] = replace(known, checked=now)
        return model.edge_maps[graph]  # type: ignore[no-any-return]

    @classmethod
    def _find(cls, model: Any, graph: Graph) -> EdgeMap:
        model.layout.check_written("edges")
        writers = Writers(model, graph)
        for path in (path for block in model.layout.blocks for path in block.fronts):
            norm_at(model, path)
        for layer in graph.attentions:
            writers.W_O(layer)
        return cls(graph, writers, find_projections(model, graph))

    def see(self, given: Tensor | Inputs) -> Mapping[Any, Tensor]:
        """The values of every writer on token ids [batch pos] or inputs, for means."""
        with torch.no_grad():
            run = self.writers.model.run(given, reads=self.writers.sites, logits_to_keep=1)
        values: dict[Any, Tensor] = dict(self.writers.seen(run.reads))
        if self.graph.split_positions:
            values[POSITION] = self.writers.position_part(given, values[EMBED]).expand_as(values[EMBED])
        return values
