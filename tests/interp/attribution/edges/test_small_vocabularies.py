"""What level edges looks at in a model needs no more token ids than the model has."""

from __future__ import annotations

import pytest

from interp.attribution.edges.edge_maps import EdgeMap
from interp.model.model import HookedModel
from interp.parts.graph import Graph
from tests.interp.model.tiny import tiny


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_edges_are_found_with_any_vocabulary(name: str, size: int) -> None:
    special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    model = HookedModel(tiny(name, vocab_size=size, **special))
    found = EdgeMap.of(model, Graph.of(model.layout))
    assert len(found.projections) == 2 and all(p.one_pass for p in found.projections.values())
