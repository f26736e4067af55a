"""Replay against whole forwards, and against plain Hugging Face runs: the same scores, whatever is patched and read."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from interp.attribution.exact.engine import Replay
from interp.attribution.exact.machine import Restart, find_restart
from interp.attribution.exact.node_patches import node_patches
from interp.attribution.exact.readout import Readout
from interp.attribution.exact.recording import record
from interp.attribution.exact.sweep import sweep
from interp.attribution.request import prepare
from interp.attribution.scoring.driver import Attribution
from interp.model.edits import Edit
from interp.model.loading.transformer_lens_model import ReferenceConfig, ReferenceTransformer
from interp.model.model import HookedModel
from interp.model.modules import attention
from interp.parts.nodes import LEVELS, Group, groups
from interp.parts.tokens import Tokens, pad
from interp.tasks.task import Task
from tests.interp.model.tiny import ARCHITECTURES, OWN_ATTENTION, VARIANTS, architecture, hooked, ids, parts, randomise
from tests.interp.tasks.toy import toy_task

ALL = (*ARCHITECTURES, *VARIANTS)
METRICS = ("logit_diff", "log_prob", "logsumexp", "prob_diff", "kl_source", "l2_source", "projection")
WAYS = (
    {"direction": "denoise"},
    {"direction": "noise"},
    {"ablation": "zero"},
    {"ablation": "mean"},
    {"ablation": "resample"},
)
model64 = cache(lambda name: hooked(name, dtype=torch.float64))
model32 = cache(hooked)


def bidirectional() -> HookedModel:
    """Two layers in which every token sees all others."""
    config = ReferenceConfig(
        n_layers=2,
        n_heads=4,
        d_model=32,
        d_mlp=48,
        d_vocab=64,
        d_vocab_out=64,
        attention_dir="bidirectional",
        normalization_type="LN",
    )
    model = ReferenceTransformer(config)
    randomise(model)
    return HookedModel(model.double().eval())


def scores(request: Attribution, restart: Restart | None = None) -> Any:
    """The exact scores of a request; of whole forwards where `restart` says so."""
    if restart is not None:
        request.__dict__["restart"] = restart
    return request.score()["exact"]


def both(model: HookedModel, task: Task, **options: Any) -> tuple[Any, Any]:
    """Scores by replay and by whole forwards."""
    one, two = (prepare(model, task, methods=["exact"], **options) for _ in range(2))
    fast, slow = scores(one), scores(two, Restart(None, "asked for"))
    assert slow.provenance.engine == "whole forwards: asked for"
    return fast, slow


def same(fast: Any, slow: Any, tolerance: float) -> None:
    """Equal within `tolerance` of the largest effect, or of 1 logit where that is more."""
    assert [p.name for p in fast.parts] == [p.name for p in slow.parts]
    assert np.abs(slow.per_example).max() > 1e-3, "a task without effects"
    worst = np.abs(fast.per_example - slow.per_example).max()
    assert worst <= tolerance * max(1.0, np.abs(slow.per_example).max())


# ---------------------------------------------------------------- against whole forwards


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
def test_every_architecture_is_replayed(name: str) -> None:
    found = str(find_restart(model32(name)))
    assert found == ("replay of layers at all positions" if architecture(name) in OWN_ATTENTION else "replay")


def drawn(data: st.DataObject, name: str) -> dict[str, Any]:
    """A level, positions, units, direction or ablation, metric, prompts and batches, as options of `prepare`."""
    levels = [*LEVELS, "edges"]
    if architecture(name) in OWN_ATTENTION:
        levels = [level for level in levels if level not in ("qkv", "edges")]
    if architecture(name) == "mixtral":
        levels.remove("neurons")
    level = data.draw(st.sampled_from(levels), label="level")
    lengths = data.draw(st.sampled_from([(6,), (3, 6), (8, 5)]), label="lengths")
    modes = ["all", "each", "end", "spans"]
    modes = [m for m in modes if not (m == "all" and level == "resid") and not (m == "each" and len(lengths) > 1)]
    way = data.draw(st.sampled_from(WAYS), label="way")
    usable = [m for m in METRICS if way.get("ablation") not in ("zero", "mean") or m in METRICS[:4]]
    return {
        "level": level,
        "positions": data.draw(st.sampled_from(modes), label="positions"),
        "metric": data.draw(st.sampled_from(usable), label="metric"),
        "batch_size": data.draw(st.sampled_from([1, 2, 3]), label="batch"),
        "task": toy_task(4, lengths, seed=data.draw(st.integers(0, 9), label="seed"), changed=2),
        **way,
    }


def some_parts(data: st.DataObject, model: HookedModel, options: dict[str, Any]) -> list[str] | None:
    """A few parts by name; all of them in the other half of the draws."""
    if data.draw(st.booleans(), label="all parts"):
        return None
    request = prepare(model, toy_task(), methods=["exact"], level=options["level"])
    names = sorted({part.name for part in request.space.parts([None])})
    return data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=5, unique=True), label="parts")


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_replay_is_whole_forwards_in_float64(name: str, data: st.DataObject) -> None:
    model, options = model64(name), drawn(data, name)
    chosen = some_parts(data, model, options)
    fast, slow = both(model, options.pop("task"), parts=chosen, **options)
    assert fast.provenance.engine.startswith("replay")
    worst = np.abs(fast.per_example - slow.per_example).max()
    assert worst <= 1e-10 * max(1.0, np.abs(slow.per_example).max())


@pytest.mark.broad
@pytest.mark.parametrize("name", ALL)
@settings(max_examples=3, deadline=None, derandomize=True)
@given(data=st.data())
def test_replay_is_whole_forwards_in_float32(name: str, data: st.DataObject) -> None:
    """1e-5 of the logits, of which scores are differences."""
    options = drawn(data, name)
    options["metric"] = "logit_diff"
    fast, slow = both(model32(name), options.pop("task"), **options)
    scale = max(1.0, np.abs(slow.per_example).max(), abs(slow.provenance.base_metric))
    assert np.abs(fast.per_example - slow.per_example).max() <= 1e-5 * scale


@pytest.mark.broad
@pytest.mark.parametrize("level", [*LEVELS, "edges"])
@pytest.mark.parametrize("metric", ["logit_diff", "projection"])
def test_bidirectional_attention_is_redone_at_all_positions(level: str, metric: str) -> None:
    model = bidirectional()
    positions = "each" if level != "edges" else "all"
    fast, slow = both(model, toy_task(2), level=level, positions=positions, metric=metric)
    assert fast.provenance.engine == "replay"
    same(fast, slow, 1e-10)


@pytest.mark.broad
@pytest.mark.parametrize("name", ["gpt2", "gpt_neo", "gemma2", "bloom"])
@pytest.mark.parametrize("level", ["resid", "heads"])
def test_prompts_of_one_token(name: str, level: str) -> None:
    """Zero ablation is the only patch that changes anything there."""
    from interp.tasks.pairs.pairs import Pair
    from interp.tasks.pairs.token_pairs import TokenPair

    pairs = tuple(Pair("", "", (), (), {}, TokenPair((t,), (t,), (5,), (9,), {})) for t in (4, 7))
    fast, slow = both(model64(name), Task("one", pairs), level=level, positions="each", ablation="zero")
    same(fast, slow, 1e-10)


# ---------------------------------------------------------------- bfloat16


@pytest.mark.broad
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("level", ["resid", "heads", "qkv", "neurons"])
def test_bfloat16_is_as_near_to_float32_as_whole_forwards_are(name: str, level: str) -> None:
    """Both round to 8 bits on the way; neither may be more than twice as far off as the other, nor off by a tenth."""
    fast, slow = both(hooked(name, dtype=torch.bfloat16), toy_task(), level=level)
    wide = hooked(name, dtype=torch.bfloat16)
    wide.hf.float()
    right = scores(prepare(wide, toy_task(), methods=["exact"], level=level)).per_example
    off, other = (np.abs(x.per_example - right).mean() for x in (fast, slow))
    assert off <= 2 * other + 1e-6 and off <= 0.1 * np.abs(right).max()


# ---------------------------------------------------------------- plain Hugging Face


def by_hand(
    name: str, model: HookedModel, clean: Tensor, corrupt: Tensor, kind: str, layer: int, unit: int, pos: int
) -> Tensor:
    """Logits of the last position of the corrupt run with one clean value put in by hooks of our own."""
    own = parts(name, model.hf, layer)
    width = 8 if kind == "head" else 1
    module, part = {
        "resid_pre": (own.block, slice(None)),
        "head": (own.o, slice(unit * width, (unit + 1) * width)),
        "neuron": (own.down, slice(unit, unit + 1)),
    }[kind]
    kept: list[Tensor] = []

    def keep(_: Any, args: Any) -> None:
        kept.append(args[0].clone())

    def put(_: Any, args: Any) -> Any:
        x = args[0].clone()
        x[:, pos, part] = kept[0][:, pos, part]
        return (x, *args[1:])

    with torch.no_grad(), ExitStack() as stack:
        with module.register_forward_pre_hook(keep):  # type: ignore[union-attr]
            model.hf(clean, use_cache=False)
        stack.enter_context(module.register_forward_pre_hook(put))  # type: ignore[union-attr]
        return model.hf(corrupt, use_cache=False).logits[:, -1]


@pytest.mark.broad
@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "gemma2"])
@pytest.mark.parametrize(("level", "kind"), [("resid", "resid_pre"), ("heads", "head"), ("neurons", "neuron")])
def test_scores_are_those_of_hooks_on_plain_transformers(name: str, level: str, kind: str) -> None:
    model, task = model64(name), toy_task(2, changed=2)
    found = scores(prepare(model, task, methods=["exact"], level=level, positions="each"))
    pairs = [p.ids for p in task.pairs if p.ids]
    clean, corrupt = (torch.tensor([getattr(p, which) for p in pairs]) for which in ("clean", "corrupt"))
    with torch.no_grad():
        base = model.hf(corrupt, use_cache=False).logits[:, -1]
    rows, answers, wrong = range(2), [p.answers[0] for p in pairs], [p.wrong[0] for p in pairs]
    chosen = [i for i, p in enumerate(found.parts) if p.kind == kind and (p.unit is None or p.unit % 3 == 0)]
    for i in chosen:
        node = found.parts[i]
        logits = by_hand(name, model, clean, corrupt, kind, node.layer, node.unit or 0, node.position) - base
        expected = (logits[rows, answers] - logits[rows, wrong]).numpy()
        assert np.abs(found.per_example[:, i] - expected).max() <= 1e-10 * max(1.0, np.abs(expected).max())


# ---------------------------------------------------------------- padding, the engine itself


def patched_by_edit(model: HookedModel, group: Group, unit: int, value: Tensor, at: Tensor, tokens: Tokens) -> Tensor:
    units = torch.arange(group.n_units) == unit
    edit = Edit(group.site, lambda x: group.mix(x, value, units, at))
    return model.run(tokens, edits=[edit]).logits


@pytest.mark.broad
@pytest.mark.parametrize("name", [n for n in ALL if architecture(n) not in OWN_ATTENTION])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batches(name: str, side: Any) -> None:
    """Logits at every real position, of a node of every kind patched at one place per row."""
    model, rows = model32(name), ids(3).tolist()
    tokens = pad([rows[0], rows[1][:4], rows[2][:5]], 0, side)
    machine = find_restart(model).machine
    assert machine is not None
    at = torch.zeros_like(tokens.mask)
    at[range(3), [int(m.nonzero()[1]) for m in tokens.mask]] = True
    levels = [level for level in LEVELS if not (architecture(name) == "mixtral" and level == "neurons")]
    found = [g for level in levels for g in groups(level, model.layout)]
    base = model.run(tokens, reads=[g.site for g in found])
    with torch.no_grad(), attention.selected(model.hf, None):
        replay = Replay(machine, record(model, machine.modules, tokens), 0)
        for group in found:
            value, unit = torch.randn(base[group.site].shape), group.n_units - 1
            patches = node_patches(replay, group, value, base[group.site].detach(), at, [unit])
            assert patches is not None
            logits = logits_of(replay, model, patches)[0]
            expected = patched_by_edit(model, group, unit, value, at, tokens)
            assert (logits - expected)[tokens.mask].abs().max() <= 1e-5 * expected[tokens.mask].abs().max(), group


def logits_of(replay: Replay, model: HookedModel, patches: Any) -> Tensor:
    """Logits [patch batch pos token] of every patch."""
    found: list[Tensor] = []

    def keep(logits: Tensor) -> Tensor:
        found.append(logits)
        return logits[:, 0, 0]

    list(sweep(replay, Readout(model, None), [(0, patches)], keep))
    return torch.stack(found)
