"""Decoders whose attention does not go through transformers' AttentionInterface."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.interp.model.discovery.written import Attention, Block, Config, Decoder


class Told(Config):
    """How many heads there are stands in no tensor that everyone would know: the configuration says it."""

    num_attention_heads: int = 4


class SoftmaxAttention(Attention):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        pattern = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(later, float("-inf")).softmax(dim=-1)
        out: Tensor = self.o((pattern @ v).transpose(1, 2).flatten(2))
        return out


class TorchAttention(Attention):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        z = F.scaled_dot_product_attention(*self.qkv(x), is_causal=True)
        out: Tensor = self.o(z.transpose(1, 2).reshape(*x.shape[:2], -1))
        return out


class _BySoftmax(Block):
    attention = SoftmaxAttention


class BySoftmax(Decoder):
    config_class = Told
    block = _BySoftmax


class _ByTorch(Block):
    attention = TorchAttention


class ByTorch(Decoder):
    config_class = Told
    block = _ByTorch
