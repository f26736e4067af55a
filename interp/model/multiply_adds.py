"""What a run of a model costs: multiply-adds of one row through each part of a layer, counted from the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Prices:
    """Multiply-adds of one row through each part of a layer, of one query-key pair, and of one logit."""

    rows: dict[tuple[str, int], int]
    score: int
    logit: int
    d_vocab: int

    @classmethod
    def of(cls, model: Any) -> Prices:
        """Counted from the weights; of experts those that a token is sent to."""
        rows: dict[tuple[str, int], int] = {}
        for layer, own in enumerate(model.layout.blocks):
            get = model.hf.get_submodule
            inside = own.mlp.module == own.path
            mlp = [get(p) for p in (own.mlp.up, own.mlp.down) if p] if inside else [get(own.mlp.module)]
            rows["o", layer] = _weights([get(own.attn.o)])
            rows["qkv", layer] = _weights([get(own.path)]) - _weights(mlp) - rows["o", layer]
            rows["mlp", layer] = sum(_used_weights(module, model.hf.config) for module in mlp)
        size = model.layout
        return cls(rows, 2 * size.n_heads * size.d_head, size.d_model, size.d_vocab)

    def run(self, batch: int, length: int, logits: int) -> int:
        """The multiply-adds of one run on a batch that computes so many logits of each prompt, over all its positions."""
        tokens, layers = batch * length, len(self.rows) // 3
        return tokens * (sum(self.rows.values()) + layers * length * self.score) + batch * logits * self.logit

    def forward(self, batch: int, length: int) -> int:
        """The multiply-adds of one plain forward on a batch, with all logits: what costs are measured in."""
        return self.run(batch, length, length * self.d_vocab)


def _weights(modules: Sequence[nn.Module]) -> int:
    """The entries of all weight matrices of some modules."""
    return sum(p.numel() for module in modules for p in module.parameters() if p.ndim > 1)


def _used_weights(mlp: nn.Module, config: Any) -> int:
    """The entries of an MLP's weight matrices; of those of its experts the share that a token is sent to."""
    matrices = {name: p.numel() for name, p in mlp.named_parameters() if p.ndim > 1}
    experts = sum(n for name, n in matrices.items() if "experts" in name.split(".")[:-1])
    return sum(matrices.values()) - experts + int(experts * _share_of_experts(config))


def _share_of_experts(config: Any) -> float:
    """The share of its experts that a token is sent to; 1 without experts."""
    used, there = getattr(config, "num_experts_per_tok", None), None
    for name in ("num_local_experts", "num_experts", "n_routed_experts"):
        there = there or getattr(config, name, None)
    return used / there if used and there else 1.0
