"""Parts of encoder-decoders and of two towers that are written by hand and in no library, with names that no library has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.interp.model.encoders.own_encoders import eager_attention_forward


class Config(PreTrainedConfig):  # type: ignore[misc]
    """Sizes under names of its own; encoder and decoder differ in all that may differ."""

    model_type = "two-streams"
    words: int = 64
    wide: int = 32
    fans: int = 4
    inner: int = 48
    deep: int = 2
    deep_below: int = 3

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"is_encoder_decoder": True, "decoder_start_token_id": 1, "pad_token_id": 0, **kwargs})


def mask_of(x: Tensor, shown: Tensor | None, causal: bool) -> Tensor:
    """[batch 1 pos pos] to be added to scores."""
    n = x.shape[1]
    seen = torch.ones(len(x), n, dtype=torch.bool) if shown is None else shown.bool()
    both = seen[:, None, None, :] & (torch.ones(n, n, dtype=torch.bool).tril() if causal else torch.ones(n, n).bool())
    return torch.zeros(both.shape).masked_fill(~both, torch.finfo(torch.float32).min).to(x)


class Looking(nn.Module):
    """Attention of a stream to itself, or to `source`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.config, self.fan = c, c.wide // c.fans
        self.ask, self.key, self.value, self.merge = (nn.Linear(c.wide, c.wide) for _ in range(4))

    def forward(self, x: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (
            matrix(of).unflatten(-1, (-1, self.fan)).transpose(1, 2)
            for matrix, of in ((self.ask, x), (self.key, source), (self.value, source))
        )
        function = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        out: Tensor = self.merge(function(self, q, k, v, mask, scaling=self.fan**-0.5)[0].flatten(2))
        return out


class Feed(nn.Module):
    def __init__(self, c: Any) -> None:
        super().__init__()
        self.wider, self.bend, self.narrower = nn.Linear(c.wide, c.inner), nn.GELU(), nn.Linear(c.inner, c.wide)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.narrower(self.bend(self.wider(x)))
        return out


class Above(nn.Module):
    """A block of the encoder: x + f(N(x)) twice."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.look, self.feed = Looking(c), Feed(c)
        self.one, self.two = nn.LayerNorm(c.wide), nn.LayerNorm(c.wide)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.one(x)
        x = x + self.look(y, y, mask)
        return x + self.feed(self.two(x))


class Below(nn.Module):
    """A block of the decoder: attention, attention across, MLP, each behind a norm."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.look, self.across, self.feed = Looking(c), Looking(c), Feed(c)
        self.one, self.two, self.three = (nn.LayerNorm(c.wide) for _ in range(3))

    def own(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.one(x)
        return x + self.look(y, y, mask)

    def forward(self, x: Tensor, mask: Tensor | None, source: Tensor, hidden: Tensor | None) -> Tensor:
        x = self.own(x, mask)
        x = x + self.across(self.two(x), source, hidden)
        return x + self.feed(self.three(x))


class Upper(nn.Module):
    """The encoder, which may be called alone."""

    def __init__(self, c: Any, words: nn.Embedding, block: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.words, self.places = words, nn.Embedding(64, c.wide)
        self.floors, self.last = nn.ModuleList(block(c) for _ in range(c.deep)), nn.LayerNorm(c.wide)

    def forward(self, ids: Tensor, shown: Tensor | None) -> Any:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        for floor in self.floors:
            x = floor(x, mask_of(x, shown, False))
        return BaseModelOutput(last_hidden_state=self.last(x))


class Both(PreTrainedModel):  # type: ignore[misc]
    """head(norm(decoder blocks(words + places))), whose blocks attend to the encoder's normed stream."""

    config_class = Config
    _supports_sdpa = True
    _supports_attention_backend = True
    above: ClassVar[Callable[..., nn.Module]] = Above
    below: ClassVar[Callable[..., nn.Module]] = Below

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.words, self.places = nn.Embedding(config.words, config.wide), nn.Embedding(64, config.wide)
        self.upper = Upper(config, self.words, type(self).above)
        self.steps = nn.ModuleList(type(self).below(config) for _ in range(config.deep_below))
        self.last, self.head = nn.LayerNorm(config.wide), nn.Linear(config.wide, config.words, bias=False)
        self.make(config)
        self.post_init()

    def make(self, config: Any) -> None:
        """What else there is."""

    def get_input_embeddings(self) -> nn.Embedding:
        return self.words

    def get_encoder(self) -> nn.Module:
        return self.upper

    def source(self, x: Tensor) -> Tensor:
        """What is attended to, of what the encoder gives."""
        return x

    def enter(self, ids: Tensor, source: Tensor) -> Tensor:
        """What the decoder's first block reads."""
        out: Tensor = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        return out

    def read(self, x: Tensor, source: Tensor) -> Tensor:
        out: Tensor = self.head(self.last(x))
        return out

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
    ) -> Any:
        assert decoder_input_ids is not None
        encoder_outputs = encoder_outputs or self.upper(input_ids, attention_mask)
        source = self.source(encoder_outputs.last_hidden_state)
        x, hidden = self.enter(decoder_input_ids, source), None
        if attention_mask is not None:
            lowest = torch.finfo(source.dtype).min
            hidden = torch.zeros_like(source[:, :, 0]).masked_fill(attention_mask == 0, lowest)[:, None, None, :]
        for step in self.steps:
            x = step(x, mask_of(x, decoder_attention_mask, True), source, hidden)
        return Seq2SeqLMOutput(logits=self.read(x, source))
