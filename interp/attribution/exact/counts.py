"""What a replay computed: rows (one position of one patched run) through each part of each layer, and the multiply-adds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from torch import nn

PARTS: Final = ("qkv", "attention", "o", "mlp")


@dataclass
class Counts:
    """`rows`: (part, layer) -> rows computed; `scores`: query-key pairs; `unembedded`: rows x tokens of the unembedding."""

    rows: Counter[tuple[str, int]] = field(default_factory=Counter)
    scores: int = 0
    unembedded: int = 0

    def add(self, part: str, layer: int, rows: int, keys: int = 0) -> None:
        """Count rows through a part of a layer; of attention, each over so many keys."""
        self.rows[part, layer] += rows
        self.scores += rows * keys

    def clear(self) -> None:
        """Count from zero again."""
        self.rows.clear()
        self.scores = self.unembedded = 0


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
            o = _weights([get(own.paths.o)])
            rows["o", layer] = o
            rows["qkv", layer] = _weights([get(own.paths.attn)]) - o
            inside = own.paths.mlp == own.paths.block
            mlp = [get(p) for p in (own.paths.mlp_up, own.paths.mlp_down) if p] if inside else [get(own.paths.mlp)]
            rows["mlp", layer] = sum(_used_weights(module, model.hf.config) for module in mlp)
        size = model.layout
        return cls(rows, 2 * size.n_heads * size.d_head, size.d_model, size.d_vocab)

    def spent(self, counts: Counts) -> int:
        """The multiply-adds of what was counted."""
        weights = sum(n * self.rows[key] for key, n in counts.rows.items() if key[0] != "attention")
        return weights + counts.scores * self.score + counts.unembedded * self.logit

    def forward(self, batch: int, length: int) -> int:
        """The multiply-adds of one plain forward on a batch, with all logits: what costs are measured in."""
        tokens, layers = batch * length, len(self.rows) // 3
        return tokens * (sum(self.rows.values()) + layers * length * self.score + self.d_vocab * self.logit)


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
