"""Nodes of decoders whose blocks are attention alone, an MLP alone or a recurrence alone, patched by hand in the bare model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.errors import SiteError, UnsupportedRuleError
from interp.model.model import HookedModel
from tests.interp.attribution.on_hybrids.test_layers_without_heads import FAN, forced
from tests.interp.model.discovery.test_one_sublayer import CHAINS, chain
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import ends, measured, pairs_of, toy_task

#: Of each chain where its nodes are in the bare model: the module, a part of its last axis, and whether of what it reads.
PLACES: dict[str, dict[str, tuple[str, slice, bool]]] = {
    "attention alone": {
        f"a{i}.h{h}": (f"layers.{i}.attn.o", slice(FAN * h, FAN * (h + 1)), True) for i in (0, 1) for h in range(4)
    },
    "alternating": {
        **{f"a{i}.h{h}": (f"layers.{i}.attn.o", slice(FAN * h, FAN * (h + 1)), True) for i in (0, 2) for h in range(4)},
        **{f"m{i}": (f"layers.{i}.mlp", slice(None), False) for i in (1, 3)},
    },
    "recurrence alone": {f"attn_out.{i}": (f"layers.{i}.attn", slice(None), False) for i in (0, 1)},
}


MIXER = "layers.0.attn mixes positions without attention, so it cannot be redone for some of them."


def made(name: str) -> Any:
    return chain(*CHAINS[name][0])


@pytest.mark.parametrize("name", PLACES)
@torch.no_grad()
def test_exact_is_brute_force_patching(name: str) -> None:
    model, task = HookedModel(made(name)), toy_task(3)
    scores = interp.attribute(model, task, method="exact", level="heads", show_progress=False)
    base, source = ends(pairs_of(task), "denoise")
    start = measured(model.hf(input_ids=base).logits, pairs_of(task))
    names = [part.name for part in scores.parts]
    assert {*PLACES[name]} == {*names} - {"embed"}
    assert scores.provenance.engine == ("replay" if name != "recurrence alone" else f"whole forwards: {MIXER}")
    for node, (path, part, before) in PLACES[name].items():
        value = forced(model.hf, path, source, None, before=before)
        change = measured(forced(model.hf, path, base, value, part, before), pairs_of(task)) - start
        np.testing.assert_allclose(scores.per_example[:, names.index(node)], change.double(), atol=2e-5)


def test_neurons_are_those_of_the_layers_that_have_some() -> None:
    model = HookedModel(made("alternating"))
    scores = interp.attribute(model, toy_task(2), method="atp", level="neurons", show_progress=False)
    assert [part.name for part in scores.parts] == [f"m{i}.n{n}" for i in (1, 3) for n in range(48)]
    with pytest.raises(SiteError, match=r"mlp_post\.0.*it has no MLP there"):
        interp.attribute(HookedModel(made("attention alone")), toy_task(2), method="atp", level="neurons")


@pytest.mark.parametrize("name", ["attention alone", "alternating"])
def test_relp_with_frozen_patterns_conserves(name: str) -> None:
    """In float64 without biases, the relevance at every stream is the output."""
    with true_float64():
        hf = made(name).double()
        with torch.no_grad():
            for own in (p for key, p in hf.named_parameters() if key.endswith("bias")):
                own.zero_()
        model = HookedModel(hf)
        sites = [site for kind in ("embed", "resid_pre", "resid_post") for site in model.resolve(kind)]
        run = model.run(torch.tensor([[3, 9, 27, 4, 1]]), reads=sites, rules=interp.RELP_AH)
        metric = (run.logits * torch.randn(run.logits.shape, generator=torch.Generator().manual_seed(1))).sum()
        slopes = torch.autograd.grad(metric, [run[site] for site in sites])
    for site, slope in zip(sites, slopes, strict=True):
        assert abs(float((run[site] * slope).sum() / metric) - 1) < 1e-9


def test_atp_star_leaves_out_what_each_layer_has() -> None:
    """On two layers, each alone: the mean over the other layer alone is the plain gradient's size without that layer."""
    model, task = HookedModel(made("recurrence alone")), toy_task(2)
    scores = interp.attribute(model, task, method="atp-star", level="blocks", show_progress=False)
    plain = interp.attribute(model, task, method="atp", level="blocks", show_progress=False)
    last = [part.name for part in scores.parts].index("attn_out.1")  # no later layer hides anything of it
    np.testing.assert_allclose(scores.per_example[:, last], np.abs(plain.per_example[:, last]), rtol=1e-4)


def test_what_needs_rules_is_refused_by_name() -> None:
    task = toy_task(2)
    with pytest.raises(UnsupportedRuleError, match=r"layers\.0\.attn \(positions mixed without attention"):
        interp.attribute(HookedModel(made("recurrence alone")), task, method="relp", level="heads", show_progress=False)


def test_heads_are_looked_at_where_they_are() -> None:
    found = interp.head_statistics(HookedModel(made("alternating")), torch.arange(6)[None])
    assert found.heads == tuple(f"a{i}.h{h}" for i in (0, 2) for h in range(4))


@pytest.mark.parametrize("name", ["attention alone", "alternating", "MLP first", "the last without attention"])
@pytest.mark.parametrize("level", ["heads", "qkv", "neurons", "resid", "edges"])
def test_replays_give_what_whole_forwards_give(name: str, level: str) -> None:
    model, task = HookedModel(chain(*CHAINS[name][0])), toy_task(3)
    if level == "neurons" and name == "attention alone":
        return
    found = []
    for hooked in (False, True):
        handle = model.hf.register_forward_hook(lambda *_: None) if hooked else None
        found.append(interp.attribute(model, task, method="exact", level=level, direction="noise", show_progress=False))
        if handle is not None:
            handle.remove()
    replayed, whole = found
    assert replayed.provenance.engine == "replay" and whole.provenance.engine.startswith("whole forwards")
    np.testing.assert_allclose(replayed.per_example, whole.per_example, atol=1e-5)
    assert replayed.provenance.forwards < whole.provenance.forwards
