"""Blocks whose equation is a usual one, written so that a hook on a module may miss what it is meant for: a site that is there
does what its name says, or there is no such site, or the model is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from interp.errors import InterpError, LayoutError, SiteError
from interp.model.edits import Edit, add, zero
from interp.model.model import HookedModel
from tests.interp.model.discovery.other_eager import InTurn, ScaledHeads
from tests.interp.model.discovery.tomorrow import KNOWN
from tests.interp.model.discovery.written import Attention, Block, Decoder, attend
from tests.interp.model.plain import close
from tests.interp.model.tiny import ids


def made(model: type) -> Any:
    return KNOWN["plain"].make_as(model)


# ---------------------------------------------------------------- the stream between attention and MLP


class _CopyIsRead(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x), mask)
        return x + self.mlp(self.n2(x.clone()))


class _SumMadeTwice(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        attended = self.attn(self.n1(x), mask)
        return x + attended + self.mlp(self.n2(x + attended))


class _PartsFirst(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        attended = self.attn(self.n1(x), mask)
        return x + (attended + self.mlp(self.n2(x + attended)))


class _PassedOnInDouble(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        wide = x.double() + self.attn(self.n1(x), mask)
        return (wide + self.mlp(self.n2(wide.float()))).float()


@pytest.mark.parametrize("block", [Block, _CopyIsRead, _SumMadeTwice, _PartsFirst, _PassedOnInDouble])
@torch.no_grad()
def test_an_edit_of_the_middle_is_passed_on(block: type[Block]) -> None:
    """What is added to the stream between attention and MLP reaches all behind it, as if attention had written it."""
    model = HookedModel(made(type("Made", (Decoder,), {"block": block})))
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    if "resid_mid" in model.sites():
        expected = model.run(ids(), edits=[add("attn_out.0", vector)]).logits
        close(model.run(ids(), edits=[add("resid_mid.0", vector)]).logits, expected)
    else:
        assert block is not Block
        with pytest.raises(SiteError, match="resid_mid"):
            model.run(ids(), edits=[add("resid_mid.0", vector)])


# ---------------------------------------------------------------- heads


class _HeadsInside(Attention):
    """z with the heads as the inner axis: head h is every fourth entry."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        z = attend(self, *self.qkv(x), mask).unflatten(-1, (self.config.fans, -1))
        out: Tensor = self.o(z.transpose(-1, -2).flatten(-2))
        return out


class _Inside(Block):
    attention = _HeadsInside


@torch.no_grad()
def test_heads_that_are_not_side_by_side() -> None:
    """A head without its pattern is that head without its z; a model where these differ must be refused."""
    hf = made(type("Made", (Decoder,), {"block": _Inside}))
    try:
        model = HookedModel(hf)
    except LayoutError as error:
        assert "layers.0" in str(error)
        return
    found = model.run(ids(), edits=[zero("z.0", heads=2)]).logits
    close(found, model.run(ids(), edits=[zero("pattern.0", heads=2)]).logits)


@pytest.mark.parametrize("kind", [InTurn, ScaledHeads])
@torch.no_grad()
def test_attention_functions_of_a_models_own(kind: type) -> None:
    hf = made(kind)
    model = HookedModel(hf)
    expected = hf(input_ids=ids()).logits
    assert torch.equal(model.run(ids(), reads=model.sites()).logits, expected)
    for site in ("q", "k", "v", "z", "pattern"):
        try:
            found = model.run(ids(), edits=[Edit(f"{site}.0", lambda x: x)]).logits
        except InterpError as error:
            assert site == "pattern" and len(str(error)) > 40
            continue
        close(found, expected, 1e-6)


# ---------------------------------------------------------------- modules that are called more than once


def test_an_activation_that_blocks_share() -> None:
    """One module, called by every block: a value is of the block that it is named after, or there is no such site."""
    hf = made(Decoder)
    hf.layers[1].mlp.act = hf.layers[0].mlp.act
    up: list[Tensor] = []

    def seen(_: Any, args: Any, y: Tensor) -> None:
        up.append(y.detach())

    for layer in hf.layers:
        layer.mlp.up.register_forward_hook(seen)
    with torch.no_grad():
        hf(input_ids=ids())
    right = up[:2]
    model = HookedModel(hf)
    for layer, value in enumerate(right):
        try:
            (site,) = model.resolve(f"mlp_pre.{layer}")
        except SiteError:
            continue
        close(model.run(ids(), reads=[site])[site], value, 1e-6)


def test_a_norm_that_blocks_share() -> None:
    """Refused, or read where it stands."""
    hf = made(Decoder)
    hf.layers[1].n2 = hf.layers[0].n2
    try:
        model = HookedModel(hf)
    except LayoutError as error:
        assert "layers." in str(error) and "twice" in str(error)
        return
    if "mlp_in" in model.missing_sites():
        assert "several times" in model.missing_sites()["mlp_in"] and "resid_mid" in model.missing_sites()
        return
    run = model.run(ids(), reads=["resid_mid", "mlp_in"])
    for layer in (0, 1):
        close(run[f"mlp_in.{layer}"], run[f"resid_mid.{layer}"])
        assert not torch.equal(run[f"mlp_in.{layer}"], run[f"mlp_in.{1 - layer}"])
