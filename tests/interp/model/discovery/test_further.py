"""Blocks that keep less of the stream or add more to it: what a layout says of them, every site, exact cuts, rules."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interp.errors import LayoutError, UnsupportedRuleError
from interp.model.edits import Edit, add, patch
from interp.model.model import HookedModel
from interp.parts.nodes import groups
from interp.parts.sites import FURTHER as KINDS
from interp.parts.sites import Site
from interp.rules.rules import GIM, RELP_AH, Rules
from tests.interp.model.discovery.further import FURTHER, Biased, Decayed, Macaron, Two, made
from tests.interp.model.discovery.written import Block, Config, Decoder
from tests.interp.model.plain import close, state
from tests.interp.model.tiny import ids, randomise
from tests.interp.rules.float64 import true_float64

every = pytest.mark.parametrize("name", FURTHER)
PLAIN = {"scale": 1.0, "gain": None, "around": None, "bias": None, "keep": 1.0, "keeper": None}
STREAMS = ("embed", "resid_pre", "resid_mid", "resid_post", "resid_final")


@cache
def hooked(name: str) -> HookedModel:
    return HookedModel(FURTHER[name].make(), name=name)


def _below(block: str, value: Any) -> Any:
    return value.removeprefix(f"{block}.") if isinstance(value, str) else value


@every
def test_the_layout_says_what_is_known(name: str) -> None:
    known = FURTHER[name]
    for block in hooked(name).layout.blocks:
        assert _below(block.path, block.first) == known.first
        for part in ("attn", "mlp", "mixer", "second"):
            own = getattr(block, part)
            assert (own is not None) == (part in ("attn", "mlp") or part in known.facts), part
            if own is not None:
                expected = PLAIN | dict(known.facts.get(part, {}))
                found = {f.name: _below(block.path, getattr(own, f.name)) for f in fields(own) if f.name in expected}
                assert found == {
                    k: pytest.approx(v, rel=1e-6) if isinstance(v, float) else v for k, v in expected.items()
                }
        assert block.mlp.act == f"{block.path}.mlp.act" and block.attn.o == f"{block.path}.attn.o"


@every
@torch.no_grad()
def test_every_site_is_read_and_edited_without_a_trace(name: str) -> None:
    model, hf = hooked(name), FURTHER[name].make()
    expected, before = hf(input_ids=ids()).logits, state(model.hf)
    assert torch.equal(model.run(ids(), reads=model.sites()).logits, expected)
    for kind in model.sites():
        edits = [Edit(site, lambda x: x.clone()) for site in model.resolve(kind)]
        assert torch.equal(model.run(ids(), edits=edits).logits, expected), kind
    assert state(model.hf) == before and FURTHER[name].missing <= model.missing_sites().keys()


@every
@torch.no_grad()
def test_the_stream_is_what_the_equations_say(name: str) -> None:
    known, model = FURTHER[name], hooked(name)
    run = model.run(ids(), reads=model.sites())
    for layer in (0, 1):
        values = {site.kind: value for site, value in run.reads.items() if site.layer == layer}
        close(known.after(model.hf.layers[layer], values), values["resid_post"], 1e-5)


@every
@torch.no_grad()
def test_the_stream_of_another_run_gives_its_output(name: str) -> None:
    model = hooked(name)
    one, other = ids(2, 7), ids(2, 7, seed=2)
    run = model.run(other, reads=[kind for kind in STREAMS if kind in model.sites()])
    for site, value in run.reads.items():
        assert torch.equal(model.run(one, edits=[patch(site, value)]).logits, run.logits), site


@every
@torch.no_grad()
def test_what_is_added_to_a_part_is_added_to_the_stream(name: str) -> None:
    """A vector at the last part of the last block, before a norm on the sum, is that vector on what the block gives; at others it is seen."""
    model = hooked(name)
    plain, vector = model.run(ids()).logits, torch.linspace(-1, 1, 32)
    around = model.layout.blocks[-1].mlp.around
    for kind in ("attn_out", *KINDS, "mlp_out"):
        if kind in model.sites():
            found = model.run(ids(), edits=[add(f"{kind}.1", vector)]).logits
            assert not torch.allclose(found, plain, atol=1e-3), kind
            if kind == "mlp_out" and around is None:
                close(found, model.run(ids(), edits=[add("resid_post.1", vector)]).logits, 1e-5)


@every
def test_relp_conserves_or_is_refused_by_name(name: str) -> None:
    with true_float64():
        hf = FURTHER[name].make().double()
        with torch.no_grad():
            for path, p in hf.named_parameters():
                if path.endswith(("bias", "attn.level")):
                    p.zero_()
        model = HookedModel(hf)
        if not FURTHER[name].rules:
            with pytest.raises(UnsupportedRuleError, match=r"layers\.0\.flow \(positions mixed without attention"):
                model.run(ids(), rules=RELP_AH)
            return
        run = model.run(ids(), reads=["embed", "resid_pre"], rules=RELP_AH)
        m = run.logits[:, -1, 7] - run.logits[:, -1, 11]
        cuts = list(run.reads.values())
        for x, rho in zip(cuts, torch.autograd.grad(m.sum(), cuts), strict=True):
            assert torch.allclose((x * rho).sum((1, 2)), m, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", [name for name, known in FURTHER.items() if known.rules])
def test_deeplift_sums_to_the_difference(name: str) -> None:
    """Between two runs: at every cut multipliers times changes add up to the change of the metric, biases and all."""
    with true_float64():
        model = HookedModel(FURTHER[name].make().double())
        here, there = ids(), ids(seed=5)
        other = model.run(there, keep_operands=True)
        run = model.run(here, reads=["embed", "resid_pre"], rules=Rules(secants=24), toward=other)
        base = model.run(there, reads=["embed", "resid_pre"])
        m, m0 = (own.logits[:, -1, 7] - own.logits[:, -1, 11] for own in (run, base))
        places = list(run.reads)
        for site, rho in zip(places, torch.autograd.grad(m.sum(), [run[site] for site in places]), strict=True):
            assert torch.allclose(((run[site] - base[site]) * rho).sum((1, 2)), m - m0, rtol=1e-5, atol=1e-8), site


@every
def test_edges_are_refused_by_name_and_parts_are_nodes(name: str) -> None:
    model, known = hooked(name), FURTHER[name]
    with pytest.raises(LayoutError, match=r"edges: .*layers\.0"):
        model.layout.check_sum("edges")
    parts = {"mixer": "mixer_out", "second": "second_mlp_out"}
    for level, own in (("heads", "head"), ("blocks", "attn_out")):
        further = [kind for part, kind in parts.items() if part in known.facts]
        assert [g.kind for g in groups(level, model.layout)] == ["embed", *([own, *further, "mlp"] * 2)]


def test_a_gate_that_is_detached_is_that_of_both_mlps() -> None:
    """GIM holds gates; a second MLP has one too, so its relevance is that of a linear branch."""
    model = HookedModel(made(Two))
    rows = [row for row in model.coverage(GIM).rows if row.operation == "gated product"]
    assert [row.path for row in rows] == ["layers.0.also", "layers.1.also"]


@torch.no_grad()
def test_a_form_of_one_block_is_no_fact_of_the_others() -> None:
    class Mixed(Decoder):
        def make(self, config: Any, blocks: list[nn.Module]) -> None:
            self.layers = nn.ModuleList([Block(config), Decayed(config), Macaron(config), Biased(config)])

    torch.manual_seed(0)
    hf: Any = Mixed(Config(attn_implementation="eager"))
    randomise(hf)
    model = HookedModel(hf.eval())
    blocks = model.layout.blocks
    assert [b.attn.keep for b in blocks] == pytest.approx([1, 0.9, 1, 1])
    assert [b.second is not None for b in blocks] == [False, False, True, False]
    assert [b.attn.bias for b in blocks] == [None, None, None, "layers.3.attn.level"]
    assert [kind for kind in KINDS if kind in model.sites()] == []
    assert "not in layer 0, 1, 3" in model.missing_sites()["second_mlp_out"]
    expected = hf(input_ids=ids()).logits
    run = model.run(ids(), reads=["second_mlp_out.2", "attn_out.3", "resid_pre.3", "resid_mid.3"])
    assert torch.equal(run.logits, expected)
    close(run[Site("resid_pre", 3)] + run[Site("attn_out", 3)], run[Site("resid_mid", 3)])


@pytest.mark.parametrize(
    "name", ["parts of both", "a vector times the stream", "all scaled", "two MLPs at once", "Conformer"]
)
def test_half_precision_finds_the_same(name: str) -> None:
    def shown(model: Any) -> list[Any]:
        parts = [(block.path, part) for block in HookedModel(model).layout.blocks for part in block.sublayers]
        return [
            (
                path,
                own.writer,
                own.gain,
                own.keeper,
                own.bias,
                own.around,
                pytest.approx((own.scale, own.keep), rel=0.02),
            )
            for path, own in parts
        ]

    assert shown(FURTHER[name].make().bfloat16()) == [
        (*one[:-1], one[-1].expected) for one in shown(FURTHER[name].make())
    ]


@every
def test_gradients_are_those_of_torch(name: str) -> None:
    model = hooked(name)
    run = model.run(ids(), reads=["embed"])
    (found,) = torch.autograd.grad(run.logits.square().sum(), [run["embed"]])
    hf, seen = FURTHER[name].make(), list[Tensor]()
    hook = hf.layers[0].register_forward_pre_hook(
        lambda m, args: (seen.append(args[0].detach().requires_grad_()) or seen[0], *args[1:])
    )
    with torch.enable_grad():
        (wanted,) = torch.autograd.grad(hf(input_ids=ids()).logits.square().sum(), seen)
    hook.remove()
    close(found, wanted, 1e-4)
