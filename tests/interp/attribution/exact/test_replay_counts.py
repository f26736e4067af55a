"""What a replay computes: rows through every part of every layer, worked out by hand and counted a second time by hooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from interp.attribution.exact.counts import Counts
from interp.attribution.exact.engine import Replay
from interp.attribution.exact.machine import find_restart
from interp.attribution.exact.node_patches import node_patches
from interp.attribution.exact.readout import Readout
from interp.attribution.exact.recording import record
from interp.attribution.exact.sweep import sweep
from interp.model.model import HookedModel
from interp.model.modules import attention
from interp.model.vocabulary import Columns
from interp.parts.nodes import Group
from interp.parts.sites import Site
from interp.parts.tokens import as_tokens
from tests.interp.model.tiny import VOCAB, hooked, ids

LAYERS, BATCH, LENGTH, UNITS, COLUMNS = 3, 2, 7, 3, 5
SITES = {"head": "z", "mlp": "mlp_out", "neuron": "mlp_post", "attn_out": "attn_out"}
Rows = dict[tuple[str, int], int]


@cache
def gpt2() -> HookedModel:
    return hooked("gpt2", n_layer=LAYERS)


def swept(
    kind: str, layer: int, start: int, stop: int, keep: int, columns: Tensor | None = None, equal: bool = False
) -> tuple[Counts, int, Rows]:
    """Counts of patching three units (one where the site has one) at positions start..stop; how often the metric was asked;
    and rows counted by hooks on the modules. `equal`: the value patched in is the base run's own."""
    model = gpt2()
    machine = find_restart(model).machine
    assert machine is not None
    site, tokens = Site(SITES.get(kind, kind), layer), as_tokens(ids(BATCH, LENGTH), None)
    base = model.run(tokens, reads=[site])[site].detach()
    group = Group(kind, site, base.shape[2] if kind in ("head", "neuron", "q", "k", "v") else 1)
    at = torch.zeros(BATCH, LENGTH, dtype=torch.bool)
    at[:, start:stop] = True
    asked: list[int] = []

    def measure(logits: Tensor) -> Tensor:
        asked.append(logits.shape[-1])
        return logits.flatten(1).sum(-1)

    with torch.no_grad(), attention.selected(model.hf, None), ExitStack() as stack:
        replay = Replay(machine, record(model, machine.modules, tokens), keep)
        seen = watched(stack, model)
        units = list(range(min(UNITS, group.n_units)))
        patches = node_patches(replay, group, base if equal else base + 1, base, at, units)
        readout = Readout(model, None if columns is None else Columns.of(model, columns))
        if patches is not None:
            list(sweep(replay, readout, [(0, patches)], measure))
    return replay.counts, len(asked), seen


