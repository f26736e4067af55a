"""Encoders that are written by hand and in no library, with names that no library has."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import CausalLMOutput, SequenceClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


class Config(PreTrainedConfig):  # type: ignore[misc]
    """Sizes under names of its own."""

    model_type = "whole-texts"
    words: int = 64
    wide: int = 32
    deep: int = 2
    fans: int = 4
    inner: int = 48
    kinds: int = 3


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """softmax(q . k * scaling + mask) v: z [batch pos head fan] and the pattern."""
    scores = query @ key.mT * scaling
    pattern = torch.softmax(scores if attention_mask is None else scores + attention_mask, dim=-1)
    return (pattern @ value).transpose(1, 2), pattern


class Looking(nn.Module):
    """q, k and v side by side from one matrix."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.config, self.fan, self.is_causal = c, c.wide // c.fans, False
        self.all, self.merge = nn.Linear(c.wide, 3 * c.wide), nn.Linear(c.wide, c.wide)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (y.unflatten(-1, (-1, self.fan)).transpose(1, 2) for y in self.all(x).chunk(3, dim=-1))
        function = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        z: Tensor = function(self, q, k, v, mask, scaling=self.fan**-0.5)[0]
        out: Tensor = self.merge(z.flatten(2))
        return out


class Piece(nn.Module):
    """One block. `around`: N(x + f(x)) twice; else x + f(N(x)) twice."""

    def __init__(self, c: Config, around: bool) -> None:
        super().__init__()
        self.around, self.look = around, Looking(c)
        self.wider, self.bend, self.narrower = nn.Linear(c.wide, c.inner), nn.GELU(), nn.Linear(c.inner, c.wide)
        self.one, self.two = nn.LayerNorm(c.wide), nn.LayerNorm(c.wide)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.around:
            x = self.one(x + self.look(x, mask))
            out: Tensor = self.two(x + self.narrower(self.bend(self.wider(x))))
            return out
        x = x + self.look(self.one(x), mask)
        return x + self.narrower(self.bend(self.wider(self.two(x))))


class _Encoder(PreTrainedModel):  # type: ignore[misc]
    config_class = Config
    _supports_sdpa = True
    _supports_attention_backend = True
    around: ClassVar[bool]

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.words, self.places = nn.Embedding(config.words, config.wide), nn.Embedding(64, config.wide)
        self.pieces = nn.ModuleList(Piece(config, self.around) for _ in range(config.deep))
        self.make_head(config)
        self.post_init()

    def make_head(self, config: Config) -> None:
        self.head = nn.Linear(config.wide, config.words)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.words

    def through(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        shown = create_bidirectional_mask(config=self.config, inputs_embeds=x, attention_mask=mask)
        for piece in self.pieces:
            x = piece(x, shown)
        return x


class Around(_Encoder):
    """A word at every position, linear in the last stream: norms act on the sums."""

    around = True

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return CausalLMOutput(logits=self.head(self.through(input_ids, attention_mask)))


class Before(_Encoder):
    """A word at every position, linear in the last stream behind a final norm: norms stand in front, as in a decoder."""

    around = False

    def make_head(self, config: Config) -> None:
        self.last, self.head = nn.LayerNorm(config.wide), nn.Linear(config.wide, config.words)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return CausalLMOutput(logits=self.head(self.last(self.through(input_ids, attention_mask))))


class Pooled(_Encoder):
    """A class of the whole text, from the mean of its stream over the real tokens."""

    around = False

    def make_head(self, config: Config) -> None:
        self.head = nn.Linear(config.wide, config.kinds)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        x = self.through(input_ids, attention_mask)
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        mean = (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return SequenceClassifierOutput(logits=self.head(mean))


class InFront(Pooled):
    """A vector of its own stands in front of the words, so the stream is one longer than the prompt; the class is read there."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.first = nn.Parameter(torch.zeros(config.wide))

    def through(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        x = torch.cat([self.first.expand(len(x), 1, -1), x], dim=1)
        for piece in self.pieces:
            x = piece(x, None)
        return x

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return SequenceClassifierOutput(logits=self.head(self.through(input_ids, None)[:, 0]))
