"""Attention functions of a model's own, which do something else with values than most: the forward is theirs, whatever is edited."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.interp.model.discovery.stacks import Padded
from tests.interp.model.discovery.written import Attention, Block, Decoder


def eager_attention_forward(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float, **_: Any
) -> tuple[Tensor, Tensor]:
    """Heads share keys and values in turn (head h has those of h mod n) instead of in groups, or each head is scaled."""
    n = query.shape[2]
    key, value = (x.repeat(1, query.shape[1] // key.shape[1], 1, 1) for x in (key, value))
    later = torch.full((n, n), torch.finfo(query.dtype).min, dtype=query.dtype).triu(1)
    pattern = torch.softmax(query @ key.mT * scaling + later, dim=-1)
    return (pattern @ value * module.sizes[:, None, None]).transpose(1, 2), pattern


class OwnAttention(Attention):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        sizes = torch.linspace(0.5, 1.5, c.fans) if c.kv_fans == c.fans else torch.ones(c.fans)
        self.sizes = nn.Buffer(sizes)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        implementation = self.config._attn_implementation
        function = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        z: Tensor = function(self, *self.qkv(x), mask, scaling=self.config.fan**-0.5)[0]
        out: Tensor = self.o(z.flatten(2))
        return out


class _Own(Block):
    attention = OwnAttention


class ScaledHeads(Decoder):
    block = _Own


class InTurn(Decoder):
    config_class = Padded
    block = _Own
