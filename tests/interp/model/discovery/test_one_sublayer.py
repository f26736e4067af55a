"""Blocks of one sublayer: attention alone, something else that mixes positions alone, or an MLP alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interp.errors import SiteError
from interp.model.edits import Edit
from interp.model.model import HookedModel
from tests.interp.model.discovery import odd_blocks as odd
from tests.interp.model.discovery.mixed_positions import Recurrence
from tests.interp.model.discovery.written import Block, Config, Decoder
from tests.interp.model.tiny import VOCAB, randomise

MIXED = ("embed", "resid_pre", "attn_in", "attn_out", "resid_post", "resid_final", "logits")


class RecurrenceAlone(Block):
    """x + mixer(norm(x)), as Mamba's blocks are."""

    attention = Recurrence

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return x + self.attn(self.n1(x), mask)


class Chain(Decoder):
    """Blocks of these classes, in a list or a sequence."""

    kinds: tuple[Any, ...] = ()
    box: Any = nn.ModuleList

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        made = [kind(config) for kind in self.kinds]
        self.layers = self.box(made) if self.box is nn.ModuleList else self.box(*made)


def chain(*kinds: Any, box: Any = nn.ModuleList) -> Any:
    """A decoder of these blocks, with random weights."""
    made = type("Made", (Chain,), {"kinds": kinds, "box": box, "__module__": __name__})
    torch.manual_seed(0)
    model = made(Config(attn_implementation="eager"))
    randomise(model)
    return model.eval()


#: Each chain, and of each block what it has: attention, something else that mixes positions, an MLP.
CHAINS: dict[str, tuple[tuple[Any, ...], str]] = {
    "attention alone": ((odd.NoMlp, odd.NoMlp), "aa"),
    "alternating": ((odd.AttentionAlone, odd.MlpAlone) * 2, "amam"),
    "MLP first": ((odd.MlpAlone, odd.AttentionAlone) * 2 + (odd.MlpAlone,), "mamam"),
    "recurrence alone": ((RecurrenceAlone, RecurrenceAlone), "rr"),
    "one of each": ((RecurrenceAlone, odd.MlpAlone, odd.AttentionAlone), "rma"),
    "the last without attention": ((Block, odd.NoAttention), "bm"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_what_a_block_has_is_found(name: str) -> None:
    kinds, has = CHAINS[name]
    layout = HookedModel(chain(*kinds)).layout
    assert [block.attn is not None for block in layout.blocks] == [own in "arb" for own in has]
    assert [block.heads for block in layout.blocks] == [own in "ab" for own in has]
    assert [block.mlp is not None for block in layout.blocks] == [own in "mb" for own in has]
    assert not any(block.middle or block.parallel for block in layout.blocks if block.lacking)
    assert layout.d_mlp == (48 if "m" in has or "b" in has else None)
    for i, block in enumerate(layout.blocks):
        norms = {"a": "norm", "m": "norm", "r": "n1"}
        if has[i] in norms and kinds[i] not in (odd.NoMlp, odd.NoAttention):
            assert block.fronts == (f"layers.{i}.{norms[has[i]]}",)


def sites_of(model: HookedModel) -> list[str]:
    """Every site of every layer that has it."""
    found = []
    for kind in ("resid_pre", "attn_in", "z", "attn_out", "resid_mid", "mlp_in", "mlp_normed", "mlp_post", "mlp_out"):
        for layer in range(model.layout.n_layers):
            try:
                found += [str(site) for site in model.resolve(f"{kind}.{layer}") if model.run(_IDS, reads=[site])]
            except SiteError as error:
                assert (
                    f"{kind}.{layer}" in str(error) and "it has no " in str(error)
                ) or "mixes positions there" in str(error), str(error)
    return found


_IDS = torch.arange(12).view(2, 6) * 5 % VOCAB


@pytest.mark.parametrize("name", CHAINS)
@torch.no_grad()
def test_sites_are_there_and_change_nothing(name: str) -> None:
    model = HookedModel(chain(*CHAINS[name][0]))
    plain, found = model.hf(input_ids=_IDS).logits, sites_of(model)
    has = CHAINS[name][1]
    per = {"a": ("resid_pre", "attn_in", "z", "attn_out"), "r": ("resid_pre", "attn_in", "attn_out")}
    per["m"] = ("resid_pre", "mlp_in", "mlp_normed", "mlp_post", "mlp_out")
    per["b"] = tuple(dict.fromkeys((*per["a"], "resid_mid", *per["m"])))
    assert sorted(found) == sorted(f"{kind}.{i}" for i, own in enumerate(has) for kind in per[own])
    assert torch.equal(model.run(_IDS, reads=found).logits, plain)
    for site in found:
        assert torch.equal(model.run(_IDS, edits=[Edit(site, lambda x: x)]).logits, plain)
        assert not torch.equal(model.run(_IDS, edits=[Edit(site, lambda x: 2 * x)]).logits, plain)


@pytest.mark.parametrize("name", ["alternating", "MLP first"])
def test_a_sequence_holds_the_same_blocks_as_a_list(name: str) -> None:
    """The blocks without attention in an nn.Sequential are known by where they stand."""
    kinds, _ = CHAINS[name]
    first, second = (HookedModel(chain(*kinds, box=box)).layout for box in (nn.ModuleList, nn.Sequential))
    assert second.blocks == first.blocks
