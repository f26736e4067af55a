"""Models that are a function of the embeddings, written by hand, for values that can be worked out; and pairs for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.task import Task


@dataclass
class Ran(Mapping[str, Tensor]):
    """What a run returns, as far as token attribution reads it."""

    logits: Tensor
    x: Tensor

    def __getitem__(self, site: str) -> Tensor:
        return self.x

    def __iter__(self) -> Any:
        return iter(("embed",))

    def __len__(self) -> int:
        return 1


class ByHand:
    """A model whose logit of token 0 is `function(x)` of the embeddings x [batch pos d_model], and those of all others are 0."""

    name = "by hand"
    tokenizer = None
    outputs = 12
    reads_whole = False
    device = torch.device("cpu")
    own = SimpleNamespace(name="", layer_inputs=())
    layout = SimpleNamespace(d_vocab=12, stacks=(own,), stack=lambda name: ByHand.own)
    hf = None

    def __init__(self, function: Callable[[Tensor], Tensor], table: Tensor) -> None:
        self.function, self.table = function, table
        self.examples = 0

    def check_gradients(self) -> None:
        pass

    def output_text(self, i: int) -> str:
        return str(i)

    def run(self, ids: Tensor, reads: Any = (), edits: Any = (), **options: Any) -> Ran:
        x = self.table[ids]
        for edit in edits:
            x = edit.apply(x)
        self.examples += len(x)
        logit = self.function(x)
        return Ran(torch.nn.functional.pad(logit[:, None, None], (0, 11)), x)


def table(n: int = 12, d: int = 3, seed: int = 0) -> Tensor:
    """Embeddings of n tokens [token d_model]."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def task_of(*pairs: tuple[Sequence[int], Sequence[int]]) -> Task:
    """Pairs of clean and corrupt ids whose answer is token 0."""
    made = (Pair("", "", (), (), ids=TokenPair(tuple(a), tuple(b), (0,), (1,))) for a, b in pairs)
    return Task("by hand", tuple(made))


def linear(w: Tensor) -> Callable[[Tensor], Tensor]:
    """sum of w x, w [pos d_model] or [d_model]; prompts may be shorter than w."""
    return lambda x: (x * (w[: x.shape[1]] if w.ndim == 2 else w)).flatten(1).sum(-1)
