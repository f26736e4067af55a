"""Models that no library has: what a layout says of them, every site, and how those are refused that it cannot state."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interp.errors import LayoutError, MethodError, UnsupportedRuleError
from interp.model.edits import Edit, add, zero
from interp.model.model import HookedModel
from interp.parts.sites import Site
from interp.rules.rules import RELP_AH
from tests.interp.model.discovery.known import Known
from tests.interp.model.discovery.refused import REFUSED
from tests.interp.model.discovery.stacks import Detached
from tests.interp.model.discovery.steps import Mixed
from tests.interp.model.discovery.tomorrow import KNOWN
from tests.interp.model.plain import close, state
from tests.interp.model.tiny import VOCAB, ids
from tests.interp.rules.float64 import true_float64

every = pytest.mark.parametrize("name", KNOWN)
#: Kinds that only some forms have; which ones is no matter of whether a model is understood.
_OPTIONAL = frozenset({"resid_attn", "resid_mlp"})


@cache
def hooked(name: str) -> HookedModel:
    return HookedModel(KNOWN[name].make(), name=name)


# ---------------------------------------------------------------- the twin: hooks on modules that are named by hand


class Twin:
    """The values at the sites of a model, by its known facts; nothing here asks the engine where anything is."""

    def __init__(self, known: Known, model: Any = None) -> None:
        self.known, self.model = known, model or known.make()
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        with ExitStack() as stack, torch.no_grad():
            for path, module in self.model.named_modules():
                stack.callback(module.register_forward_hook(self._seen(path), with_kwargs=True).remove)
            self.logits = self.model(input_ids=ids()).logits

    def _seen(self, path: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            found = args[0] if args else next(iter(kwargs.values()), None)
            made = output[0] if isinstance(output, tuple) else output
            if isinstance(found, Tensor) and isinstance(made, Tensor):
                self.inputs[path], self.outputs[path] = found.clone(), made.clone()

        return hook

    def added(self, block: str, part: int) -> Tensor:
        """What attention (0) or the MLP (1) adds to the stream."""
        factor = self.known.factor(self.model.get_submodule(block), part)
        return self.outputs[_in(block, self.known.adds[part])] * factor

    def norm_around(self, block: str, part: int, x: Tensor) -> Tensor:
        norm = self.known.after[part]
        with torch.no_grad():
            return x if norm is None else self.model.get_submodule(_in(block, norm))(x)  # type: ignore[no-any-return]

    def middle(self, block: str) -> Tensor:
        """The stream between attention and MLP, by the sum."""
        return self.norm_around(block, 0, self.inputs[block] + self.added(block, 0))

    def values(self, layer: int) -> dict[str, Tensor]:
        """Every kind of site of a block whose value is some module's, or the sum of such."""
        known, block = self.known, self.known.blocks[layer]
        pre = self.inputs[block]
        found = {
            "resid_pre": pre,
            "resid_post": self.outputs[block],
            "attn_out": self.added(block, 0),
            "mlp_out": self.added(block, 1),
            "z": self.inputs[_in(block, known.o)].unflatten(-1, (known.heads, known.fan)),
            "mlp_post": self.inputs[_in(block, known.down)],
            "mlp_normed": self.inputs[_in(block, known.feed)],
        }
        reads = (pre, pre) if known.parallel else (pre, self.middle(block))
        found |= dict(zip(("attn_in", "mlp_in"), reads, strict=True))
        if not known.parallel:
            found["resid_mid"] = reads[1]
        if known.act is not None:
            found["mlp_pre"] = self.inputs[_in(block, known.act)]
        return {kind: value for kind, value in found.items() if kind not in known.missing}


def _in(block: str, path: str) -> str:
    return f"{block}.{path}" if path else block


@every
def test_the_facts_hold_of_the_model_itself(name: str) -> None:
    """The twin's own equation, against what the blocks give; without it a wrong fact would accuse the engine."""
    twin, known = Twin(KNOWN[name]), KNOWN[name]
    for block in known.blocks:
        first, second = 0, 1
        if known.parallel:
            after = twin.inputs[block] + twin.added(block, first) + twin.added(block, second)
        else:
            after = twin.norm_around(block, second, twin.middle(block) + twin.added(block, second))
        close(after, twin.outputs[block], 1e-5)
        for part, norm in enumerate(known.norms):
            assert norm is None or _in(block, norm) in twin.outputs, part
        assert float(twin.added(block, 0).std()) > 1e-5 and float(twin.added(block, 1).std()) > 1e-5
    for before, behind in zip(known.blocks, known.blocks[1:], strict=False):
        assert torch.equal(twin.outputs[before], twin.inputs[behind])


