"""Blocks that attend to keys and values of an earlier one: these are a part of every cut between the two."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from interp.errors import LayoutError
from interp.model.edits import Edit, patch
from interp.model.model import HookedModel
from interp.parts.sites import Site
from interp.rules.rules import RELP_AH
from tests.interp.model.discovery.shared_keys import SHARED
from tests.interp.model.plain import close
from tests.interp.model.tiny import ids
from tests.interp.rules.float64 import true_float64

every = pytest.mark.parametrize("name", SHARED)


@cache
def hooked(name: str) -> HookedModel:
    return HookedModel(SHARED[name][0](), name=name)


def cuts(model: HookedModel) -> list[list[Site]]:
    """What enters each block, what blocks from there on are given beside it, and the keys and values that they take from before it."""
    taken = [(layer, block.attn.kv_layer) for layer, block in enumerate(model.layout.blocks) if block.attn]
    return [
        [
            Site("resid_pre", layer),
            *(site for site in model.layout.layer_inputs if (site.layer or 0) >= layer),
            *(Site(kind, reader) for reader, of in taken if of is not None and of < layer <= reader for kind in "kv"),
        ]
        for layer in range(model.layout.n_layers)
    ]


@every
@torch.no_grad()
def test_the_layout_says_whose_keys_they_are(name: str) -> None:
    make, known = SHARED[name]
    model, expected = hooked(name), make()(input_ids=ids()).logits
    assert [block.attn.kv_layer for block in model.layout.blocks if block.attn] == known
    run = model.run(ids(), reads=model.sites())
    assert torch.equal(run.logits, expected) and not model.missing_sites()
    for layer, of in enumerate(known):
        same = torch.equal(run[Site("v", layer)], run[Site("v", of or 0)])
        assert same if of is not None else (layer == 0 or not same)
    for kind in model.sites():
        edits = [Edit(site, lambda x: x) for site in model.resolve(kind)]
        assert torch.equal(model.run(ids(), edits=edits).logits, expected), kind


@every
@torch.no_grad()
def test_an_edit_of_keys_is_of_one_layer(name: str) -> None:
    """What a layer attends to may be edited by itself: the layer that the keys are of, and others that take them, keep theirs."""
    model = hooked(name)
    layer, of = next((i, of) for i, of in enumerate(SHARED[name][1]) if of is not None)
    reads = [f"{kind}.{i}" for kind in ("v", "z") for i in (of, layer)]
    plain, here, there = (
        model.run(ids(), reads=reads, edits=[Edit(f"v.{at}", lambda x: 2 * x)] * (at is not None))
        for at in (None, layer, of)
    )
    close(here[f"z.{layer}"], 2 * plain[f"z.{layer}"], 1e-5)
    assert torch.equal(here[f"z.{of}"], plain[f"z.{of}"]) and torch.equal(there[f"v.{layer}"], plain[f"v.{layer}"])
    close(there[f"z.{of}"], 2 * plain[f"z.{of}"], 1e-5)


@every
@torch.no_grad()
def test_few_logits_leave_every_position_in_every_layer(name: str) -> None:
    model = hooked(name)
    whole, few = (model.run(ids(), reads=["resid_pre", "z"], logits_to_keep=n) for n in (0, 1))
    close(few.logits[:, -1], whole.logits[:, -1], 1e-5)
    for site in whole.reads:
        assert few[site].shape == whole[site].shape


@every
@torch.no_grad()
def test_the_stream_and_what_is_taken_from_before_of_another_run_give_its_output(name: str) -> None:
    model = hooked(name)
    run = model.run(ids(seed=3), reads=[site for sites in cuts(model) for site in sites])
    for sites in cuts(model):
        patches = [patch(site, run[site]) for site in sites]
        assert torch.equal(model.run(ids(), edits=patches).logits, run.logits), sites[0]
        without = [own for own in patches if own.site.kind != "v"]  # type: ignore[union-attr]
        assert (len(without) == len(patches)) == torch.equal(model.run(ids(), edits=without).logits, run.logits)


@every
def test_relevance_is_conserved_over_the_stream_and_the_values_from_before(name: str) -> None:
    with true_float64():
        hf = SHARED[name][0]().double()
        with torch.no_grad():
            for path, p in hf.named_parameters():
                p.mul_(not path.endswith("bias"))
        model = HookedModel(hf)
        cap = model.layout.logits_softcap
        run = model.run(ids(), reads=[site for sites in cuts(model) for site in sites], rules=RELP_AH)
        logits = run.logits if cap is None else cap * torch.atanh(run.logits / cap)
        m = logits[:, -1, 7] - logits[:, -1, 11]
        rho = torch.autograd.grad(m.sum(), list(run.reads.values()), allow_unused=True)
        relevance: dict[Site, Tensor] = {
            site: torch.zeros_like(m) if slope is None else (x * slope).flatten(1).sum(1)
            for (site, x), slope in zip(run.reads.items(), rho, strict=True)
        }
        for sites in cuts(model):
            assert torch.allclose(torch.stack([relevance[site] for site in sites]).sum(0), m, rtol=1e-9, atol=0), sites[
                0
            ]
        assert all(
            (relevance[Site("v", layer)] != 0).all() for layer, of in enumerate(SHARED[name][1]) if of is not None
        )


def test_edges_say_why_not() -> None:
    layout = hooked("by hand").layout
    with pytest.raises(LayoutError, match=r"edges: layers\.1\.attn takes its keys and values from an earlier layer"):
        layout.check_sum("edges")
    assert layout.untouched([("", 1)]) == ()  # a block that stands in for itself hands on no keys
