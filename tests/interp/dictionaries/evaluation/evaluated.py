"""What tests of evaluations share: a model, rows of text, dictionaries, and what plain hooks see of a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from interp.dictionaries.activation import Relu
from interp.dictionaries.dictionary import Dictionary
from interp.model.model import HookedModel
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import parts, tiny

D, BOS = 32, 1


def model_of(name: str = "gpt2", **more: Any) -> HookedModel:
    return HookedModel(tiny(name, dtype=torch.float64, bos_token_id=BOS, **more), name=name)


def rows(n: int = 10, seed: int = 4) -> list[list[int]]:
    """Rows of several lengths, most of which begin with BOS; one has BOS inside."""
    g = torch.Generator().manual_seed(seed)
    found = []
    for i in range(n):
        body = torch.randint(3, 64, (4 + i % 5,), generator=g).tolist()
        found.append([BOS, *body] if i % 4 else body)
    found[1][3] = BOS
    return found


def likely(model: HookedModel) -> list[list[int]]:
    """Rows that the model itself goes on with, so that taking something from it does harm."""
    found = [[BOS, token] for token in range(10, 18)]
    for _ in range(7):
        with torch.no_grad():
            logits = model.hf(torch.tensor(found)).logits[:, -1]
        found = [[*row, int(token)] for row, token in zip(found, logits[:, 2:].argmax(-1) + 2, strict=True)]
    return found


def whole(site: str = "resid_post.0", target: str = "", **change: Any) -> Dictionary:
    """A dictionary that makes up everything: a feature for each direction of each dimension."""
    eye = torch.eye(D, dtype=torch.float64)
    zero = torch.zeros(D, dtype=torch.float64)
    d = replace(made(site, D, target=target, n=2 * D, dtype=torch.float64), b_enc=torch.zeros(2 * D).double())
    d = replace(
        d, activation=Relu(), W_enc=torch.cat([eye, -eye], 1), W_dec=torch.cat([eye, -eye]), b_dec=zero, b_in=None
    )
    return replace(d, **change)


DICTIONARIES = {
    "resid_post": made("resid_post.0", D, n=48, kind="topk", normalize="layer_norm", dtype=torch.float64),
    "z": made("z.0", D, n=48, kind="gated", dtype=torch.float64),
    "mlp_out": made("mlp_normed.0", D, target="mlp_out.0", n=48, kind="jumprelu", dtype=torch.float64),
}


def places(model: HookedModel, kind: str) -> tuple[torch.nn.Module, torch.nn.Module | None]:
    """The module whose output is the target, and the one whose input a transcoder reads; for z the same module's input."""
    block = parts("gpt2", model.hf, 0)
    if kind == "z":
        return block.o, block.o
    return (block.block, None) if kind == "resid_post" else (block.block.mlp, block.block.mlp)


@contextmanager
def hooked(model: HookedModel, kind: str, put: Any) -> Iterator[list[Tensor]]:
    """What the dictionary reads and its target, as plain hooks see them; `put(x, y)` is what the model goes on with."""
    seen: list[Tensor] = []
    out, into = places(model, kind)

    def before(module: Any, args: tuple[Tensor, ...]) -> Any:
        seen[:] = [args[0]]
        return (put(args[0], args[0]), *args[1:]) if kind == "z" else None

    def after(module: Any, args: Any, y: Any) -> Any:
        value = y[0] if isinstance(y, tuple) else y
        x = seen[0] if into is not None else value
        seen[:] = [x, value]
        new = put(x, value)
        return (new, *y[1:]) if isinstance(y, tuple) else new

    handles = [] if into is None else [into.register_forward_pre_hook(before)]
    handles += [] if kind == "z" else [out.register_forward_hook(after)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def hooked_reads(model: HookedModel, row: list[int], kind: str = "resid_post") -> tuple[Tensor, Tensor]:
    """What the dictionary reads and its target at the tokens of one row that count, without padding or batches."""
    with torch.no_grad(), hooked(model, kind, lambda x, y: y) as seen:
        model.hf(torch.tensor([row]))
    keep = torch.tensor(row) != BOS
    return seen[0][0][keep], seen[-1][0][keep]
