"""Micro-models whose effects are worked out by hand, signs included, and the replacement model of the relevance rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from interp.attribution.request import attribute, attribute_all
from interp.model.model import HookedModel
from interp.tasks.task import Pair, Task, TokenPair
from tests.interp.model.tiny import hooked, toy_task, true_float64
from tests.interp.rules.twin import Twin

A, B, C, RIGHT, WRONG = 0, 1, 2, 3, 4
EMBEDDING = {A: (1, -1, 1, -1), B: (-1, 1, 1, -1), C: (1, -1, -1, 1)}


def micro(change: Callable[[Any], None]) -> HookedModel:
    """GPT-2 of one layer, two heads of size 2, four dimensions, ReLU; every weight zero but what `change` sets.

    Embeddings have mean 0 and variance 1, so the first norms leave them as they are. The logit of RIGHT is the first
    coordinate after the final norm and that of WRONG is 0: with a residual stream (t, -t, u, -u) the metric is
    t / sqrt((t^2 + u^2) / 2).
    """
    config = transformers.GPT2Config(
        vocab_size=5, n_embd=4, n_layer=1, n_head=2, n_positions=4, n_inner=2, activation_function="relu",
        layer_norm_epsilon=1e-30, tie_word_embeddings=False, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
        for token, value in EMBEDDING.items():
            model.transformer.wte.weight[token] = torch.tensor(value)
        model.lm_head.weight[RIGHT, 0] = 1
        change(model.transformer.h[0])
    return HookedModel(model)


def one_pair(clean: tuple[int, ...], corrupt: tuple[int, ...]) -> Task:
    return Task("micro", (Pair("", "", (), (), ids=TokenPair(clean, corrupt, (RIGHT,), (WRONG,))),))


def _attention(block: Any) -> None:
    """Scores 0, so the last of two positions attends to both by half; head 0 copies coordinate 0 to (6, -6, 0, 0)."""
    block.attn.c_attn.weight[0, 8] = 1  # W_V of head 0: z[0] = mean of the first coordinates
    block.attn.c_proj.weight[0] = torch.tensor([6, -6, 0, 0])


def _mlp(block: Any) -> None:
    """Neuron 0 is relu(x0), written 6 times; neuron 1 is relu(-x0), written twice."""
    block.mlp.c_fc.weight[0] = torch.tensor([1, -1])
    block.mlp.c_proj.weight.copy_(torch.tensor([[6, -6, 0, 0], [2, -2, 0, 0]]))


#: Prompts A C (clean) and B C (corrupt): z of head 0 at C is (1 + 1) / 2 = 1 or (-1 + 1) / 2 = 0, so t = 1 + 6 z is 7
#: or 1 and u = -1: metric 7/5 or 1. dm/dt = u^2 / (2 s^3): 1/2 at corrupt, 1/250 at clean; with s held, 1/s: 1 or 1/5.
#: The embedding of the first token reaches the metric through head 0 alone; its norm has d(x0)/d(x0) = 1 when held.
ATTENTION = {
    ("exact", "denoise"): {"embed": 0.4, "a0.h0": 0.4},
    ("exact", "noise"): {"embed": -0.4, "a0.h0": -0.4},
    ("atp", "denoise"): {"a0.h0": 6 * 0.5},
    ("atp", "noise"): {"a0.h0": -6 / 250},
    ("relp", "denoise"): {"embed": 6.0, "a0.h0": 6.0},
    ("relp", "noise"): {"embed": -6 / 5, "a0.h0": -6 / 5},
    ("relp-ah", "denoise"): {"embed": 6.0, "a0.h0": 6.0},
    ("cp-lrp", "noise"): {"embed": -6 / 5, "a0.h0": -6 / 5},
    ("attnlrp", "denoise"): {"embed": 3.0, "a0.h0": 6.0},
    ("gim", "noise"): {"embed": -3 / 5, "a0.h0": -6 / 5},
}


@pytest.mark.broad
@pytest.mark.parametrize(("method", "direction"), ATTENTION)
def test_a_head_by_hand(method: str, direction: str) -> None:
    model = micro(_attention)
    scores = attribute(model, one_pair((A, C), (B, C)), method=method, level="heads", direction=direction)
    p = scores.provenance
    ends = (1.0, 1.4) if direction == "denoise" else (1.4, 1.0)
    assert (p.base_metric, p.source_metric) == pytest.approx(ends, rel=1e-9)
    for node, value in ATTENTION[method, direction].items():
        assert scores[node] == pytest.approx(value, rel=1e-9), node
    assert scores["a0.h1"] == scores["m0"] == 0


#: Prompts A (clean) and B (corrupt): t = 1 + 6 = 7 with neurons (1, 0), or t = -1 + 2 = 1 with neurons (0, 1); u = 1.
MLP = {
    ("exact", "denoise"): {"m0": 5 / math.sqrt(13) - 1, "m0.n0": 0.4, "m0.n1": -2.0, "embed": 0.4},
    ("exact", "noise"): {"m0": 3 / math.sqrt(5) - 1.4, "m0.n0": -0.4, "m0.n1": 9 / math.sqrt(41) - 1.4, "embed": -0.4},
    ("atp", "denoise"): {"m0": 0.5 * 4, "m0.n0": 0.5 * 6, "m0.n1": 0.5 * -2},
    ("atp", "noise"): {"m0": -4 / 250, "m0.n0": -6 / 250, "m0.n1": 2 / 250},
    ("relp", "denoise"): {"m0": 4.0, "m0.n0": 6.0, "m0.n1": -2.0, "embed": 2 - 4},
    ("relp", "noise"): {"m0": -4 / 5, "m0.n0": -6 / 5, "m0.n1": 2 / 5, "embed": (-2 - 12) / 5},
}


@pytest.mark.parametrize(("method", "direction"), MLP)
def test_an_mlp_by_hand(method: str, direction: str) -> None:
    model, task = micro(_mlp), one_pair((A,), (B,))
    options: dict[str, Any] = {"method": method, "direction": direction}
    blocks, neurons = (
        attribute(model, task, level="blocks", **options),
        attribute(model, task, level="neurons", **options),
    )
    for node, value in MLP[method, direction].items():
        assert (neurons if ".n" in node else blocks)[node] == pytest.approx(value, rel=1e-9), node
    assert blocks["attn_out.0"] == 0


@pytest.mark.broad
@pytest.mark.parametrize("method", ["exact", "atp", "relp", "relp-ah", "attnlrp", "cp-lrp", "gim", "atp-ig", "relp-ig"])
def test_both_directions_agree_on_what_is_important(method: str) -> None:
    """The same node first, with a positive importance, whether it is put in or taken out, whatever the metric's sign."""
    model, task = micro(_mlp), one_pair((A,), (B,))
    for direction in ("denoise", "noise"):
        for metric in ("logit_diff", "cross_entropy"):
            scores = attribute(model, task, method=method, level="neurons", direction=direction, metric=metric)
            assert scores.top(1, "signed")[0][0] == "m0.n0", (direction, metric)
            assert scores.importance[0] > 0 > scores.importance[1]


