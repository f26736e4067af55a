"""Nodes of what adds to the stream beside attention and the MLP, patched by hand in the bare model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import interp
from interp.errors import LayoutError
from interp.model.model import HookedModel
from tests.interp.attribution.on_hybrids.test_layers_without_heads import FAN, forced
from tests.interp.model.discovery.further import FURTHER
from tests.interp.tasks.toy import ends, measured, pairs_of, toy_task

#: Each model with its further parts: kind of node and module.
PARTS = {
    "attention and a recurrence": {"mixer_out": "flow"},
    "two MLPs at once": {"second_mlp_out": "also"},
    "an MLP before": {"second_mlp_out": "first"},
}


@pytest.mark.parametrize("name", PARTS)
@torch.no_grad()
def test_exact_is_brute_force_patching(name: str) -> None:
    model, task = HookedModel(FURTHER[name].make()), toy_task(3)
    scores = interp.attribute(model, task, method="exact", level="heads", show_progress=False)
    base, source = ends(pairs_of(task), "denoise")
    start = measured(model.hf(input_ids=base).logits, pairs_of(task))
    places = {
        f"{kind}.{i}": (f"layers.{i}.{path}", slice(None), False) for kind, path in PARTS[name].items() for i in (0, 1)
    }
    places |= {f"m{i}": (f"layers.{i}.mlp", slice(None), False) for i in (0, 1)}
    places |= {
        f"a{i}.h{h}": (f"layers.{i}.attn.o", slice(FAN * h, FAN * (h + 1)), True) for i in (0, 1) for h in range(4)
    }
    names = [part.name for part in scores.parts]
    assert {*places} == {*names} - {"embed"} and "whole forwards" in str(scores.provenance.engine)
    for part, (path, units, before) in places.items():
        value = forced(model.hf, path, source, None, before=before)
        change = measured(forced(model.hf, path, base, value, units, before), pairs_of(task)) - start
        np.testing.assert_allclose(scores.per_example[:, names.index(part)], change.double(), atol=2e-5)
    with pytest.raises(LayoutError, match=r"edges: beside attention and MLP layers\.0"):
        interp.attribute(model, task, method="exact", level="edges", show_progress=False)