def watched(stack: ExitStack, model: HookedModel) -> Rows:
    """Rows through the matrices of every layer, counted by hooks."""
    seen: Rows = Counter()

    def counter(part: str, layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            seen[part, layer] += output.shape[:-1].numel()

        return hook

    for layer, block in enumerate(model.hf.transformer.h):
        for part, module in (("qkv", block.attn.c_attn), ("o", block.attn.c_proj), ("mlp", block.mlp.c_proj)):
            stack.callback(module.register_forward_hook(counter(part, layer)).remove)
    return seen


def behind(entry: int, start: int, stop: int, n: int, keep: int) -> Rows:
    """Rows of `n` patches of the stream that enters layer `entry` at positions start..stop: all positions from `start` on
    after the first layer; in the last one everything behind the keys only where logits are read."""
    rows: Rows = {}
    for layer in range(entry, LAYERS):
        entering = stop - start if layer == entry else LENGTH - start
        leaving = keep if keep and layer == LAYERS - 1 else LENGTH - start
        rows["qkv", layer] = n * BATCH * entering
        for part in ("attention", "o", "mlp"):
            rows[part, layer] = n * BATCH * leaving
    return rows


def check(found: tuple[Counts, int, Rows], expected: Rows, n: int, keep: int) -> None:
    """Rows as expected, by the engine's own count and by that of hooks; `n` metrics of logits at the positions read."""
    counts, asked, seen = found
    assert dict(counts.rows) == expected
    assert dict(seen) == {key: rows for key, rows in expected.items() if key[0] != "attention"}
    assert counts.scores == LENGTH * sum(rows for (part, _), rows in expected.items() if part == "attention")
    assert asked == n and counts.unembedded == n * BATCH * (keep or LENGTH) * VOCAB


# ---------------------------------------------------------------- rows


@pytest.mark.broad
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("pos", [0, 3, LENGTH - 1])
@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_patch_of_the_stream_recomputes_only_what_is_behind_it(layer: int, pos: int, keep: int) -> None:
    check(swept("resid_pre", layer, pos, pos + 1, keep), behind(layer, pos, pos + 1, 1, keep), 1, keep)


@pytest.mark.broad
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize(("start", "stop"), [(0, LENGTH), (2, 4), (LENGTH - 1, LENGTH)])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("kind", ["head", "attn_out", "resid_mid", "neuron", "mlp"])
def test_a_patch_behind_attention_recomputes_no_attention_of_its_layer(
    kind: str, layer: int, start: int, stop: int, keep: int
) -> None:
    """And no MLP of its layer where the patch is in the MLP."""
    n = UNITS if kind in ("head", "neuron") else 1
    own: Rows = {} if kind in ("neuron", "mlp") else {("mlp", layer): n * BATCH * (stop - start)}
    check(swept(kind, layer, start, stop, keep), own | behind(layer + 1, start, stop, n, keep), n, keep)


@pytest.mark.parametrize("kind", ["q", "k", "v"])
@pytest.mark.parametrize("layer", [0, 1])
def test_heads_of_a_channel_share_one_attention(kind: str, layer: int) -> None:
    """Once as it was and once with all heads patched: at the position of a query, and behind a key or value."""
    start, stop = 2, 3 if kind == "q" else LENGTH
    own: Rows = {("attention", layer): 2 * BATCH * (stop - start), ("mlp", layer): UNITS * BATCH * (stop - start)}
    check(swept(kind, layer, 2, 3, 1), own | behind(layer + 1, start, stop, UNITS, 1), UNITS, 1)


@pytest.mark.parametrize("kind", ["head", "attn_out", "resid_mid", "neuron", "mlp", "resid_post", "q"])
def test_what_the_last_layer_does_where_nobody_reads_costs_nothing(kind: str) -> None:
    counts, asked, seen = swept(kind, LAYERS - 1, 0, LENGTH - 1, 1)
    assert not counts.rows and not seen and asked == counts.unembedded == 0
    assert swept(kind, LAYERS - 1, 0, LENGTH, 1)[0].unembedded > 0


@pytest.mark.parametrize("kind", ["resid_pre", "head", "mlp", "v"])
def test_equal_values_cost_nothing(kind: str) -> None:
    counts, asked, seen = swept(kind, 0, 0, LENGTH, 0, equal=True)
    assert not counts.rows and not seen and asked == counts.unembedded == 0


def test_only_the_tokens_asked_for_are_unembedded() -> None:
    tokens = torch.arange(COLUMNS)
    assert swept("resid_pre", 0, 0, 1, 1, tokens)[0].unembedded == BATCH * COLUMNS
    assert swept("resid_pre", 0, 0, 1, 0, tokens)[0].unembedded == BATCH * LENGTH * COLUMNS


def flops(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_layer": 4, "n_embd": 64, "n_head": 8},
    "llama": {"num_hidden_layers": 4, "hidden_size": 64, "num_attention_heads": 8, "intermediate_size": 128},
    "bloom": {"n_layer": 4, "hidden_size": 64},
    "mixtral": {"num_hidden_layers": 4, "hidden_size": 64, "dtype": torch.float64},
}
