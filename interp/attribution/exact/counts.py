"""What a replay computed: rows (one position of one patched run) through each part of each layer, what heads write, and the
multiply-adds of all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from interp.ledger import spend
from interp.model.multiply_adds import Prices

PARTS: Final = ("qkv", "attention", "o", "mlp")


@dataclass
class Counts:
    """`rows`: (part, layer) -> rows computed; `scores`: query-key pairs; `unembedded`: rows x tokens of the unembedding;
    `written`: multiply-adds of what heads alone write, z times their part of the output projection."""

    rows: Counter[tuple[str, int]] = field(default_factory=Counter)
    scores: int = 0
    unembedded: int = 0
    written: int = 0

    def add(self, part: str, layer: int, rows: int, keys: int = 0) -> None:
        """Count rows through a part of a layer; of attention, each over so many keys."""
        self.rows[part, layer] += rows
        self.scores += rows * keys

    def multiply_adds(self, prices: Prices) -> int:
        """Those of what was counted."""
        weights = sum(n * prices.rows[key] for key, n in self.rows.items() if key[0] != "attention")
        return weights + self.scores * prices.score + self.unembedded * prices.logit + self.written

    def spent(self, prices: Prices) -> int:
        """The same, told to whoever counts; from then on it counts from zero again."""
        found = self.multiply_adds(prices)
        spend(found)
        self.clear()
        return found

    def clear(self) -> None:
        """Count from zero again."""
        self.rows.clear()
        self.scores = self.unembedded = self.written = 0
