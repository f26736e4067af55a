"""Reads, edits and rules in encoders and classifiers of text: bit for bit what the model computes by itself, and what it says."""

from __future__ import annotations

import pytest
import torch

from interp.errors import SiteError
from interp.model.edits import Edit
from interp.parts.sites import SUMS
from interp.rules.rules import GRADIENT, RELP, RELP_AH
from tests.interp.model.encoders.models import AROUND, CAUSAL, NAMES, OWN_ATTENTION, known, output
from tests.interp.model.encoders.places import parts
from tests.interp.model.plain import close, state
from tests.interp.model.tiny import ids


@pytest.mark.parametrize("name", NAMES)
def test_every_site_is_read_and_edited_without_a_trace(name: str) -> None:
    """Under every rule set the logits stay those of the model, and an edit that changes nothing changes nothing."""
    model, tokens = known(name), ids(2, 9)
    expected, before = output(model.hf, tokens), state(model.hf)
    for rules in (GRADIENT, RELP, RELP_AH):
        run = model.run(tokens, reads=model.sites(), rules=rules, allow_unsupported=True)
        assert torch.equal(run.logits, expected), rules.describe()
        gradient = torch.autograd.grad(run.logits.square().sum(), run["embed"])[0]
        assert bool(torch.isfinite(gradient).all()) and bool(gradient.abs().max() > 0)
    with torch.no_grad():
        for site in model.sites():
            same = Edit(site, lambda x: x)
            assert torch.equal(model.run(tokens, edits=[same]).logits, expected), site
    assert state(model.hf) == before


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_an_edit_of_every_site_changes_the_output(name: str) -> None:
    """So that the identity edits above reach something."""
    model, tokens = known(name), ids(2, 9)
    expected = output(model.hf, tokens)

    def turned(x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn(x.shape, generator=torch.Generator().manual_seed(3))

    for site in model.sites():
        changed = model.run(tokens, edits=[Edit(site, turned)])
        assert float((changed.logits - expected).abs().max()) > 1e-2, site


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_has_a_reason(name: str) -> None:
    model = known(name)
    missing = model.missing_sites()
    assert set(missing) == ({"q", "k", "v", "pattern"} if name in OWN_ATTENTION else set())
    for site, reason in missing.items():
        assert "AttentionInterface" in reason
        with pytest.raises(SiteError, match="AttentionInterface"):
            model.run(ids(), reads=[site])


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_stream_is_what_the_equations_say(name: str) -> None:
    """Norms around the sums are called here by hand, as are the output projections."""
    model, tokens = known(name), ids(2, 9)
    run = model.run(tokens, reads=model.sites())
    close(run["embed"], run["resid_pre.0"], 0)
    for layer in range(2):
        own = parts(name, model.hf, layer)
        first, second = (own.first, own.second) if name in AROUND else (torch.nn.Identity(),) * 2
        close(own.o(run[f"z.{layer}"].flatten(2)), run[f"attn_out.{layer}"])
        close(own.down(run[f"mlp_post.{layer}"]), run[f"mlp_out.{layer}"])
        close(first(run[f"resid_pre.{layer}"] + run[f"attn_out.{layer}"]), run[f"resid_mid.{layer}"])
        close(second(run[f"resid_mid.{layer}"] + run[f"mlp_out.{layer}"]), run[f"resid_post.{layer}"])
        if layer:
            assert torch.equal(run[f"resid_pre.{layer}"], run[f"resid_post.{layer - 1}"])
        if name in AROUND:
            summed = run[f"resid_pre.{layer}"] + run[f"attn_out.{layer}"]
            assert float((summed - run[f"resid_mid.{layer}"]).abs().max()) > 0.1
            close(summed, run[f"resid_attn.{layer}"])
            close(run[f"resid_mid.{layer}"] + run[f"mlp_out.{layer}"], run[f"resid_mlp.{layer}"])
        else:
            assert not {*SUMS} & {*model.sites(), *model.missing_sites()}
    assert torch.equal(run["logits"], run.logits)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OWN_ATTENTION])
@torch.no_grad()
def test_patterns_look_both_ways_and_make_z(name: str) -> None:
    model, tokens = known(name), ids(2, 9)
    run = model.run(tokens, reads=["pattern", "v", "z"])
    for layer in range(2):
        pattern, v = run[f"pattern.{layer}"], run[f"v.{layer}"]
        close(pattern.sum(-1), torch.ones(pattern.shape[:-1]))
        v = v.repeat_interleave(pattern.shape[1] // v.shape[2], dim=2)
        close(torch.einsum("bhqk,bkhd->bqhd", pattern, v), run[f"z.{layer}"])
        assert bool(pattern.triu(1).any()) == (name not in CAUSAL)
    if name.startswith("modernbert"):
        far = torch.arange(9)[:, None].sub(torch.arange(9)).abs() > 2
        assert not bool(run["pattern.1"][..., far].any()) and bool((run["pattern.0"][..., far] > 0).all())


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_stream_of_another_run_gives_its_output(name: str) -> None:
    """Of the last block of a classifier only what its output reads matters, so that all of it is the other run's too."""
    model = known(name)
    one, other = ids(2, 9), ids(2, 9, seed=2)
    sums = [kind for kind in SUMS if kind in model.sites()]
    run = model.run(other, reads=["embed", "resid_pre", "resid_mid", "resid_post", "resid_final", "logits", *sums])
    expected = output(model.hf, other)
    assert float((expected - output(model.hf, one)).abs().max()) > 0.1
    for site, value in run.items():
        found = model.run(one, edits=[Edit(site, lambda x, value=value: value)]).logits
        assert torch.equal(found, expected), site
