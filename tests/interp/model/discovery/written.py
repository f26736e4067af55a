"""Parts of decoders that are written by hand and in no library: what the models of tomorrow.py and refused.py are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.interp.model.tiny import VOCAB


class Config(PreTrainedConfig):  # type: ignore[misc]
    """Sizes under names that no library has, so that only values tell them."""

    model_type = "tomorrow"
    words: int = VOCAB
    wide: int = 32
    deep: int = 2
    fans: int = 4
    kv_fans: int = 4
    fan: int = 8
    inner: int = 48


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """softmax(q . k * scaling + mask) v, causal without a mask too: z [batch pos head fan] and the pattern."""
    group, n = query.shape[1] // key.shape[1], query.shape[2]
    key, value = (x.repeat_interleave(group, dim=1) for x in (key, value))
    later = torch.full((n, n), torch.finfo(query.dtype).min, dtype=query.dtype, device=query.device).triu(1)
    mask = later if attention_mask is None else attention_mask
    pattern = torch.softmax(query @ key.mT * scaling + mask, dim=-1)
    return (pattern @ value).transpose(1, 2), pattern


def attend(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The attention function of the configuration: [batch head pos fan] -> z [batch pos head*fan]."""
    function = ALL_ATTENTION_FUNCTIONS.get_interface(module.config._attn_implementation, eager_attention_forward)
    z: Tensor = function(module, q, k, v, mask, scaling=q.shape[-1] ** -0.5)[0]
    return z.flatten(2)


def apart(x: Tensor, fan: int) -> Tensor:
    """[batch pos head*fan] -> [batch head pos fan]"""
    return x.unflatten(-1, (-1, fan)).transpose(1, 2)


# ---------------------------------------------------------------- attention


class Attention(nn.Module):
    def __init__(self, c: Any, bias: bool = True) -> None:
        super().__init__()
        self.config = c
        self.q = nn.Linear(c.wide, c.fans * c.fan, bias=bias)
        self.k, self.v = (nn.Linear(c.wide, c.kv_fans * c.fan, bias=bias) for _ in "kv")
        self.o = nn.Linear(c.fans * c.fan, c.wide, bias=bias)

    def qkv(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(apart(matrix(x), self.config.fan) for matrix in (self.q, self.k, self.v))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        out: Tensor = self.o(attend(self, *self.qkv(x), mask))
        return out


class FusedAttention(nn.Module):
    """q, k and v side by side from one matrix."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.config = c
        self.qkv, self.merge = nn.Linear(c.wide, 3 * c.fans * c.fan), nn.Linear(c.fans * c.fan, c.wide)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (apart(part, self.config.fan) for part in self.qkv(x).chunk(3, dim=-1))
        out: Tensor = self.merge(attend(self, q, k, v, mask))
        return out


class Core(nn.Module):
    """What calls the attention function and knows nothing but q, k and v."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.config = c

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return attend(self, q, k, v, mask)


class AttentionAroundCore(Attention):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.core = Core(c)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        out: Tensor = self.o(self.core(*self.qkv(x), mask))
        return out


class GatedAttention(Attention):
    """z times a gate that is computed behind the attention function, before the output projection."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.gate = nn.Linear(c.wide, c.fans * c.fan)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        z = attend(self, *self.qkv(x), mask)
        out: Tensor = self.o(z * torch.sigmoid(self.gate(x)))
        return out


class NormedAttention(Attention):
    """A norm between z and the output projection; q and k have norms too."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.inner_norm = nn.LayerNorm(c.fans * c.fan)
        self.q_norm, self.k_norm = nn.RMSNorm(c.fan), nn.RMSNorm(c.fan)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x)
        out: Tensor = self.o(self.inner_norm(attend(self, self.q_norm(q), self.k_norm(k), v, mask)))
        return out


# ---------------------------------------------------------------- MLPs


class Mlp(nn.Module):
    def __init__(self, c: Any, act: Callable[[], nn.Module] = nn.GELU, bias: bool = True) -> None:
        super().__init__()
        self.up, self.act = nn.Linear(c.wide, c.inner, bias=bias), act()
        self.down = nn.Linear(c.inner, c.wide, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.act(self.up(x)))
        return out


class FusedMlp(nn.Module):
    """Gate first, then the other branch, from one matrix."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.both, self.act, self.down = nn.Linear(c.wide, 2 * c.inner), nn.SiLU(), nn.Linear(c.inner, c.wide)

    def forward(self, x: Tensor) -> Tensor:
        gate, branch = self.both(x).chunk(2, dim=-1)
        out: Tensor = self.down(self.act(gate) * branch)
        return out


class ReversedMlp(FusedMlp):
    """The branch first, then the gate."""

    def forward(self, x: Tensor) -> Tensor:
        branch, gate = self.both(x).chunk(2, dim=-1)
        out: Tensor = self.down(branch * self.act(gate))
        return out


class GatedMlp(nn.Module):
    """left(x) * act(right(x)); `left` is called first."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.left, self.right = (nn.Linear(c.wide, c.inner) for _ in "lr")
        self.act, self.down = nn.SiLU(), nn.Linear(c.inner, c.wide)

    def forward(self, x: Tensor) -> Tensor:
        left = self.left(x)
        out: Tensor = self.down(left * self.act(self.right(x)))
        return out


class FunctionMlp(nn.Module):
    """The activation is a function."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(c.wide, c.inner), nn.Linear(c.inner, c.wide)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(F.gelu(self.up(x)))
        return out


class SquaredMlp(Mlp):
    """What the activation module gives is squared by a function."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.act(self.up(x)).square())
        return out


class SquaredReluMlp(SquaredMlp):
    """relu(u)^2, which is relu(u) u too: the activation squared, or times what it reads."""

    def __init__(self, c: Any) -> None:
        super().__init__(c, nn.ReLU)


# ---------------------------------------------------------------- blocks and models


class Block(nn.Module):
    """x + attn(n1(x)), then + mlp(n2(.))."""

    attention: ClassVar[Callable[..., nn.Module]] = Attention
    feed: ClassVar[Callable[..., nn.Module]] = Mlp

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(c.wide), nn.LayerNorm(c.wide)
        self.attn, self.mlp = type(self).attention(c), type(self).feed(c)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x), mask)
        return x + self.mlp(self.n2(x))


class Decoder(PreTrainedModel):  # type: ignore[misc]
    """head(norm(blocks(words + places))). `block`: what a block is made by."""

    config_class = Config
    _supports_sdpa = True
    _supports_attention_backend = True
    block: ClassVar[Callable[..., nn.Module]] = Block

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.words, self.places = nn.Embedding(config.words, config.wide), nn.Embedding(64, config.wide)
        self.make(config, [type(self).block(config) for _ in range(config.deep)])
        self.norm, self.head = nn.LayerNorm(config.wide), nn.Linear(config.wide, config.words, bias=False)
        self.post_init()

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        self.layers = nn.ModuleList(blocks)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.words

    def embedded(self, ids: Tensor) -> Tensor:
        out: Tensor = self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        return out

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return x

    def read(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.norm(x))
        return out

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, use_cache: bool = False
    ) -> Any:
        assert input_ids is not None
        x = self.embedded(input_ids)
        mask = create_causal_mask(
            config=self.config, inputs_embeds=x, attention_mask=attention_mask, past_key_values=None
        )
        return CausalLMOutput(logits=self.read(self.through(x, mask)))
