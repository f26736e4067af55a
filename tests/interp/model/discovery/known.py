"""What is known of a model that was written by hand: the facts that a layout must state, typed by whoever wrote the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tests.interp.model.tiny import randomise

Pair = tuple[str, str]


@dataclass(frozen=True)
class Known:
    """Facts of a model whose blocks are alike; pairs are of attention and MLP. Paths inside a block are told from there.

    `caller`: the module that calls the attention function. `attends`, `feed`: what reads that which the norms make. `norms`: in
    front of each. `after`: around each sum; its output is the stream from there on. `adds`: the modules whose output, times
    `scale` or the parameters `gains` of the block, is added. `branch`: the module whose output, or half of it, a gate multiplies.
    `ambiguous`: the activation may be stated in more than one way, all of them true. `missing`: kinds of sites that there are
    not. `relp`: whether relp-ah conserves (True) or must be refused by name (False).
    """

    model: type
    blocks: tuple[str, ...] = ("layers.0", "layers.1")
    caller: str = "attn"
    o: str = "attn.o"
    up: str | None = "mlp.up"
    down: str = "mlp.down"
    act: str | None = "mlp.act"
    attends: str = "attn"
    feed: str = "mlp"
    branch: str | None = None
    norms: tuple[str | None, str | None] = ("n1", "n2")
    after: tuple[str | None, str | None] = (None, None)
    adds: Pair = ("attn.o", "mlp.down")
    place: Pair = ("pre", "pre")
    parallel: bool = False
    scale: float = 1.0
    gains: Pair | None = None
    heads: int = 4
    kv_heads: int = 4
    fan: int = 8
    final: str | None = "norm"
    head: str = "head"
    missing: frozenset[str] = frozenset()
    relp: bool | None = True
    ambiguous: bool = False
    initial: bool = False
    sizes: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> Any:
        """The model: random weights, or those of its initialisation (norms do nothing but norm, biases are 0)."""
        return self.make_as(self.model)

    def make_as(self, cls: Any) -> Any:
        """A model of another class, as this one is made."""
        torch.manual_seed(0)
        model = cls(cls.config_class(attn_implementation="eager", **self.sizes))
        if not self.initial:
            randomise(model)
        return model.eval()

    def factor(self, block: nn.Module, part: int) -> Tensor | float:
        """What the output of `adds[part]` is multiplied by before it is added."""
        return self.scale if self.gains is None else block.get_parameter(self.gains[part]).detach()
