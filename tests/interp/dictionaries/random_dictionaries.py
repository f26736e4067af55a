"""Small dictionaries with random weights, of every activation: for tests of what dictionaries do, not of what they mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interp.dictionaries.activation import Activation, Gated, JumpRelu, Relu, TopK
from interp.dictionaries.dictionary import Dictionary
from interp.parts.sites import Site

ACTIVATIONS = ("relu", "jumprelu", "topk", "gated")


def activation(kind: str, n: int, generator: torch.Generator, dtype: torch.dtype) -> Activation:
    def draw() -> Tensor:
        return torch.randn(n, generator=generator, dtype=dtype)

    if kind == "relu":
        return Relu()
    if kind == "jumprelu":
        return JumpRelu(0.3 * draw().abs())
    return TopK(max(1, n // 6)) if kind == "topk" else Gated(0.1 * draw(), 0.1 * draw(), 0.1 * draw())


def made(
    site: str, d_in: int, *, target: str = "", d_out: int = 0, n: int = 24, kind: str = "relu", seed: int = 0,
    dtype: torch.dtype = torch.float32, **more: Any,
) -> Dictionary:  # fmt: skip
    """A dictionary at `site` (`resid_post.1`), or from it to `target`."""
    generator = torch.Generator().manual_seed(seed)
    d_out = d_out or d_in

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    name, layer = site.split(".")
    out, at = (target or site).split(".")
    return Dictionary(
        Site(name, int(layer)),
        Site(out, int(at)),
        activation(kind, n, generator, dtype),
        W_enc=draw(d_in, n) / d_in**0.5,
        b_enc=0.1 * draw(n),
        W_dec=draw(n, d_out) / n**0.5,
        b_dec=0.1 * draw(d_out),
        b_in=None if target else 0.1 * draw(d_in),
        **more,
    )