# ---------------------------------------------------------------- good models


@every
def test_the_layout_says_what_is_known(name: str) -> None:
    known, layout = KNOWN[name], hooked(name).layout
    assert (layout.n_layers, layout.n_heads, layout.n_kv_heads, layout.d_head, layout.d_model, layout.d_mlp) == (
        len(known.blocks), known.heads, known.kv_heads, known.fan, 32, 48,
    )  # fmt: skip
    assert layout.d_vocab == VOCAB and layout.unembed == known.head
    assert known.final is None or layout.ln_final == known.final
    assert layout.attention_function == ("pattern" not in known.missing)
    assert [block.path for block in layout.blocks] == list(known.blocks)
    for block in layout.blocks:
        attn, mlp = block.attn, block.mlp
        if layout.attention_function:
            assert attn.module == _in(block.path, known.caller)
        found = {
            "o": attn.o, "down": mlp.down, "act": mlp.act, "norms": (attn.norm, mlp.norm), "after": (attn.around, mlp.around),
            "place": (attn.place, mlp.place), "parallel": block.parallel, "branch": mlp.branch and mlp.branch.path,
        }  # fmt: skip
        expected = {
            "o": _in(block.path, known.o), "down": _in(block.path, known.down), "act": _path(block.path, known.act),
            "norms": tuple(_path(block.path, norm) for norm in known.norms),
            "after": tuple(_path(block.path, norm) for norm in known.after),
            "place": known.place, "parallel": known.parallel, "branch": _path(block.path, known.branch),
        }  # fmt: skip
        if known.ambiguous:
            found, expected = ({**x, "act": None, "branch": None} for x in (found, expected))
        assert found == expected
        assert known.branch is not None or known.ambiguous or mlp.up == _path(block.path, known.up)
        assert known.gains or (attn.scale, mlp.scale) == pytest.approx((known.scale, known.scale), rel=1e-5)


def _path(block: str, path: str | None) -> str | None:
    return None if path is None else _in(block, path)


def test_blocks_of_two_kinds() -> None:
    hf = KNOWN["plain"].make_as(Mixed)
    model = HookedModel(hf)
    assert [(b.attn.place, b.mlp.place) for b in model.layout.blocks] == [("pre", "pre"), ("after", "after")]
    run = model.run(ids(), reads=["resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"])
    with torch.no_grad():
        assert torch.equal(run.logits, hf(input_ids=ids()).logits)
    for layer in (0, 1):
        close(run[f"resid_pre.{layer}"] + run[f"attn_out.{layer}"], run[f"resid_mid.{layer}"])
        close(run[f"resid_mid.{layer}"] + run[f"mlp_out.{layer}"], run[f"resid_post.{layer}"])


@every
def test_finding_a_layout_costs_two_forwards_and_leaves_nothing(name: str) -> None:
    hf, calls = KNOWN[name].make(), []
    before = state(hf)
    handle = hf.register_forward_pre_hook(lambda *_: calls.append(1))
    HookedModel(hf)
    handle.remove()
    assert len(calls) <= 2
    assert state(hf) == before


@every
def test_half_precision_finds_the_same(name: str) -> None:
    known = KNOWN[name]
    wide, narrow = hooked(name).layout, HookedModel(known.make().bfloat16()).layout
    for mine, theirs in zip(wide.blocks, narrow.blocks, strict=True):
        for a, b in ((mine.attn, theirs.attn), (mine.mlp, theirs.mlp)):
            assert b.scale == pytest.approx(a.scale, rel=2**-7)
            assert replace(b, scale=a.scale) == (a if not known.ambiguous else replace(b, scale=a.scale))
        assert mine.parallel == theirs.parallel
    assert replace(narrow, blocks=wide.blocks) == wide


@pytest.mark.parametrize("part", [0, 1], ids=["attention", "MLP"])
@pytest.mark.parametrize("name", ["gains", "bare gains", "a part is added", "norms before and behind", "norms around"])
@torch.no_grad()
def test_a_small_part_of_a_step_is_not_passed_over(name: str, part: int) -> None:
    """One sublayer writes ten thousand times less than the other: what it adds is what it adds nevertheless."""
    known = KNOWN[name]
    hf = known.make()
    for path in known.blocks:
        block = hf.get_submodule(path)
        for p in block.get_submodule(
            known.adds[part] if name.startswith("norms before") else (known.o, known.down)[part]
        ).parameters():
            p.mul_(1e-4)
    twin, run = Twin(known, hf), HookedModel(hf).run(ids(), reads=["attn_out", "mlp_out"])
    for layer in range(len(known.blocks)):
        values = twin.values(layer)
        for kind in ("attn_out", "mlp_out"):
            close(run[Site(kind, layer)], values[kind], 1e-3)


