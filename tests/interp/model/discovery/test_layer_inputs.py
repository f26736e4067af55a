"""Blocks that are given something of the tokens beside the stream: it is a site, and the stream and it together are a cut."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.errors import LayoutError
from interp.model.edits import Edit, patch
from interp.model.model import HookedModel
from interp.parts.nodes import groups
from interp.parts.sites import Site
from interp.rules.rules import RELP_AH, Rules
from tests.interp.model.discovery.layer_inputs import MODELS, NEAR, by_hand, gemma4, given_by_gemma4
from tests.interp.model.plain import close
from tests.interp.model.tiny import ids
from tests.interp.rules.float64 import true_float64

every = pytest.mark.parametrize("name", MODELS)
STREAMS = ("embed", "resid_pre", "resid_mid", "resid_post", "resid_final")


@cache
def hooked(name: str) -> HookedModel:
    return HookedModel(MODELS[name](), name=name)


def cut(model: HookedModel, site: Site) -> list[Site]:
    """A stream, with what the blocks behind it are given."""
    first = {"embed": 0, "resid_final": model.layout.n_layers}.get(
        site.kind, (site.layer or 0) + (site.kind == "resid_post")
    )
    return [site, *(own for own in model.layout.entrances[1:] if (own.layer or 0) >= first)]


def cuts(model: HookedModel) -> list[list[Site]]:
    return [cut(model, site) for kind in STREAMS for site in model.resolve(kind)]


def test_the_layout_says_what_the_source_says() -> None:
    for i, block in enumerate(hooked("Gemma 4").layout.blocks):
        second, path = block.second, f"model.layers.{i}"
        assert second is not None and second.branch is not None
        assert (second.module, second.entry, second.norm) == (path, f"{path}.per_layer_input_gate", None)
        assert (second.down, second.act, second.up) == (f"{path}.per_layer_projection", f"{path}.act_fn", None)
        assert (second.writer, second.keeper) == (f"{path}.post_per_layer_input_norm", f"{path}.layer_scalar")
        assert block.mlp is not None and block.mlp.module == f"{path}.mlp" and block.given == second.branch
    for block in hooked("by hand").layout.blocks:
        assert block.second is not None and (block.second.module, block.second.norm) == (
            f"{block.path}.also",
            f"{block.path}.n3",
        )
        assert block.given is not None and (block.given.path, block.given.given) == (f"{block.path}.also", "told")
        assert (
            block.second.scale == pytest.approx(0.5)
            and block.mlp is not None
            and block.mlp.down == f"{block.path}.mlp.down"
        )


@every
@torch.no_grad()
def test_every_site_is_read_and_edited_without_a_trace(name: str) -> None:
    model, hf = hooked(name), MODELS[name]()
    expected = hf(input_ids=ids(), use_cache=False).logits
    assert torch.equal(model.run(ids(), reads=model.sites()).logits, expected) and not model.missing_sites()
    for kind in model.sites():
        edits = [Edit(site, lambda x: x) for site in model.resolve(kind)]
        assert torch.equal(model.run(ids(), edits=edits).logits, expected), kind
    assert "layer_input" not in HookedModel(gemma4(hidden_size_per_layer_input=0)).sites()


@torch.no_grad()
def test_the_site_is_what_the_layer_is_given_and_the_part_its_equation() -> None:
    model = hooked("Gemma 4")
    run = model.run(ids(), reads=model.sites())
    for i, layer in enumerate(model.hf.model.layers):
        given = run[Site("layer_input", i)]
        assert torch.equal(given, given_by_gemma4(model.hf, ids(), i))
        x = run[Site("resid_mid", i)] + run[Site("mlp_out", i)]
        made = layer.per_layer_projection(layer.act_fn(layer.per_layer_input_gate(x)) * given)
        close(run[Site("second_mlp_out", i)], layer.layer_scalar * layer.post_per_layer_input_norm(made), 1e-5)
        close(run[Site("resid_post", i)], layer.layer_scalar * x + run[Site("second_mlp_out", i)], 1e-5)


@every
@torch.no_grad()
def test_the_stream_and_the_inputs_of_another_run_give_its_output(name: str) -> None:
    """And the stream alone does not, but behind the last block."""
    model = hooked(name)
    own = cuts(model)
    run = model.run(ids(seed=3), reads=[site for sites in own for site in sites])
    for sites in own:
        patches = [patch(site, run[site]) for site in sites]
        assert torch.equal(model.run(ids(), edits=patches).logits, run.logits), sites[0]
        assert torch.equal(model.run(ids(), edits=patches[:1]).logits, run.logits) == (len(sites) == 1)


@every
def test_relevance_is_conserved_at_every_cut(name: str) -> None:
    with true_float64():
        hf = MODELS[name]().double()
        with torch.no_grad():
            for path, p in hf.named_parameters():
                p.mul_(not path.endswith("bias"))
        model = HookedModel(hf)
        run = model.run(ids(), reads=[site for sites in cuts(model) for site in sites], rules=RELP_AH)
        m = run.logits[:, -1, 7] - run.logits[:, -1, 11]
        rho = dict(zip(run.reads, torch.autograd.grad(m.sum(), list(run.reads.values())), strict=True))
        relevance = {site: (run[site] * rho[site]).sum((1, 2)) for site in rho}
        for sites in cuts(model):
            assert torch.allclose(_total(relevance, sites), m, rtol=1e-9, atol=0), sites[0]
        assert not torch.allclose(relevance[Site("embed")], m, rtol=1e-2)


@every
def test_deeplift_sums_to_the_difference_at_every_cut(name: str) -> None:
    with true_float64():
        model = HookedModel(MODELS[name]().double())
        reads = [site for sites in cuts(model) for site in sites]
        other, base = model.run(ids(seed=5), keep_operands=True), model.run(ids(seed=5), reads=reads)
        run = model.run(ids(), reads=reads, rules=Rules(secants=24), toward=other)
        m, m0 = (own.logits[:, -1, 7] - own.logits[:, -1, 11] for own in (run, base))
        rho = dict(zip(run.reads, torch.autograd.grad(m.sum(), list(run.reads.values())), strict=True))
        change = {site: ((run[site] - base[site]) * rho[site]).sum((1, 2)) for site in rho}
        for sites in cuts(model):
            assert torch.allclose(_total(change, sites), m - m0, rtol=1e-5, atol=1e-8), sites[0]


def _total(found: dict[Site, Tensor], sites: list[Site]) -> Tensor:
    return torch.stack([found[site] for site in sites]).sum(0)


@pytest.mark.parametrize("name", NEAR)
def test_what_is_given_otherwise_is_refused(name: str) -> None:
    with pytest.raises(LayoutError, match=r"layers\.[01]: its output is not .*also"):
        HookedModel(by_hand(NEAR[name]))


def test_edges_are_refused_and_the_part_is_a_node() -> None:
    model: Any = hooked("Gemma 4")
    with pytest.raises(LayoutError, match=r"a parameter scales .*layer_scalar"):
        model.layout.check_sum("edges")
    assert [g.kind for g in groups("blocks", model.layout)] == ["embed", *(["attn_out", "second_mlp_out", "mlp"] * 3)]
