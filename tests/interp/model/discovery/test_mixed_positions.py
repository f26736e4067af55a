"""Layers that mix positions without attention: their streams and MLPs are sites like others, and what they have not has a reason."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from interp.errors import LayoutError, SiteError, UnsupportedRuleError
from interp.model.edits import Edit, patch
from interp.model.model import HookedModel
from interp.parts.nodes import groups
from interp.parts.sites import GLOBAL, LAYERED
from interp.rules.rules import RELP, RELP_AH
from tests.interp.model.discovery.mixed_positions import MIXED, Behind, Beside
from tests.interp.model.plain import close, state
from tests.interp.model.tiny import ids

every = pytest.mark.parametrize("name", MIXED)
HEADS = ("q", "k", "v", "pattern", "z")


@cache
def hooked(name: str) -> HookedModel:
    return HookedModel(MIXED[name].make(), name=name)


def there(model: HookedModel) -> list[str]:
    """Every site of every layer that has it."""
    found = []
    for kind in (*GLOBAL, *LAYERED):
        for name in [kind] if kind in GLOBAL else [f"{kind}.{i}" for i in range(model.layout.n_layers)]:
            try:
                found += [str(site) for site in model.resolve(name)]
            except SiteError:
                continue
    return found


@every
def test_facts(name: str) -> None:
    layout, known = hooked(name).layout, MIXED[name]
    assert [block.attn.heads for block in layout.blocks] == known.attends and layout.causal == known.causal
    assert (layout.n_heads, layout.n_kv_heads, layout.d_head) == ((4, 4, 8) if any(known.attends) else (0, 0, 0))
    for block, kind, attends in zip(layout.blocks, known.blocks, known.attends, strict=True):
        assert block.attn.module == f"{block.path}.attn" and block.mlp.act == f"{block.path}.mlp.act"
        assert block.attn.o == f"{block.path}.attn" + (".o" if attends else "")
        assert (block.attn.place == "around") == (kind is Behind) and block.parallel == (kind is Beside)
        assert (block.attn.norm, block.attn.around) == (
            (None, f"{block.path}.n1") if kind is Behind else (f"{block.path}.n1", None)
        )


@every
def test_every_site_is_read_and_edited_without_a_trace(name: str) -> None:
    with torch.set_grad_enabled(
        "torch" not in name and name != "convolution"
    ):  # torch's attention, and its convolution on some processors, take another kernel where weights require gradients
        _without_a_trace(name)


def _without_a_trace(name: str) -> None:
    model, tokens = hooked(name), ids(2, 7)
    expected, before, sites = model.hf(input_ids=tokens).logits, state(model.hf), there(model)
    run = model.run(tokens, reads=sites)
    assert torch.equal(run.logits, expected) and state(model.hf) == before
    with torch.no_grad():
        for site in sites:
            assert torch.equal(model.run(tokens, edits=[Edit(site, lambda x: x)]).logits, expected), site
            changed = model.run(tokens, edits=[Edit(site, lambda x: x.roll(1, -1) + x)]).logits
            assert float((changed - expected).abs().max()) > 1e-3, site
    assert state(model.hf) == before


@every
@torch.no_grad()
def test_the_stream_is_what_the_equations_say(name: str) -> None:
    model, tokens = hooked(name), ids(2, 7)
    run = model.run(tokens, reads=there(model))
    for layer, kind in enumerate(MIXED[name].blocks):
        block = model.hf.layers[layer]
        pre = run[f"resid_pre.{layer}"]
        mixed = block.attn(pre if kind is Behind else block.n1(pre))
        mixed = mixed[0] if isinstance(mixed, tuple) else mixed
        close(run[f"attn_out.{layer}"], mixed)
        added: Tensor = block.n1(pre + mixed) if kind is Behind else pre + mixed
        if kind is not Beside:
            close(run[f"resid_mid.{layer}"], added)
        written = block.mlp(added if kind is Behind else block.n2(pre if kind is Beside else added))
        close(run[f"mlp_out.{layer}"], written)
        close(run[f"resid_post.{layer}"], block.n2(added + written) if kind is Behind else added + written)


@every
@torch.no_grad()
def test_the_stream_of_another_run_gives_its_output(name: str) -> None:
    model = hooked(name)
    one, other = ids(2, 7), ids(2, 7, seed=2)
    run = model.run(other, reads=[site for site in there(model) if site.startswith(("embed", "resid"))])
    for site, value in run.items():
        assert torch.equal(model.run(one, edits=[patch(site, value)]).logits, run.logits), site


@every
def test_gradients_are_those_of_torch(name: str) -> None:
    model, tokens = hooked(name), ids(2, 7)
    run = model.run(tokens, reads=["embed", "attn_out", "mlp_out"])
    found = torch.autograd.grad(run.logits.square().sum(), list(run.reads.values()))
    embedding = model.hf.get_input_embeddings()
    with torch.enable_grad():
        seen: list[Tensor] = []
        hook = embedding.register_forward_hook(lambda m, a, y: seen.append(y.detach().requires_grad_()) or seen[0])
        wanted = torch.autograd.grad(model.hf(input_ids=tokens).logits.square().sum(), seen)
        hook.remove()
    close(found[0], wanted[0], 1e-4)
    assert all(bool(grad.any()) for grad in found)


@every
def test_what_has_no_heads_says_so(name: str) -> None:
    model, attends = hooked(name), MIXED[name].attends
    for kind in HEADS:
        for layer, own in enumerate(attends):
            if own:
                assert model.resolve(f"{kind}.{layer}")
            else:
                with pytest.raises(SiteError, match=rf"{kind}\.{layer}.*no attention .*no heads"):
                    model.run(ids(), reads=[f"{kind}.{layer}"])
        assert "no heads" in model.missing_sites()[kind]
    kinds = [group.kind for group in groups("heads", model.layout)]
    assert kinds == ["embed", *(kind for own in attends for kind in ("head" if own else "attn_out", "mlp"))]
    if any(attends):
        assert {group.site.layer for group in groups("qkv", model.layout)} == {
            i for i, own in enumerate(attends) if own
        }
    else:
        with pytest.raises(SiteError, match="no heads"):
            groups("qkv", model.layout)


@every
def test_rules_and_sums_are_refused_by_name(name: str) -> None:
    model, first = hooked(name), MIXED[name].attends.index(False)
    for rules in (RELP, RELP_AH):
        assert any(row.path == f"layers.{first}.attn" for row in model.coverage(rules).unsupported)
        with pytest.raises(UnsupportedRuleError, match=rf"layers\.{first}\.attn \(positions mixed without attention"):
            model.run(ids(), rules=rules)
    with pytest.raises(LayoutError, match=rf"edges: layers\.{first}\.attn mixes positions without attention"):
        model.layout.check_sum("edges")
