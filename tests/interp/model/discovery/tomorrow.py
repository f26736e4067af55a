"""Models of tomorrow: decoders in no library, whose equations are of the forms that a layout can state; each with its facts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutput

from tests.interp.model.discovery import by_hand
from tests.interp.model.discovery.known import Known
from tests.interp.model.discovery.written import (
    Attention,
    AttentionAroundCore,
    Block,
    Config,
    Decoder,
    FunctionMlp,
    FusedAttention,
    FusedMlp,
    GatedAttention,
    GatedMlp,
    Mlp,
    NormedAttention,
    ReversedMlp,
    SquaredMlp,
    SquaredReluMlp,
    apart,
    attend,
    eager_attention_forward,
)

__all__ = ["KNOWN", "eager_attention_forward"]

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


class Minimal(Decoder):
    """Takes token ids and nothing else."""

    def forward(self, input_ids: Tensor) -> Any:  # type: ignore[override]
        return SimpleNamespace(logits=self.read(self.through(self.embedded(input_ids), None)))


# ---------------------------------------------------------------- where the norms are


class _Shared(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        n = self.n1(x)
        return x + self.attn(n, mask) + self.mlp(n)


class Shared(Decoder):
    block = _Shared


class _TwoNorms(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return x + self.attn(self.n1(x), mask) + self.mlp(self.n2(x))


class TwoNorms(Decoder):
    block = _TwoNorms


class _MlpCalledFirst(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        fed = self.mlp(self.n2(x))
        return x + fed + self.attn(self.n1(x), mask)


class MlpCalledFirst(Decoder):
    block = _MlpCalledFirst


class _MlpFirst(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.mlp(self.n2(x))
        return x + self.attn(self.n1(x), mask)


class MlpFirst(Decoder):
    """One after the other, the MLP before attention."""

    block = _MlpFirst


class _After(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.n1(self.attn(x, mask))
        return x + self.n2(self.mlp(x))


class After(Decoder):
    """Norms behind attention and MLP alone."""

    block = _After


class _Sandwich(Block):
    attention = NormedAttention

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.n3, self.n4 = nn.RMSNorm(c.wide), nn.RMSNorm(c.wide)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.n3(self.attn(self.n1(x), mask))
        return x + self.n4(self.mlp(self.n2(x)))


class Sandwich(Decoder):
    """Norms before and behind; norms of q and k, and between z and the output projection."""

    block = _Sandwich


class _Around(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = self.n1(x + self.attn(x, mask))
        return self.n2(x + self.mlp(x))


class Around(Decoder):
    """Norms around the sums, none at the end."""

    block = _Around

    def read(self, x: Tensor) -> Tensor:
        return self.head(x)  # type: ignore[no-any-return]


class _FunctionNorm(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(F.layer_norm(x, x.shape[-1:], self.n1.weight, self.n1.bias), mask)
        return x + self.mlp(F.layer_norm(x, x.shape[-1:], self.n2.weight, self.n2.bias))


class FunctionNorm(Decoder):
    """Norms that are no modules when they are called."""

    block = _FunctionNorm


class _NoNorm(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(x, mask)
        return x + self.mlp(x)


class NoNorm(Decoder):
    block = _NoNorm


class Mixed(Decoder):
    """The first block has norms in front, the second in front and behind."""

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        self.layers = nn.ModuleList([Block(config), _Sandwich(config)])


# ---------------------------------------------------------------- what is added


class Gain(nn.Module):
    """LayerScale: a number for each component."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.linspace(0.2, 1.5, wide))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


class _Gains(Block):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.g1, self.g2 = Gain(c.wide), Gain(c.wide)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.g1(self.attn(self.n1(x), mask))
        return x + self.g2(self.mlp(self.n2(x)))


class Gains(Decoder):
    block = _Gains


class _BareGains(Block):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.g1, self.g2 = (nn.Parameter(torch.linspace(a, 1.5, c.wide)) for a in (0.2, -1.0))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.g1 * self.attn(self.n1(x), mask)
        return x + self.mlp(self.n2(x)) * self.g2


class BareGains(Decoder):
    """The same by parameters of the block itself."""

    block = _BareGains