def test_a_forward_without_gradients_has_a_layout_and_no_rules() -> None:
    hf = KNOWN["plain"].make_as(Detached)
    model = HookedModel(hf)
    known = hooked("plain").layout.blocks
    assert [(b.attn, b.mlp, b.parallel) for b in model.layout.blocks] == [(b.attn, b.mlp, b.parallel) for b in known]
    assert torch.equal(model.run(ids(), reads=model.sites()).logits, hf(input_ids=ids()).logits)
    with pytest.raises((UnsupportedRuleError, MethodError)):
        model.run(ids(), rules=RELP_AH)


@every
def test_sites_that_are_missing_have_reasons(name: str) -> None:
    known, missing = KNOWN[name], hooked(name).missing_sites()
    unknown = _OPTIONAL if known.act else {*_OPTIONAL, "mlp_pre", "mlp_post"}
    assert known.missing <= missing.keys() <= known.missing | unknown
    assert all(len(reason) > 20 for reason in missing.values())


@every
@torch.no_grad()
def test_every_site_is_read_and_changes_nothing(name: str) -> None:
    known, model = KNOWN[name], hooked(name)
    twin = Twin(known)
    assert torch.equal(model.run(ids()).logits, twin.logits)
    run = model.run(ids(), reads=model.sites())
    assert torch.equal(run.logits, twin.logits) and torch.equal(run["logits"], twin.logits)
    close(run["embed"], twin.inputs[known.blocks[0]], 0)
    close(run["resid_final"], twin.outputs[known.blocks[-1]], 1e-6)
    here = set(model.sites())
    for layer in range(len(known.blocks)):
        for kind, value in twin.values(layer).items():
            if kind in here:
                close(run[Site(kind, layer)], value, 1e-5)


@every
def test_every_site_is_read_under_gradients(name: str) -> None:
    model = hooked(name)
    run = model.run(ids(), reads=model.sites())
    assert torch.equal(run.logits, Twin(KNOWN[name]).logits)
    kinds = [site for site in run.reads if site.kind not in ("logits", "attn_in", "mlp_in")]
    grads = torch.autograd.grad(run.logits[:, -1].square().sum(), [run[site] for site in kinds])
    assert all(bool(torch.isfinite(g).all()) and bool(g.any()) for g in grads)


@every
@torch.no_grad()
def test_an_edit_that_changes_nothing_changes_nothing(name: str) -> None:
    model = hooked(name)
    expected = model.run(ids()).logits
    for kind in model.sites():
        edits = [Edit(site, lambda x: x) for site in model.resolve(kind)]
        found = model.run(ids(), edits=edits).logits
        if KNOWN[name].scale == 1.0 and KNOWN[name].gains is None:
            assert torch.equal(found, expected), kind
        else:
            close(found, expected, 1e-6 if kind not in ("attn_out", "mlp_out") else 1e-5)


# ---------------------------------------------------------------- edits, against the tests' own hooks


