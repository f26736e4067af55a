"""A model small enough to work its effects out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import transformers

from interp.model.model import HookedModel
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task

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

#: Prompts A (clean) and B (corrupt): t = 1 + 6 = 7 with neurons (1, 0), or t = -1 + 2 = 1 with neurons (0, 1); u = 1.
MLP = {
    ("exact", "denoise"): {"m0": 5 / math.sqrt(13) - 1, "m0.n0": 0.4, "m0.n1": -2.0, "embed": 0.4},
    ("exact", "noise"): {"m0": 3 / math.sqrt(5) - 1.4, "m0.n0": -0.4, "m0.n1": 9 / math.sqrt(41) - 1.4, "embed": -0.4},
    ("atp", "denoise"): {"m0": 0.5 * 4, "m0.n0": 0.5 * 6, "m0.n1": 0.5 * -2},
    ("atp", "noise"): {"m0": -4 / 250, "m0.n0": -6 / 250, "m0.n1": 2 / 250},
    ("relp", "denoise"): {"m0": 4.0, "m0.n0": 6.0, "m0.n1": -2.0, "embed": 2 - 4},
    ("relp", "noise"): {"m0": -4 / 5, "m0.n0": -6 / 5, "m0.n1": 2 / 5, "embed": (-2 - 12) / 5},
}