def test_distances_have_the_sign_of_their_run() -> None:
    model, task = micro(_attention), one_pair((A, C), (B, C))
    for metric, score in (("l2_source", -0.16), ("l2_base", 0.16)):
        for direction in ("denoise", "noise"):
            scores = attribute(model, task, method="exact", level="heads", metric=metric, direction=direction)
            assert scores["a0.h0"] == pytest.approx(score) and scores.importance[1] == pytest.approx(0.16)


# ---------------------------------------------------------------- the replacement model


def _ends(model: HookedModel, direction: str) -> tuple[TokenPair, Tensor, Tensor, Task]:
    task = toy_task(1)
    pair = task.tokenize(None, 64)[0]
    clean, corrupt = torch.tensor([pair.clean]), torch.tensor([pair.corrupt])
    return (pair, corrupt, clean, task) if direction == "denoise" else (pair, clean, corrupt, task)


def _metric(logits: Tensor, pair: TokenPair) -> float:
    return float(logits[0, -1, pair.answers[0]] - logits[0, -1, pair.wrong[0]])


SITES = {"heads": ("z", 8), "blocks": ("mlp_out", 32), "neurons": ("mlp_post", 1)}
NODES = {"heads": "a{}.h{}", "blocks": "m{}", "neurons": "m{}.n{}"}


@pytest.mark.broad
@pytest.mark.parametrize("level", SITES)
@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_relevance_is_an_effect_in_the_replacement_model(name: str, direction: str, level: str) -> None:
    """relp-ah: the exact effect there, whatever the size of the patch; relp: its derivative along the patch."""
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        pair, base, source, task = _ends(model, direction)
        found = attribute_all(model, task, methods=["relp-ah", "relp"], level=level, direction=direction)
        kind, width = SITES[level]
        with torch.no_grad():
            plain, other = Twin(model.hf), Twin(model.hf)
            plain(base), other(source)
            for layer, unit in ((0, 0), (1, 1 if width < 32 else 0)):
                site, node = f"{kind}.{layer}", NODES[level].format(layer, unit)
                step = other.values[site] - plain.values[site]
                mask = torch.zeros_like(step)
                mask[
                    (..., unit) if kind != "mlp_out" and width == 1 else (..., unit, slice(None)) if width == 8 else ...
                ] = 1
                step = step * mask

                def moved(rules: str, h: float, site: str = site, step: Tensor = step) -> float:
                    start = Twin(model.hf, rules)
                    start(base)
                    frozen = Twin(model.hf, rules, start.recorded, {site: lambda x: x + h * step})
                    return _metric(frozen(base), pair)

                effect = moved("relp-ah", 1.0) - moved("relp-ah", 0.0)
                assert found["relp-ah"][node] == pytest.approx(effect, rel=1e-9, abs=1e-12)
                slope = (moved("relp", 1e-4) - moved("relp", -1e-4)) / 2e-4
                assert found["relp"][node] == pytest.approx(slope, rel=1e-6, abs=1e-9)
                assert abs(effect) > 1e-6
        assert _metric(model.run(base).logits, pair) == pytest.approx(found["relp"].provenance.base_metric, rel=1e-12)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_whole_embedding_in_the_replacement_model(name: str) -> None:
    with true_float64():
        model = hooked(name, dtype=torch.float64)
        pair, base, source, task = _ends(model, "noise")
        scores = attribute(model, task, method="relp-ah", level="blocks", direction="noise")
        with torch.no_grad():
            start = Twin(model.hf, "relp-ah")
            before = _metric(start(base), pair)
            after = _metric(Twin(model.hf, "relp-ah", start.recorded)(source), pair)
        assert scores["embed"] == pytest.approx(after - before, rel=1e-9)
