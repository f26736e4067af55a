"""Edits of neurons, and what the up projection of a gated MLP makes as a site: against edits by hand and against the product of the gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import interp
from interp.errors import EditError, SiteError
from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.rules.rules import RELP
from tests.interp.model.probes.causal_lms import causal_lm
from tests.interp.model.tiny import ids

#: With a gate in a module of its own, in one module with the up projection, and behind norms.
GATED = ("llama", "phi3", "gemma2")


def model(model_type: str) -> HookedModel:
    hf = causal_lm(model_type)
    assert hf is not None
    return HookedModel(hf)


def by_hand(site: str, change: Callable[[Tensor], Any]) -> Edit:
    def apply(x: Tensor) -> Tensor:
        new = x.clone()
        new[..., 3] = change(new[..., 3])
        return new

    return Edit(site, apply)


@pytest.mark.parametrize("kind", ["mlp_pre", "mlp_up", "mlp_post"])
@pytest.mark.parametrize("name", GATED)
def test_an_edit_of_a_neuron_is_the_one_by_hand(name: str, kind: str) -> None:
    own, site = model(name), f"{kind}.1"
    pairs = (
        (interp.patch(site, 2.0, neurons=3), by_hand(site, lambda x: 2.0)),
        (interp.add(site, 1.0, scale=0.5, neurons=3), by_hand(site, lambda x: x + 0.5)),
        (interp.zero(site, neurons=[3]), by_hand(site, torch.zeros_like)),
    )
    plain = own.run(ids()).logits
    for edit, twin in pairs:
        changed = own.run(ids(), edits=[edit]).logits
        assert torch.equal(changed, own.run(ids(), edits=[twin]).logits)
        assert not torch.equal(changed, plain)


@pytest.mark.parametrize("name", GATED)
def test_neurons_are_the_gate_times_what_the_up_projection_makes(name: str) -> None:
    own = model(name)
    run = own.run(ids(), reads=["mlp_pre", "mlp_up", "mlp_post"])
    assert torch.equal(run.logits, own.run(ids()).logits)
    for layer, block in enumerate(own.layout.blocks):
        assert block.mlp is not None and block.mlp.act is not None
        gate = own.hf.get_submodule(block.mlp.act)(run[f"mlp_pre.{layer}"])
        assert torch.equal(run[f"mlp_up.{layer}"] * gate, run[f"mlp_post.{layer}"])


@pytest.mark.parametrize("name", GATED)
def test_gradients_reach_both_branches(name: str) -> None:
    own = model(name)
    run = own.run(ids(), reads=["mlp_pre.1", "mlp_up.1", "mlp_post.1"])
    up, post = torch.autograd.grad(run.logits[:, -1, 7].sum(), [run["mlp_up.1"], run["mlp_post.1"]])
    act = own.layout.blocks[1].mlp
    assert act is not None and act.act is not None
    with torch.no_grad():
        gate = own.hf.get_submodule(act.act)(run["mlp_pre.1"])
    torch.testing.assert_close(up, post * gate, rtol=1e-5, atol=1e-8)
    ruled = own.run(ids(), reads=["mlp_up.1", "mlp_post.1"], rules=RELP)
    up, post = torch.autograd.grad(ruled.logits[:, -1, 7].sum(), [ruled["mlp_up.1"], ruled["mlp_post.1"]])
    torch.testing.assert_close(up, 0.5 * post * gate, rtol=1e-5, atol=1e-8)


def test_what_has_no_neurons_or_no_gate_says_so() -> None:
    own = model("gpt2")
    with pytest.raises(SiteError, match="has no gate: what its up projection makes is mlp_pre"):
        own.run(ids(), reads=["mlp_up.0"])
    width = own.layout.d_mlp
    assert width is not None
    with pytest.raises(EditError, match=f"this layer has neurons 0 to {width - 1}"):
        own.run(ids(), edits=[interp.zero("mlp_post.0", neurons=width)])
    with pytest.raises(EditError, match="only mlp_pre, mlp_up, mlp_post have neurons"):
        interp.zero("mlp_out.0", neurons=1)
    with pytest.raises(EditError, match=r"heads= and neurons= at z\.0: give one of them"):
        interp.zero("z.0", heads=1, neurons=1)
    with pytest.raises(EditError, match="neurons=1 at module:lm_head"):
        interp.zero("module:lm_head", neurons=1)
