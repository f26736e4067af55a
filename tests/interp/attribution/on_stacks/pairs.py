"""Tasks on models with several stacks, and nodes patched one by one with edits written out by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.parts.nodes import Node
from interp.tasks.pairs.input_pairs import InputPair
from interp.tasks.task import Task
from tests.interp.model.several.made import CLIP, given

ANSWER, WRONG = 9, 11
#: Of a node's kind the site, and whether heads are apart there.
_PLACES = {
    "embed": ("embed", False),
    "head": ("z", True),
    "cross_head": ("cross_z", True),
    "mlp": ("mlp_out", False),
    "attn_out": ("attn_out", False),
    "cross_out": ("cross_out", False),
    "resid_pre": ("resid_pre", False),
    "resid_mid": ("resid_mid", False),
    "resid_cross": ("resid_cross", False),
    "resid_post": ("resid_post", False),
    "q": ("q", True), "k": ("k", True), "v": ("v", True),
    "cross_q": ("cross_q", True), "cross_k": ("cross_k", True), "cross_v": ("cross_v", True),
    "neuron": ("mlp_post", True),
}  # fmt: skip


def inputs(name: str, seed: int, n: int = 6, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """One example, clean for seed 1 and corrupt for others; the decoder has been given the same."""
    found = given(name, batch=1, seed=seed, n=n)
    found |= {key: x for key, x in given(name, batch=1, seed=1).items() if key == "decoder_input_ids"}
    return {key: x.to(dtype) if x.is_floating_point() else x for key, x in found.items()}


def task(name: str, lengths: tuple[int, ...] = (6,), dtype: torch.dtype = torch.float32) -> Task:
    """Pairs whose sources have these lengths."""
    pairs = []
    for i, n in enumerate(lengths):
        sides = (inputs(name, 1 + 10 * i, n, dtype), inputs(name, 2 + 10 * i, n, dtype))
        answers: dict[str, Any] = {"answers": "similarity"} if name == CLIP else {"answers": [ANSWER], "wrong": [WRONG]}
        pairs.append(InputPair(*sides, **answers))
    return Task("swap", tuple(pairs))


def value(name: str, logits: Tensor) -> float:
    """The metric of one example: the difference of two logits at the last position, or how alike image and text are."""
    last = logits[0, -1].double()
    return float(last[0] if name == CLIP else last[ANSWER] - last[WRONG])


def site_of(node: Node) -> str:
    kind, _ = _PLACES[node.kind]
    where = kind if node.layer is None else f"{kind}.{node.layer}"
    return f"{node.stack}:{where}" if node.stack else where


def placed(node: Node, source: Tensor, share: float = 1.0) -> Edit:
    """The node's value moved a share of the way to what it is in `source`, at all positions."""
    _, apart = _PLACES[node.kind]

    def change(x: Tensor) -> Tensor:
        moved = x + share * (source - x)
        if share == 1.0:
            moved = source.expand_as(x).clone()
        if not apart:
            return moved
        out = x.clone()
        out[:, :, node.unit] = moved[:, :, node.unit]
        return out

    return Edit(site_of(node), change)


def effect(model: HookedModel, name: str, node: Node, base: Any, source: Tensor, share: float = 1.0) -> float:
    """metric(base with the node moved) - metric(base)"""
    with torch.no_grad():
        patched, plain = (model.run(base, edits=edits).logits for edits in ([placed(node, source, share)], []))
    return value(name, patched) - value(name, plain)
