"""Rules with secants in whole models: against the slow twin, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from interp.errors import UnsupportedRuleError
from interp.model.edits import Edit, zero
from interp.parts.tokens import Tokens
from interp.rules.rules import DEEPLIFT, RELP, Rules
from tests.interp.model.tiny import hooked, ids
from tests.interp.rules.float64 import true_float64
from tests.interp.rules.secant_twin import SecantTwin
from tests.interp.rules.test_rules import draw


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_every_multiplier_is_that_of_the_whole_slow_twin(name: str) -> None:
    with true_float64():
        bias = {"attention_bias": True, "mlp_bias": True} if name == "llama" else {}
        model = hooked(name, dtype=torch.float64, **bias)
        here, there = ids(), ids(seed=5)
        kinds = ["embed", "resid_pre", "q", "k", "v", "z", "attn_out", "mlp_post", "mlp_out"]
        other = model.run(there, keep_operands=True)
        run = model.run(here, reads=kinds, rules=Rules(secants=24), toward=other)
        first = SecantTwin(model.hf)
        first(there)
        twin = SecantTwin(model.hf, other=first.seen)
        logits = twin(here)
        assert torch.allclose(run.logits, logits, rtol=0, atol=1e-12)
        weights, sites = draw(*logits.shape[1:]), [str(s) for s in run.reads]
        ours = torch.autograd.grad((run.logits * weights).sum(), [run[s] for s in sites])
        theirs = torch.autograd.grad((logits * weights).sum(), [twin.values[s] for s in sites])
        for site, a, b in zip(sites, ours, theirs, strict=True):
            # transformers computes the softmax of these models in float32
            assert torch.allclose(a, b, rtol=0, atol=2e-6 * float(b.abs().max())), site
            assert float(b.abs().max()) > 1e-6, site


def test_a_run_toward_itself_has_the_plain_gradient() -> None:
    model = hooked("gemma2")
    plain, other = model.run(ids(), reads=["resid_pre"]), model.run(ids(), keep_operands=True)
    run = model.run(ids(), reads=["resid_pre"], rules=DEEPLIFT, toward=other)
    for a, b in ((run, "resid_pre.0"), (run, "resid_pre.1")):
        ours, theirs = (torch.autograd.grad(x.logits[:, -1, 7].sum(), x[b], retain_graph=True)[0] for x in (a, plain))
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5 * float(theirs.abs().max()))


def test_keeping_operands_changes_nothing() -> None:
    for name in ("gpt2", "gemma3_text", "phi3"):
        model = hooked(name)
        expected = model.hf(input_ids=ids(), use_cache=False).logits
        with torch.no_grad():
            kept = model.run(ids(), reads=model.sites(), keep_operands=True)
        assert torch.equal(kept.logits, expected)
        run = model.run(ids(), rules=DEEPLIFT, toward=model.run(ids(seed=2), keep_operands=True))
        assert torch.equal(run.logits, expected)
        assert model.run(ids()).operands is None


def test_runs_that_do_not_belong_together_are_refused() -> None:
    model = hooked("llama")
    kept = model.run(ids(), keep_operands=True)
    with pytest.raises(UnsupportedRuleError, match="pass toward="):
        model.run(ids(), rules=DEEPLIFT)
    with pytest.raises(UnsupportedRuleError, match="belongs to rules with secants"):
        model.run(ids(), rules=RELP, toward=kept)
    with pytest.raises(UnsupportedRuleError, match="keep_operands=True"):
        model.run(ids(), rules=DEEPLIFT, toward=model.run(ids()))
    with pytest.raises(UnsupportedRuleError, match="of another model"):
        hooked("llama", seed=1).run(ids(), rules=DEEPLIFT, toward=kept)
    for others in (ids(length=6), ids(3)):
        with pytest.raises(UnsupportedRuleError, match="prompts of one length"):
            model.run(others, rules=DEEPLIFT, toward=kept)
    alike, other = torch.ones(2, 7, dtype=torch.bool), torch.ones(2, 7, dtype=torch.bool)
    other[1, :3] = False
    short = model.run(Tokens(ids(seed=5), other), keep_operands=True)
    with pytest.raises(
        UnsupportedRuleError, match=r"prompts of \[7, 7\] tokens in this run and of \[7, 4\] in the other"
    ):
        model.run(Tokens(ids(), alike), rules=DEEPLIFT, toward=short)
    assert model.run(Tokens(ids(), other), rules=DEEPLIFT, toward=short).logits.isfinite().all()
    with pytest.raises(UnsupportedRuleError, match=r"edits of 'pattern\.0'"):
        model.run(ids(), edits=[zero("pattern.0")], rules=DEEPLIFT, toward=kept)
    with pytest.raises(UnsupportedRuleError, match=r"edits of 'pattern\.1'"):
        model.run(ids(), edits=[zero("pattern.1")], keep_operands=True)
    with pytest.raises(UnsupportedRuleError, match="leave the other parts"):
        Rules(secants=8, norm="frozen")
    with pytest.raises(UnsupportedRuleError, match="number of points"):
        Rules(secants=-1)


def test_experts_are_refused_by_name() -> None:
    model = hooked("mixtral")
    with pytest.raises(UnsupportedRuleError, match=r"layers\.0\.mlp \(experts: which of them are chosen jumps"):
        model.run(ids(), rules=DEEPLIFT, toward=model.run(ids(), keep_operands=True))


def test_experts_that_are_allowed_have_the_plain_gradient() -> None:
    """Each run calls them on tokens of its own: what they read has no counterpart. Toward itself nothing else is averaged."""
    model = hooked("mixtral")
    rows = {row.path: row for row in model.coverage(DEEPLIFT).rows}
    assert rows["model.layers.0.mlp.experts.act_fn"].treatment == "unsupported"
    for seed in range(5, 9):
        other = model.run(ids(seed=seed), keep_operands=True)
        run = model.run(ids(), reads=["embed"], rules=DEEPLIFT, toward=other, allow_unsupported=True)
        assert torch.autograd.grad(run.logits[:, -1, 7].sum(), run["embed"])[0].isfinite().all()
    plain, other = model.run(ids(), reads=["embed"]), model.run(ids(), keep_operands=True)
    run = model.run(ids(), reads=["embed"], rules=DEEPLIFT, toward=other, allow_unsupported=True)
    ours, theirs = (torch.autograd.grad(x.logits[:, -1, 7].sum(), x["embed"])[0] for x in (run, plain))
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5 * float(theirs.abs().max()))


def test_an_edit_of_the_other_run_is_what_multipliers_go_to() -> None:
    """The baseline of zeros of token attribution: the embedding of the other run is another."""
    with true_float64():
        model = hooked("gpt2", dtype=torch.float64)
        other = model.run(ids(), edits=[Edit("embed", torch.zeros_like)], keep_operands=True)
        run = model.run(ids(), reads=["embed"], rules=DEEPLIFT, toward=other)
        (m,) = torch.autograd.grad(run.logits[:, -1, 7].sum(), run["embed"])
        change = (run.logits - other.logits)[:, -1, 7]
        assert torch.allclose((run["embed"] * m).sum((1, 2)), change, rtol=1e-6, atol=1e-8)
