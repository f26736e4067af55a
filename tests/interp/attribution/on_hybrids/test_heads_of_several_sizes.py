"""Layers whose heads have other widths, and other numbers of keys and values, than those of the layers beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import interp
from interp.dictionaries.splice import widths
from interp.errors import LayoutError
from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.parts.nodes import groups
from interp.parts.sites import Site
from tests.interp.attribution.on_hybrids.test_layers_without_heads import forced
from tests.interp.model.discovery.layer_inputs import gemma4
from tests.interp.model.discovery.shared_keys import SHARED
from tests.interp.model.discovery.written import Attention, Config, Decoder, apart
from tests.interp.model.tiny import ids, randomise
from tests.interp.tasks.toy import ends, measured, pairs_of, toy_task


class Wide(Attention):
    """Heads of 16 numbers, one of keys and values."""

    def __init__(self, c: Any) -> None:
        super().__init__(Config(fan=16, kv_fans=1))
        self.config = c

    def qkv(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(apart(matrix(x), 16) for matrix in (self.q, self.k, self.v))


class Uneven(Decoder):
    """Its second layer has heads of 16 numbers in place of 8, and one of keys and values in place of four."""

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        blocks[1].attn = Wide(config)
        self.layers = nn.ModuleList(blocks)


def _by_hand() -> Any:
    torch.manual_seed(0)
    model = Uneven(Config(attn_implementation="eager"))
    randomise(model)
    return model.eval()


def _gemma() -> Any:
    changes = {"global_head_dim": 16, "num_global_key_value_heads": 1, "attention_k_eq_v": True}
    return gemma4(hidden_size_per_layer_input=0, **changes)


#: Each with the widths and K/V heads of its layers, and where z is.
MODELS: Final[dict[str, tuple[Callable[[], Any], list[tuple[int, int]], str]]] = {
    "by hand": (_by_hand, [(8, 4), (16, 1)], "layers.{}.attn.o"),
    "Gemma 4": (_gemma, [(8, 2), (8, 2), (16, 1)], "model.layers.{}.self_attn.o_proj"),
}
every = pytest.mark.parametrize("name", MODELS)


@every
@torch.no_grad()
def test_each_layer_has_its_own(name: str) -> None:
    make, known, _ = MODELS[name]
    model, expected = HookedModel(make()), make()(input_ids=ids()).logits
    assert [(block.attn.d_head, block.attn.n_kv_heads) for block in model.layout.blocks] == known
    run = model.run(ids(), reads=model.sites())
    assert torch.equal(run.logits, expected)
    for i, (width, kv_heads) in enumerate(known):
        shapes = [tuple(run[Site(kind, i)].shape[2:]) for kind in ("q", "k", "v", "z")]
        assert shapes == [(4, width), (kv_heads, width), (kv_heads, width), (4, width)]
    for kind in ("q", "k", "v", "z", "pattern"):
        edits = [Edit(site, lambda x: x) for site in model.resolve(kind)]
        assert torch.equal(model.run(ids(), edits=edits).logits, expected), kind
    assert [g.n_units for g in groups("qkv", model.layout) if g.kind == "k"] == [kv for _, kv in known]
    assert f"d_head {known[0][0]} or 16" in repr(model.layout)


@every
@torch.no_grad()
def test_exact_is_brute_force_patching(name: str) -> None:
    make, known, path = MODELS[name]
    model, task = HookedModel(make()), toy_task(3)
    base, source = ends(pairs_of(task), "denoise")
    start = measured(model.hf(input_ids=base).logits, pairs_of(task))
    heads = interp.attribute(model, task, method="exact", level="heads", show_progress=False)
    names = [part.name for part in heads.parts]
    for i, (width, _) in enumerate(known):
        value = forced(model.hf, path.format(i), source, None, before=True)
        for head in range(4):
            own = slice(width * head, width * (head + 1))
            change = measured(forced(model.hf, path.format(i), base, value, own, True), pairs_of(task)) - start
            np.testing.assert_allclose(heads.per_example[:, names.index(f"a{i}.h{head}")], change.double(), atol=2e-5)


@every
@torch.no_grad()
def test_keys_and_values_are_scored_by_layer(name: str) -> None:
    model, task = HookedModel(MODELS[name][0]()), toy_task(2)
    base, source = ends(pairs_of(task), "denoise")
    scores = interp.attribute(model, task, method="exact", level="qkv", show_progress=False)
    start, there = measured(model.run(base).logits, pairs_of(task)), model.run(source, reads=["k", "v"])
    for i, part in enumerate(scores.parts):
        if part.kind == "q":
            continue

        def put(x: Tensor, part: Any = part) -> Tensor:
            own = x.clone()
            own[:, :, part.unit] = there[Site(part.kind, part.layer)][:, :, part.unit]
            return own

        change = (
            measured(model.run(base, edits=[Edit(Site(part.kind, part.layer), put)]).logits, pairs_of(task)) - start
        )
        np.testing.assert_allclose(scores.per_example[:, i], change.double(), atol=2e-5)


@every
def test_what_needs_heads_of_one_size_is_refused(name: str) -> None:
    model = HookedModel(MODELS[name][0]())
    with pytest.raises(LayoutError, match="edges: "):
        interp.attribute(model, toy_task(2), method="atp", level="edges", show_progress=False)
    last = model.layout.n_layers - 1
    assert (widths(model.layout)["z.0"], widths(model.layout)["z"]) == (32, 64) and f"z.{last}" not in widths(
        model.layout
    )


@torch.no_grad()
def test_shared_keys_run_whole_forwards() -> None:
    """Heads of a layer whose keys and values a later one takes, patched by hand: the queries see the other run's, the later layer does not."""
    make, _ = SHARED["by hand"]
    model, task = HookedModel(make()), toy_task(2)
    base, source = ends(pairs_of(task), "denoise")
    scores = interp.attribute(model, task, method="exact", level="heads", show_progress=False)
    assert "takes its keys and values from layer 0" in str(scores.provenance.engine)
    start, names = measured(model.hf(input_ids=base).logits, pairs_of(task)), [part.name for part in scores.parts]
    for i in (0, 1):
        value = forced(model.hf, f"layers.{i}.attn.o", source, None, before=True)
        for head in range(4):
            own = slice(8 * head, 8 * (head + 1))
            change = measured(forced(model.hf, f"layers.{i}.attn.o", base, value, own, True), pairs_of(task)) - start
            np.testing.assert_allclose(scores.per_example[:, names.index(f"a{i}.h{head}")], change.double(), atol=2e-5)
