"""Nodes of a decoder one of whose layers is a recurrence, patched by hand in the bare model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.errors import LayoutError, UnsupportedRuleError
from interp.model.model import HookedModel
from tests.interp.model.discovery.mixed_positions import MIXED
from tests.interp.tasks.toy import ends, measured, pairs_of, toy_task

NAME = "attention, recurrence, attention"
FAN = 8


def forced(
    model: Any, path: str, given: Tensor, value: Tensor | None, part: slice = slice(None), before: bool = False
) -> Any:
    """Logits with part of the last axis of what a module gives, or reads (`before`), replaced; that tensor, where there is no value."""
    module, seen = model.get_submodule(path), []

    def changed(x: Tensor) -> Tensor:
        seen.append(x.clone())
        if value is None:
            return x
        x = x.clone()
        x[..., part] = value[..., part]
        return x

    if before:
        hook = module.register_forward_pre_hook(lambda m, args: (changed(args[0]), *args[1:]))
    else:
        hook = module.register_forward_hook(lambda m, args, y: changed(y))
    try:
        logits = model(input_ids=given).logits
    finally:
        hook.remove()
    return seen[0] if value is None else logits


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@torch.no_grad()
def test_exact_is_brute_force_patching(direction: Any) -> None:
    model, task = HookedModel(MIXED[NAME].make()), toy_task(3)
    scores = interp.attribute(model, task, method="exact", level="heads", direction=direction, show_progress=False)
    base, source = ends(pairs_of(task), direction)
    start = measured(model.hf(input_ids=base).logits, pairs_of(task))
    places = {
        "attn_out.1": ("layers.1.attn", slice(None), False),
        "m1": ("layers.1.mlp", slice(None), False),
        "m2": ("layers.2.mlp", slice(None), False),
        **{f"a{i}.h{h}": (f"layers.{i}.attn.o", slice(FAN * h, FAN * (h + 1)), True) for i in (0, 2) for h in range(4)},
    }
    names = [part.name for part in scores.parts]
    assert {*places} == {*names} - {"embed", "m0"} and "layers.1.attn" in str(scores.provenance.engine)
    for name, (path, part, before) in places.items():
        value = forced(model.hf, path, source, None, before=before)
        change = measured(forced(model.hf, path, base, value, part, before), pairs_of(task)) - start
        np.testing.assert_allclose(scores.per_example[:, names.index(name)], change.double(), atol=2e-5)


def test_first_order_is_the_slope() -> None:
    """Along a small difference `atp` is `exact`."""
    model, task = HookedModel(MIXED[NAME].make().double()), toy_task(4)
    weight = model.hf.get_input_embeddings().weight
    with torch.no_grad():
        weight.copy_(weight.mean(0) + 1e-4 * (weight - weight.mean(0)))
    found = interp.attribute_all(model, task, methods=["exact", "atp"], level="heads", show_progress=False)
    exact, slope = (found[name].per_example for name in ("exact", "atp"))
    largest = float(np.abs(exact).max())
    assert largest > 0 and float(np.abs(exact - slope).max()) < 0.01 * largest


def test_what_needs_heads_or_rules_is_refused() -> None:
    model, task = HookedModel(MIXED[NAME].make()), toy_task(2)
    with pytest.raises(LayoutError, match=r"direct effects: layers\.1\.attn mixes positions without attention"):
        model.layout.check_sum("direct effects")
    with pytest.raises(UnsupportedRuleError, match=r"layers\.1\.attn \(positions mixed without attention"):
        interp.attribute(model, task, method="relp", level="heads", show_progress=False)
