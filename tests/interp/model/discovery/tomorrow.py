"""Models of tomorrow: decoders in no library, whose equations are of the forms that a layout can state; each with its facts."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor, nn

from tests.interp.model.discovery import by_hand, stacks, steps
from tests.interp.model.discovery.known import Known
from tests.interp.model.discovery.written import (
    AttentionAroundCore,
    Block,
    Decoder,
    FunctionMlp,
    FusedAttention,
    FusedMlp,
    GatedAttention,
    GatedMlp,
    ReversedMlp,
    SquaredMlp,
    SquaredReluMlp,
    apart,
    attend,
    eager_attention_forward,
)

__all__ = ["KNOWN", "eager_attention_forward"]


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


_PARALLEL: Final = frozenset({"resid_mid"})
_ONE_NORM: Final = frozenset({"resid_mid", "attn_in", "mlp_in"})
_NO_FUNCTION: Final = frozenset({"q", "k", "v", "pattern"})

#: Each form with its facts. `Decoder` itself is the plain one.
KNOWN: Final[dict[str, Known]] = {
    "plain": Known(Decoder),
    "one block": Known(Decoder, blocks=("layers.0",), sizes={"deep": 1}),
    "nn.Sequential": Known(stacks.InSequence, blocks=("tower.0", "tower.1")),
    "nn.ModuleDict": Known(stacks.InDict, blocks=("floors.lower", "floors.upper")),
    "attributes": Known(stacks.AsAttributes, blocks=("lower", "upper")),
    "wrappers": Known(
        stacks.Wrapped, caller="inner.attn", attends="inner.attn", feed="inner.mlp", o="inner.attn.o", up="inner.mlp.up", down="inner.mlp.down", act="inner.mlp.act",
        norms=("inner.n1", "inner.n2"), adds=("inner.attn.o", "inner.mlp.down"),
    ),
    "keywords and tuples": Known(stacks.ByKeywords),
    "ids alone": Known(stacks.Minimal),
    "parallel, one norm": Known(steps.Shared, norms=("n1", "n1"), parallel=True, missing=_ONE_NORM),
    "parallel, two norms": Known(steps.TwoNorms, parallel=True, missing=_PARALLEL),
    "parallel, MLP called first": Known(steps.MlpCalledFirst, parallel=True, missing=_PARALLEL),
    "norms behind": Known(steps.After, norms=(None, None), adds=("n1", "n2"), place=("after", "after")),
    "norms before and behind": Known(steps.Sandwich, adds=("n3", "n4"), place=("after", "after")),
    "norms around": Known(
        steps.Around, norms=(None, None), after=("n1", "n2"), place=("around", "around"), final=None
    ),
    "norms by function": Known(steps.FunctionNorm, norms=(None, None), relp=False, missing=frozenset({"attn_in", "mlp_in", "mlp_normed", "resid_mid"})),
    "no norms": Known(steps.NoNorm, norms=(None, None)),
    "initial": Known(Decoder, initial=True),
    "initial, norms around": Known(
        steps.Around, norms=(None, None), after=("n1", "n2"), place=("around", "around"), final=None, initial=True
    ),
    "initial, norms behind": Known(steps.After, norms=(None, None), adds=("n1", "n2"), place=("after", "after"), initial=True),
    "gains": Known(steps.Gains, adds=("g1", "g2"), place=("scaled", "scaled"), relp=None),
    "bare gains": Known(steps.BareGains, gains=("g1", "g2"), place=("scaled", "scaled")),
    "a part is added": Known(steps.Part, scale=0.3),
    "dropout everywhere": Known(steps.Dropped, act="mlp.act.0"),
    "flat": Known(Flat, caller="", attends="q", feed="up", o="o", up="up", down="down", act="act", adds=("o", "down")),
    "attention in a core": Known(Cored, caller="attn.core"),
    "gated z": Known(Gated, up=None, branch="mlp.left", relp=False),
    "fused": Known(Fused, o="attn.merge", up=None, branch="mlp.both", adds=("attn.merge", "mlp.down")),
    "fused, branch first": Known(Reversed, up=None, branch="mlp.both"),
    "activation by function": Known(ByFunction, act=None, missing=frozenset({"mlp_pre"})),
    "activation squared": Known(Squared, act=None, missing=frozenset({"mlp_pre"})),
    "ReLU squared": Known(SquaredRelu, act=None, ambiguous=True, relp=None),
    "all in one nn.Sequential": Known(
        stacks.AllInOne, blocks=("net.1", "net.2"), final="net.3", head="net.4"
    ),
    "embedding without a name": Known(stacks.Anonymous),
    "soft cap by hand": Known(stacks.Capped, relp=None),
    "a norm around the MLP alone": Known(
        steps.AroundMlp, norms=("n1", None), after=(None, "n2"), place=("pre", "around")
    ),
    "a norm around attention alone": Known(
        steps.AroundAttention, norms=(None, "n2"), after=("n1", None), place=("around", "pre")
    ),
    "parallel, norms behind": Known(
        steps.ParallelAfter, norms=(None, None), adds=("n1", "n2"), place=("after", "after"), parallel=True, missing=_PARALLEL
    ),
    "norms of its own": Known(steps.OwnNorms, relp=None),
    "a learned number": Known(steps.Rising, norms=(None, None), gains=("g1", "g2"), place=("scaled", "scaled")),
    "no final norm": Known(stacks.Bare, final=None),
    "projected embedding": Known(stacks.Projected),
    "heads beside": Known(stacks.Judged),
    "shared keys": Known(stacks.Grouped, kv_heads=2, fan=12),
    "attention by softmax": Known(by_hand.BySoftmax, missing=_NO_FUNCTION, relp=False),
    "attention by torch": Known(by_hand.ByTorch, missing=_NO_FUNCTION, relp=False),
}  # fmt: skip