class _Part(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = torch.add(x, self.attn(self.n1(x), mask), alpha=0.3)
        return x + 0.3 * self.mlp(self.n2(x))


class Part(Decoder):
    """0.3 of what is made is added; no configuration says so."""

    block = _Part


class _Dropped(Block):
    """Dropout wherever it may be, and no bias."""

    attention = staticmethod(lambda c: Attention(c, bias=False))
    feed = staticmethod(lambda c: Mlp(c, bias=False))

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.d1, self.d2, self.d3, self.d4 = (nn.Dropout(0.5) for _ in range(4))
        self.mlp.act = nn.Sequential(nn.GELU(), nn.Dropout(0.5))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.d2(self.attn(self.d1(self.n1(x)), mask))
        return x + self.d4(self.mlp(self.d3(self.n2(x))))


class Dropped(Decoder):
    block = _Dropped


# ---------------------------------------------------------------- attention and MLP


class _Flat(nn.Module):
    """A block without attention or MLP of its own: it calls the attention function itself, whose eager form is looked for here."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.config = c
        self.n1, self.n2, self.act = nn.LayerNorm(c.wide), nn.LayerNorm(c.wide), nn.GELU()
        self.q, self.k, self.v, self.o = (nn.Linear(c.wide, c.wide) for _ in "qkvo")
        self.up, self.down = nn.Linear(c.wide, c.inner), nn.Linear(c.inner, c.wide)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        n = self.n1(x)
        q, k, v = (apart(matrix(n), self.config.fan) for matrix in (self.q, self.k, self.v))
        x = x + self.o(attend(self, q, k, v, mask))
        return x + self.down(self.act(self.up(self.n2(x))))  # type: ignore[no-any-return]


class Flat(Decoder):
    block = _Flat


class _Cored(Block):
    attention = AttentionAroundCore


class Cored(Decoder):
    block = _Cored


class _Gated(Block):
    attention, feed = GatedAttention, GatedMlp


class Gated(Decoder):
    """Gates on z and in the MLP."""

    block = _Gated


class _Fused(Block):
    attention, feed = FusedAttention, FusedMlp


class Fused(Decoder):
    block = _Fused


class _Reversed(Block):
    feed = ReversedMlp


class Reversed(Decoder):
    block = _Reversed


class _ByFunction(Block):
    feed = FunctionMlp


class ByFunction(Decoder):
    block = _ByFunction


class _Squared(Block):
    feed = SquaredMlp


class Squared(Decoder):
    block = _Squared


class _SquaredRelu(Block):
    feed = SquaredReluMlp


class SquaredRelu(Decoder):
    block = _SquaredRelu


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


_PARALLEL: Final = frozenset({"resid_mid"})
_ONE_NORM: Final = frozenset({"resid_mid", "attn_in", "mlp_in"})
_NO_FUNCTION: Final = frozenset({"q", "k", "v", "pattern"})

#: Each form with its facts. `Decoder` itself is the plain one.
KNOWN: Final[dict[str, Known]] = {
    "plain": Known(Decoder),
    "one block": Known(Decoder, blocks=("layers.0",), sizes={"deep": 1}),
    "nn.Sequential": Known(InSequence, blocks=("tower.0", "tower.1")),
    "nn.ModuleDict": Known(InDict, blocks=("floors.lower", "floors.upper")),
    "attributes": Known(AsAttributes, blocks=("lower", "upper")),
    "wrappers": Known(
        Wrapped, caller="inner.attn", attends="inner.attn", feed="inner.mlp", o="inner.attn.o", up="inner.mlp.up", down="inner.mlp.down", act="inner.mlp.act",
        norms=("inner.n1", "inner.n2"), adds=("inner.attn.o", "inner.mlp.down"),
    ),
    "keywords and tuples": Known(ByKeywords),
    "ids alone": Known(Minimal),
    "parallel, one norm": Known(Shared, norms=("n1", "n1"), parallel=True, missing=_ONE_NORM),
    "parallel, two norms": Known(TwoNorms, parallel=True, missing=_PARALLEL),
    "parallel, MLP called first": Known(MlpCalledFirst, parallel=True, missing=_PARALLEL),
    "MLP first": Known(MlpFirst, mlp_first=True),
    "norms behind": Known(After, norms=(None, None), adds=("n1", "n2"), place=("after", "after")),
    "norms before and behind": Known(Sandwich, adds=("n3", "n4"), place=("after", "after")),
    "norms around": Known(
        Around, norms=(None, None), after=("n1", "n2"), place=("around", "around"), final=None
    ),
    "norms by function": Known(FunctionNorm, norms=(None, None), relp=False, missing=frozenset({"attn_in", "mlp_in"})),
    "no norms": Known(NoNorm, norms=(None, None)),
    "initial": Known(Decoder, initial=True),
    "initial, norms around": Known(
        Around, norms=(None, None), after=("n1", "n2"), place=("around", "around"), final=None, initial=True
    ),
    "initial, norms behind": Known(After, norms=(None, None), adds=("n1", "n2"), place=("after", "after"), initial=True),
    "gains": Known(Gains, adds=("g1", "g2"), place=("scaled", "scaled"), relp=None),
    "bare gains": Known(BareGains, gains=("g1", "g2"), place=("scaled", "scaled")),
    "a part is added": Known(Part, scale=0.3),
    "dropout everywhere": Known(Dropped, act="mlp.act.0"),
    "flat": Known(Flat, caller="", attends="q", feed="up", o="o", up="up", down="down", act="act", adds=("o", "down")),
    "attention in a core": Known(Cored, caller="attn.core"),
    "gated z": Known(Gated, up=None, branch="mlp.left", relp=False),
    "fused": Known(Fused, o="attn.merge", up=None, branch="mlp.both", adds=("attn.merge", "mlp.down")),
    "fused, branch first": Known(Reversed, up=None, branch="mlp.both"),
    "activation by function": Known(ByFunction, act=None, relp=False, missing=frozenset({"mlp_pre"})),
    "activation squared": Known(Squared, act=None, relp=False, missing=frozenset({"mlp_pre"})),
    "ReLU squared": Known(SquaredRelu, act=None, ambiguous=True, relp=None),
    "no final norm": Known(Bare, final=None),
    "projected embedding": Known(Projected),
    "heads beside": Known(Judged),
    "shared keys": Known(Grouped, kv_heads=2, fan=12),
    "attention by softmax": Known(by_hand.BySoftmax, missing=_NO_FUNCTION, relp=False),
    "attention by torch": Known(by_hand.ByTorch, missing=_NO_FUNCTION, relp=False),
}  # fmt: skip
