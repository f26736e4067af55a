"""Decoders that give each block something of the tokens beside the stream: Gemma 4, one by hand, and near misses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import Gemma4ForCausalLM, Gemma4TextConfig

from tests.interp.model.discovery.written import Block, Config, Decoder
from tests.interp.model.tiny import VOCAB, randomise

#: Numbers for each position that a block is given, in the models of this file.
WIDTH: Final = 8


def gemma4(**changes: Any) -> Any:
    """A tiny Gemma 4 with an input of each layer."""
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "vocab_size": VOCAB, "vocab_size_per_layer_input": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "global_head_dim": 8, "hidden_size_per_layer_input": WIDTH,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"], "sliding_window": 4, "pad_token_id": 0,
        "max_position_embeddings": 64, "attn_implementation": "eager",
    }  # fmt: skip
    model = Gemma4ForCausalLM(Gemma4TextConfig(**{**given, **changes}))
    randomise(model)
    for i, layer in enumerate(model.model.layers):
        layer.layer_scalar.fill_(0.6 + 0.3 * i)
    return model.eval()


def given_by_gemma4(model: Any, ids: Tensor, layer: int) -> Tensor:
    """What a layer is given by its own functions [batch pos WIDTH]."""
    text = model.model
    found: Tensor = text.project_per_layer_inputs(text.embed_tokens(ids), text.get_per_layer_inputs(ids))[:, :, layer]
    return found


class Told(nn.Module):
    """down(act(gate x) * given), in a module of its own, wider than the MLP."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.gate, self.act, self.down = nn.Linear(c.wide, c.inner + 8), nn.SiLU(), nn.Linear(c.inner + 8, c.wide)

    def forward(self, x: Tensor, *, told: Tensor) -> Tensor:
        out: Tensor = self.down(self.act(self.gate(x)) * told)
        return out


class ToldBlock(Block):
    """A third part behind a norm of its own, gated by a table of its own, which the model reads."""

    told: Callable[[Any], nn.Module] = Told

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.n3, self.also = nn.LayerNorm(c.wide), type(self).told(c)
        self.table = nn.Embedding(c.words, c.inner + 8)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, extra: Tensor) -> Any:
        x = x + self.attn(self.n1(x), mask)
        x = x + self.mlp(self.n2(x))
        return x + 0.5 * self.also(self.n3(x), told=extra)


class ToldDecoder(Decoder):
    """Each block is given a row of its table for each token."""

    block = ToldBlock

    def extra(self, layer: Any, ids: Tensor, x: Tensor) -> Tensor:
        out: Tensor = layer.table(ids)
        return out

    def embedded(self, ids: Tensor) -> Tensor:
        self.ids = ids
        return super().embedded(ids)

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask, extra=self.extra(layer, self.ids, x))
        return x


class Added(Told):
    """What is given is added, and no gate."""

    def forward(self, x: Tensor, *, told: Tensor) -> Tensor:
        out: Tensor = self.down(self.act(self.gate(x)) + told)
        return out


class AddedBlock(ToldBlock):
    told = Added


class AddedDecoder(ToldDecoder):
    block = AddedBlock


class OfStream(ToldDecoder):
    """What is given is made of the stream too."""

    def extra(self, layer: Any, ids: Tensor, x: Tensor) -> Tensor:
        return super().extra(layer, ids, x) * x.mean(-1, keepdim=True)


def by_hand(kind: type[Decoder] = ToldDecoder) -> Any:
    """A decoder of two such blocks, with random weights."""
    torch.manual_seed(0)
    model = kind(Config(attn_implementation="eager"))
    randomise(model)
    return model.eval()


MODELS: Final[dict[str, Callable[[], Any]]] = {"Gemma 4": gemma4, "by hand": by_hand}
NEAR: Final[dict[str, type[Decoder]]] = {"added, and no gate": AddedDecoder, "made of the stream": OfStream}
