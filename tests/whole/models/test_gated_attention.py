"""Heads whose z is multiplied by a gate: a head is what the output projection reads of it, behind the gate."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.attribution.request import prepare
from interp.errors import LayoutError, UnsupportedRuleError
from interp.model.model import HookedModel
from tests.interp.model.probes.test_operations import GatedTwin, gated
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import pairs_of, toy_task

HEADS, D_HEAD = 4, 8


@cache
def model() -> HookedModel:
    return gated(dtype=torch.float64)


def scores(method: str, level: str, **options: Any) -> Any:
    return prepare(model(), toy_task(), methods=[method], level=level, **options).score()[method]


def z_of(ids: Tensor, changed: dict[tuple[int, int], Tensor] | None = None) -> tuple[list[Tensor], Tensor]:
    """z of both layers and the logits of a plain run, some heads of z put in."""
    seen, handles = [], []
    for layer, block in enumerate(model().hf.model.layers):

        def hook(module: Any, args: Any, layer: int = layer) -> Any:
            z = args[0].unflatten(-1, (HEADS, D_HEAD)).clone()
            for (where, head), value in (changed or {}).items():
                if where == layer:
                    z[:, :, head] = value
            seen.append(z)
            return (z.flatten(2),)

        handles.append(block.self_attn.o_proj.register_forward_pre_hook(hook))
    with torch.no_grad():
        logits = model().hf(input_ids=ids, use_cache=False).logits
    for handle in handles:
        handle.remove()
    return seen, logits


def test_exact_scores_of_heads_against_plain_hooks() -> None:
    found = scores("exact", "heads")
    rows = []
    for pair in pairs_of(toy_task()):
        clean, corrupt = (torch.tensor([list(side)]) for side in (pair.clean, pair.corrupt))

        def measured(logits: Tensor, pair: Any = pair) -> float:
            return float(logits[0, -1, pair.answers[0]] - logits[0, -1, pair.wrong[0]])

        source, base = z_of(clean)[0], measured(z_of(corrupt)[1])
        patched = [
            measured(z_of(corrupt, {(i, h): source[i][:, :, h]})[1]) - base for i in range(2) for h in range(HEADS)
        ]
        rows.append(patched)
    ours = [found.per_example[:, [p.name for p in found.parts].index(f"a{i}.h{h}")] for i in range(2) for h in range(4)]
    assert np.abs(np.array(rows)).max() > 1e-2
    assert np.allclose(np.stack(ours, axis=1), rows, rtol=0, atol=1e-4)  # its own softmax and norms round to float32


@pytest.mark.parametrize("method", ["atp", "gim"])
def test_scores_of_heads_are_differences_times_the_coefficients_of_the_twin(method: str) -> None:
    with true_float64():
        found = scores(method, "heads")
        rows = []
        for pair in pairs_of(toy_task()):
            twins = [GatedTwin(model().hf, "gradient" if method == "atp" else method) for _ in range(2)]
            logits = [
                twin(torch.tensor([list(side)])) for twin, side in zip(twins, (pair.corrupt, pair.clean), strict=True)
            ]
            metric = logits[0][0, -1, pair.answers[0]] - logits[0][0, -1, pair.wrong[0]]
            z = [twins[0].values[f"z.{i}"] for i in range(2)]
            rho = torch.autograd.grad(metric, z)
            differences = [twins[1].values[f"z.{i}"] - z[i] for i in range(2)]
            rows.append(torch.cat([(d * g).sum((1, 3))[0] for d, g in zip(differences, rho, strict=True)]).tolist())
    names = [part.name for part in found.parts]
    ours = found.per_example[:, [names.index(f"a{i}.h{h}") for i in range(2) for h in range(HEADS)]]
    assert np.allclose(ours, rows, rtol=0, atol=1e-9 * np.abs(rows).max())


@pytest.mark.parametrize("method", ["atp", "gim"])
def test_the_heads_of_a_layer_are_its_attention(method: str) -> None:
    heads, blocks = scores(method, "heads"), scores(method, "blocks")
    for layer in range(2):
        sums = sum(heads[f"a{layer}.h{head}"] for head in range(HEADS))
        assert abs(sums - blocks[f"attn_out.{layer}"]) <= 1e-6 * abs(blocks[f"attn_out.{layer}"])


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(UnsupportedRuleError, match="sigmoid in no module of its own"):
        scores("relp", "heads")
    with pytest.raises(UnsupportedRuleError, match="gated product of z"):
        scores("cp-lrp", "heads")
    with pytest.raises(LayoutError, match="a gate of the output"):
        scores("eap", "edges")