def by_hand(model: nn.Module, path: str, change: Callable[[Tensor], Tensor], *, before: bool) -> Tensor:
    """The logits where a hook of ours changes what goes into a module, or what comes out of it."""
    module = model.get_submodule(path)

    def entering(_: nn.Module, args: Any, kwargs: Any) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        first = next(iter(kwargs))
        return args, {**kwargs, first: change(kwargs[first])}

    def leaving(_: nn.Module, args: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = (
        module.register_forward_pre_hook(entering, with_kwargs=True)
        if before
        else module.register_forward_hook(leaving)
    )
    try:
        return model(input_ids=ids()).logits  # type: ignore[no-any-return]
    finally:
        handle.remove()


@every
@torch.no_grad()
def test_edits_act_where_they_say(name: str) -> None:
    known, model = KNOWN[name], hooked(name)
    layer = len(known.blocks) - 1
    block, hf = known.blocks[layer], known.make()
    vector = torch.randn(32, generator=torch.Generator().manual_seed(3))

    def shifted(by: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: x + by

    cases: dict[str, tuple[str, Callable[[Tensor], Tensor], bool]] = {
        "resid_pre": (block, shifted(vector), True),
        "resid_post": (block, shifted(vector), False),
        "mlp_normed": (_in(block, known.feed), shifted(vector), True),
    }
    factors = [known.factor(hf.get_submodule(block), part) for part in (0, 1)]
    for kind, part in (("attn_out", 0), ("mlp_out", 1)):
        cases[kind] = (_in(block, known.adds[part]), shifted(vector / factors[part]), False)
    first = 0
    if (norm := known.after[first]) is not None:
        cases["resid_mid"] = (_in(block, norm), shifted(vector), False)
    else:
        cases["resid_mid"] = (_in(block, known.adds[first]), shifted(vector / factors[first]), False)
    for kind, part in (("attn_in", 0), ("mlp_in", 1)):
        reader = known.norms[part] or (known.attends, known.feed)[part]
        cases[kind] = (_in(block, reader), shifted(vector), True)
    for kind in set(cases) - known.missing & set(model.sites()):
        path, change, before = cases[kind]
        expected = by_hand(hf, path, change, before=before)
        found = model.run(ids(), edits=[add(f"{kind}.{layer}", vector)]).logits
        close(found, expected, 1e-5)
        assert not torch.allclose(found, model.run(ids()).logits, rtol=1e-4, atol=1e-4), kind


@every
@torch.no_grad()
def test_a_head_is_the_head_that_it_says(name: str) -> None:
    """Head 2 of z without z; of its pattern; and of its values, which other heads may share."""
    known, model = KNOWN[name], hooked(name)
    hf, block = known.make(), known.blocks[0]
    start = 2 * known.fan

    def without(x: Tensor) -> Tensor:
        return torch.cat([x[..., :start], torch.zeros_like(x[..., : known.fan]), x[..., start + known.fan :]], dim=-1)

    expected = by_hand(hf, _in(block, known.o), without, before=True)
    close(model.run(ids(), edits=[zero("z.0", heads=2)]).logits, expected)
    if "pattern" in known.missing:
        return
    run = model.run(ids(), reads=["pattern", "q", "k", "v"])
    n = ids().shape[1]
    assert run["pattern.0"].shape == (2, known.heads, n, n)
    close(run["pattern.0"].sum(-1), torch.ones(2, known.heads, n))
    assert run["q.0"].shape == (2, n, known.heads, known.fan)
    assert run["k.0"].shape == run["v.0"].shape == (2, n, known.kv_heads, known.fan)
    if known.model.__name__ not in ("Sandwich",):  # a norm between z and the projection mixes the heads
        close(model.run(ids(), edits=[zero("pattern.0", heads=2)]).logits, expected)
        doubled = by_hand(hf, _in(block, known.o), lambda z: 2 * z, before=True)
        close(model.run(ids(), edits=[Edit("v.0", lambda v: 2 * v)]).logits, doubled)


# ---------------------------------------------------------------- rules


@every
def test_relp_conserves_or_is_refused_by_name(name: str) -> None:
    known = KNOWN[name]
    with true_float64():
        hf = known.make().double()
        with torch.no_grad():
            for path, p in hf.named_parameters():
                if path.endswith("bias"):
                    p.zero_()
        model = HookedModel(hf)
        try:
            model.coverage(RELP_AH).check()
        except UnsupportedRuleError as error:
            assert known.relp is not True, error
            assert known.blocks[0] in str(error)
            return
        assert known.relp is not False
        run = model.run(ids(), reads=["embed", "resid_pre"], rules=RELP_AH)
        with torch.no_grad():
            assert torch.equal(run.logits, hf(input_ids=ids()).logits)
        if model.layout.logits_softcap is not None:  # keeps its plain gradient, and the coverage says so
            assert any("soft cap" in row.operation for row in model.coverage(RELP_AH).rows)
            return
        m = run.logits[:, -1, 7] - run.logits[:, -1, 11]
        cuts = list(run.reads.values())
        for x, rho in zip(cuts, torch.autograd.grad(m.sum(), cuts), strict=True):
            assert torch.allclose((x * rho).sum((1, 2)), m, rtol=1e-9, atol=0)


# ---------------------------------------------------------------- models of other forms

_INTERNAL = (
    "Traceback",
    "NoneType",
    "has no attribute",
    "KeyError",
    "IndexError",
    "list index",
    "transformer-lens",
    "tuple(",
)


@pytest.mark.parametrize("name", REFUSED)
def test_models_of_other_forms_are_refused_with_a_sentence(name: str) -> None:
    model = REFUSED[name].make()
    with torch.no_grad():
        model(input_ids=ids())  # what is refused does run
    before = state(model)
    with pytest.raises(LayoutError, match=REFUSED[name].names) as raised:
        HookedModel(model)
    said = str(raised.value)
    assert "\n" not in said and 40 < len(said) < 500 and said.endswith(".")
    assert state(model) == before
    assert not [word for word in _INTERNAL if word in said], said
