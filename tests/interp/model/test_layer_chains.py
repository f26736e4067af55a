"""Runs with another chain of layers: against plain runs, against edits that set to zero, and against models that really have these layers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import interp
from interp.errors import InterpError, LayoutError, SiteError, UnsupportedRuleError
from interp.ledger import counting
from interp.model.model import HookedModel
from interp.rules.rules import RELP
from tests.interp.model.encoders import models as encoders
from tests.interp.model.several import made as several
from tests.interp.model.tiny import ARCHITECTURES, VARIANTS, hooked, ids, tiny

READS = ("embed", "resid_pre", "attn_out", "mlp_out", "resid_post", "resid_final")


def prefixed(name: str, kind: str) -> str:
    return f"{name}:{kind}" if name else kind


@pytest.mark.broad(cases=6)
@pytest.mark.parametrize("name", [*ARCHITECTURES, *VARIANTS])
def test_the_usual_chain_is_the_plain_run_and_a_skip_adds_nothing(name: str) -> None:
    model, x = hooked(name), ids()
    with torch.no_grad():
        plain, same = model.run(x, READS), model.run(x, READS, layers=[0, 1])
        assert torch.equal(plain.logits, same.logits) and all(torch.equal(plain[s], same[s]) for s in plain)
        zeroed = model.run(x, edits=[interp.zero("attn_out.0"), interp.zero("mlp_out.0")]).logits
        assert torch.equal(model.run(x, layers=interp.skip(0)).logits, zeroed) and not torch.equal(zeroed, plain.logits)


@pytest.mark.broad(cases=6)
@pytest.mark.parametrize("name", [*encoders.NAMES, *several.NAMES])
def test_stacks_have_chains_of_their_own(name: str) -> None:
    """Encoders, and encoder-decoders some of whose blocks give what later ones need. A norm around a sum acts also where nothing is added."""
    known = encoders.known(name) if name in encoders.NAMES else several.known(name)
    given = ids() if name in encoders.NAMES else several.given(name)
    with torch.no_grad():
        plain = known.run(given)
        usual = {stack.name: list(range(stack.n_layers)) for stack in known.layout.stacks}
        assert torch.equal(known.run(given, layers=usual).logits, plain.logits)
        for stack in known.layout.stacks:
            skipped = known.run(given, layers={stack.name: interp.skip(1)}).logits
            parts = ["attn_out", "mlp_out", *(["cross_out"] if stack.crosses else [])]
            zeroed = known.run(given, edits=[interp.zero(prefixed(stack.name, f"{part}.1")) for part in parts]).logits
            around = any(part.around for part in stack.blocks[1].sublayers)
            assert torch.equal(skipped, zeroed) != around


def with_layers(name: str, chain: list[int], n: int) -> tuple[HookedModel, HookedModel]:
    """A model of n layers, and one that really has those of the chain."""
    hf = tiny(name, num_hidden_layers=n, **({"n_layer": n} if name == "gpt2" else {}))
    other = copy.deepcopy(hf)
    owner, key = (getattr(other, other.base_model_prefix), "h" if name == "gpt2" else "layers")
    own = getattr(owner, key)
    setattr(owner, key, nn.ModuleList(copy.deepcopy(own[i]) for i in chain))
    other.config.num_hidden_layers = len(chain)
    return HookedModel(hf), HookedModel(other)


@pytest.mark.parametrize("chain", [[0, 1, 1, 2], [2, 0], [0, 0, 2, 1]])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "olmo2"])
def test_a_chain_is_a_model_that_has_these_layers(name: str, chain: list[int]) -> None:
    """Of blocks in a row, parallel and behind norms; forward bit for bit, and relevance at the embedding, also through a layer called twice."""
    own, other = with_layers(name, chain, 3)
    for rules in (interp.GRADIENT, RELP):
        runs = [
            own.run(ids(), ["embed"], rules=rules, layers=chain),
            other.run(ids(), ["embed"], rules=rules),
        ]
        assert torch.equal(runs[0].logits, runs[1].logits)
        first, second = (torch.autograd.grad(run.logits[:, -1, 3].sum(), run["embed"])[0] for run in runs)
        assert torch.allclose(first, second, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["gemma2", "gemma3_text"])
def test_each_block_has_its_own_window_wherever_it_is_called(name: str) -> None:
    """The mask and the rotation of a layer go with the layer and not with the place: by a forward of the blocks by hand."""
    model = hooked(name)
    kept: dict[int, Any] = {}
    for i, block in enumerate(model.hf.model.layers):
        block.register_forward_pre_hook(lambda m, a, k, i=i: kept.__setitem__(i, (a, k)), with_kwargs=True)
    with torch.no_grad():
        model.hf(ids(), use_cache=False)
        args, x = kept[0]
        x = args[0] if args else x["hidden_states"]
        for i in (1, 0, 1):
            more = kept[i][0][1:]
            x = model.hf.model.layers[i](x, *more, **{k: v for k, v in kept[i][1].items() if k != "hidden_states"})
            x = x[0] if isinstance(x, tuple) else x
        model = hooked(name)
        assert torch.equal(model.run(ids(), ["resid_final"], layers=[1, 0, 1])["resid_final"], x)


def test_sites_in_a_chain_are_of_layers_called_once() -> None:
    model = hooked("llama")
    with torch.no_grad():
        run = model.run(ids(), ["resid_pre.1", "resid_post.1", "resid_final", "embed"], layers=[1, 0, 0])
        assert torch.equal(run["resid_pre.1"], run["embed"]) and not torch.equal(
            run["resid_post.1"], run["resid_final"]
        )
        path = f"module:{model.layout.blocks[0].path}.mlp"
        for sites in ({"reads": ["resid_post.0"]}, {"edits": [interp.zero("z.0")]}, {"reads": [path]}):
            with pytest.raises(SiteError, match="calls layer 0 several times"):
                model.run(ids(), layers=[1, 0, 0], **sites)
            with pytest.raises(SiteError, match="leaves layer 0 out"):
                model.run(ids(), layers=[1], **sites)
        changed = model.run(ids(), edits=[interp.zero("resid_pre.1")], layers=[1, 0, 0])
        assert torch.equal(changed.logits, model.run(ids(), edits=[interp.zero("embed")], layers=[1, 0, 0]).logits)


def test_moves_are_chains_and_a_run_leaves_no_trace() -> None:
    model = hooked("llama")
    blocks = list(model.hf.model.layers)
    with torch.no_grad():
        twice = model.run(ids(), layers=[0, 1, 1]).logits
        assert torch.equal(model.run(ids(), layers=interp.repeat(1)).logits, twice)
        mixed = model.run(ids(), layers=[interp.skip(0), interp.repeat(1, times=2)]).logits
        assert torch.equal(mixed, model.run(ids(), layers=[1, 1, 1]).logits)
        with pytest.raises(ZeroDivisionError):
            model.run(ids(), edits=[interp.Edit("resid_post.1", lambda x: 1 / 0)], layers=[1, 0])
        assert list(model.hf.model.layers) == blocks and not any(m._forward_pre_hooks for m in model.hf.modules())


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([0, 1, 7], r"chain \[0, 1, 7\]: this model has layers 0 to 1"),
        ([], "an empty chain"),
        ([-1], "layers 0 to 1"),
        ([0.5], "expected a whole number"),
        ("01", "expected a list of layers"),
        (3, "expected a list of layers"),
        (interp.skip(2), "skip 2: this model has layers 0 to 1"),
        ([interp.skip(0), interp.skip(1)], "an empty chain"),
        ([interp.skip(0), interp.repeat(0)], "is skipped and moved again"),
        ([0, interp.skip(1)], "numbers and moves together"),
        ({}, "no stack given"),
        ({"encoder": [0]}, "encoder"),
    ],
)
def test_a_chain_that_is_none_is_refused(layers: Any, said: str) -> None:
    with pytest.raises(SiteError, match=said):
        hooked("llama").run(ids(), layers=layers)
    with pytest.raises(InterpError):
        interp.repeat(0, times=0)


class Counts(nn.Module):
    """A block that adds more each time it is called."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block, self.calls = block, 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.block(*args, **kwargs) * self.calls


def test_blocks_that_keep_something_are_refused() -> None:
    model = hooked("llama")
    model.run(ids(), layers=[0, 1])
    model.hf.model.layers[1].mlp = Counts(model.hf.model.layers[1].mlp)
    model.chained = None
    with pytest.raises(LayoutError, match="keeps something"):
        model.run(ids(), layers=[0, 1])
    with pytest.raises(UnsupportedRuleError, match="operands of a chain"):
        hooked("llama").run(ids(), layers=[0, 1], keep_operands=True)


def test_a_chain_costs_the_blocks_that_it_calls() -> None:
    """By the ledger: a usual chain a forward, a block more or less its share."""
    model = hooked("llama")
    spent = {}
    for layers in (None, (0, 1), (0,), (0, 1, 1)):
        with counting() as found, torch.no_grad():
            model.run(ids(), layers=layers)
        spent[layers] = found.total
    assert spent[None] == spent[0, 1]
    assert spent[0, 1] - spent[0,] == spent[0, 1, 1] - spent[0, 1] > 0
