"""Decoders that differ in where their blocks are, how these are called, and in what stands before and behind them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutput

from tests.interp.model.discovery.written import Block, Config, Decoder

# ---------------------------------------------------------------- where the blocks are


class InSequence(Decoder):
    """Blocks in an nn.Sequential that is called as one."""

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        self.tower = nn.Sequential(*blocks)

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.tower(x)  # type: ignore[no-any-return]


class InDict(Decoder):
    """Blocks by name, called in another order than they were made in."""

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        self.floors = nn.ModuleDict({"upper": blocks[1], "lower": blocks[0]})

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.floors["upper"](self.floors["lower"](x, mask), mask)  # type: ignore[no-any-return]


class AsAttributes(Decoder):
    """Blocks in no container."""

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        self.lower, self.upper = blocks

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.upper(self.lower(x, mask), mask)  # type: ignore[no-any-return]


class Wrapper(nn.Module):
    """Around a block, as libraries of memory and of devices put one."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


class Wrapped(Decoder):
    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        self.layers = nn.ModuleList(Wrapper(block) for block in blocks)


class _ByKeywords(Block):
    def forward(self, *, stream: Tensor, visible: Tensor | None = None) -> Any:  # type: ignore[override]
        stream = stream + self.attn(self.n1(stream), mask=visible)
        return stream + self.mlp(self.n2(stream)), visible


class ByKeywords(Decoder):
    """Blocks that are called by names of their own and return a tuple."""

    block = _ByKeywords

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layers:
            x, _ = layer(stream=x, visible=mask)
        return x


class Detached(Decoder):
    """A forward that records no gradients, whoever asks."""

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


class Minimal(Decoder):
    """Takes token ids and nothing else."""

    def forward(self, input_ids: Tensor) -> Any:  # type: ignore[override]
        return SimpleNamespace(logits=self.read(self.through(self.embedded(input_ids), None)))


class Embedded(nn.Module):
    """Tokens and positions as one module."""

    def __init__(self, words: nn.Embedding, places: nn.Embedding) -> None:
        super().__init__()
        self.words, self.places = words, places

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        return out


class AllInOne(Decoder):
    """The whole model, embedding to logits, is one nn.Sequential."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.net = nn.Sequential(Embedded(self.words, self.places), *self.layers, self.norm, self.head)
        del self.words, self.places, self.layers, self.norm, self.head

    def get_input_embeddings(self) -> nn.Embedding:
        return self.net[0].words  # type: ignore[no-any-return, union-attr, return-value]

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> Any:  # type: ignore[override]
        return CausalLMOutput(logits=self.net(input_ids))


class Anonymous(Decoder):
    """Does not tell which module embeds tokens, and transformers cannot guess it."""

    get_input_embeddings = PreTrainedModel.get_input_embeddings


# ---------------------------------------------------------------- the ends


class Bare(Decoder):
    """No final norm, tied embeddings, logits times 1/4."""

    _tied_weights_keys = {"head.weight": "words.weight"}

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.norm = nn.Identity()
        self.head.weight = self.words.weight

    def read(self, x: Tensor) -> Tensor:
        return self.head(x) / 4  # type: ignore[no-any-return]


class Projected(Decoder):
    """Embeddings of another width, with a norm and a projection before the blocks, and no positions."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.words = nn.Embedding(config.words, 12)
        self.enter, self.enter_norm = nn.Linear(12, config.wide), nn.LayerNorm(config.wide)

    def embedded(self, ids: Tensor) -> Tensor:
        return self.enter_norm(self.enter(self.words(ids)))  # type: ignore[no-any-return]


class Judged(Decoder):
    """A second head reads the same as the first, before and behind it."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.before, self.behind = nn.Linear(config.wide, 1), nn.Linear(config.wide, config.words)

    def forward(self, input_ids: Tensor | None = None, use_cache: bool = False, **_: Any) -> Any:
        assert input_ids is not None
        x = self.embedded(input_ids)
        mask = create_causal_mask(config=self.config, inputs_embeds=x, attention_mask=None, past_key_values=None)
        x = self.norm(self.through(x, mask))
        value, logits, other = self.before(x), self.head(x), self.behind(x)
        return CausalLMOutput(logits=logits, hidden_states=(value, other))


class Padded(Config):
    """Heads side by side are wider than the stream, and two of them share keys and values."""

    kv_fans: int = 2
    fan: int = 12


class Grouped(Decoder):
    config_class = Padded


class Capped(Decoder):
    """Logits under a soft cap that no configuration states."""

    def read(self, x: Tensor) -> Tensor:
        return 9 * torch.tanh(super().read(x) / 9)
