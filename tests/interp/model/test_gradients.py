"""Gradients through reads, in float64, against autograd on the model itself and against finite differences."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.model.edits import Edit, add
from interp.model.model import HookedModel
from interp.parts.sites import ATTENTION_KINDS
from interp.rules.rules import preset
from tests.interp.model.plain import ALL, ROUTED, close, plain, unpadded, watched
from tests.interp.model.tiny import hooked, ids, parts, tiny
from tests.interp.rules.float64 import true_float64


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
def test_gradients_of_reads_are_autograds_own(name: str) -> None:
    with true_float64():
        model = tiny(name, dtype=torch.float64)
        ours = HookedModel(model)
        kinds = [k for k in ours.sites() if k not in ATTENTION_KINDS]
        g = _gradients(ours, kinds)
        x: dict[str, list[Tensor]] = {f"{k}.{layer}": [] for k in ("resid_pre", "z", "mlp_post") for layer in range(2)}
        one, two = parts(name, model, 0), parts(name, model, 1)
        down = (one.down or one.o, two.down or two.o)
        modules = (one.block, two.block, one.o, two.o, *down)
        with ExitStack() as stack:
            for module, values in zip(modules, x.values(), strict=True):
                stack.enter_context(watched(module, values))
            out = _measure(plain(model, unpadded()).logits)
        known = [site for site in x if site.split(".")[0] in kinds]
        for site, expected in zip(known, torch.autograd.grad(out, [x[s][0] for s in known]), strict=True):
            close(g[site].reshape(-1), expected.reshape(-1), 1e-12)
        close(g["embed"], g["resid_pre.0"], 1e-12)
        for layer in range(2):
            if "mlp_in" in kinds and "resid_mid" in kinds:
                close(g[f"mlp_in.{layer}"] + g[f"resid_post.{layer}"], g[f"resid_mid.{layer}"], 1e-12)
                close(g[f"attn_in.{layer}"] + g[f"resid_mid.{layer}"], g[f"resid_pre.{layer}"], 1e-12)
            elif "mlp_in" in kinds:
                readers = g[f"attn_in.{layer}"] + g[f"mlp_in.{layer}"]
                close(readers + g[f"resid_post.{layer}"], g[f"resid_pre.{layer}"], 1e-12)
            after = "resid_mid" if "resid_mid" in kinds else "resid_post"
            close(g[f"attn_out.{layer}"], g[f"{after}.{layer}"], 1e-12)
            close(g[f"mlp_out.{layer}"], g[f"resid_post.{layer}"], 1e-12)


@pytest.mark.broad
@pytest.mark.parametrize("name", ROUTED)
def test_gradients_inside_attention_by_finite_differences(name: str) -> None:
    with true_float64():
        ours = hooked(name, dtype=torch.float64)
        kinds = ("q", "k", "v", "pattern")
        g = _gradients(ours, kinds)
        for i, (site, gradient) in enumerate(g.items()):
            direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
            up, low = (_measure(ours.run(ids(), edits=[add(site, direction, scale=h)]).logits) for h in (1e-5, -1e-5))
            assert float((up - low) / 2e-5) == pytest.approx(float((gradient * direction).sum()), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("rules", ["gradient", "relp", "attnlrp", "gim", "relp-ah"])
def test_gradients_through_edits_that_change_nothing(rules: str) -> None:
    """An edited site stays on the graph: q, k, v, the pattern and everything before keep their gradients."""
    with true_float64():
        ours = hooked("llama", dtype=torch.float64)
        kinds = ["embed", "v", "z", "mlp_post"]
        expected = _gradients(ours, kinds, rules=preset(rules))
        for site in (
            "embed",
            "resid_pre",
            "resid_mid",
            "attn_in",
            "q",
            "k",
            "v",
            "pattern",
            "z",
            "attn_out",
            "mlp_pre",
        ):
            found = _gradients(ours, kinds, rules=preset(rules), edits=[Edit(site, lambda x: x + 0)])
            for read, gradient in expected.items():
                close(found[read], gradient, 1e-12)


def _measure(logits: Tensor) -> Tensor:
    return (logits[:, -1, 5] - 2 * logits[:, -2, 9] ** 2).sum()


def _gradients(model: HookedModel, kinds: Any, **options: Any) -> dict[str, Tensor]:
    run = model.run(ids(), reads=list(kinds), **options)
    sites = [s for s in run.reads if s.kind != "logits"]
    found = torch.autograd.grad(_measure(run.logits), [run.reads[s] for s in sites])
    return dict(zip(map(str, sites), found, strict=True))
