"""Models whose equations are not of the forms that a layout can state, each with what the refusal must name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import torch
from torch import Tensor, nn

from tests.interp.model.discovery.written import Attention, Block, Config, Decoder, Mlp, attend
from tests.interp.model.tiny import randomise

# ---------------------------------------------------------------- blocks whose step is no sum


class _Times(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x * torch.sigmoid(self.attn(self.n1(x), mask))
        return x + self.mlp(self.n2(x))


class _DeepNorm(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = self.n1(1.7 * x + self.attn(x, mask))
        return self.n2(1.7 * x + self.mlp(x))


class _Highway(Block):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.carry = nn.Linear(c.wide, c.wide)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x), mask)
        t = torch.sigmoid(self.carry(x))
        return t * self.mlp(self.n2(x)) + (1 - t) * x


class _Biased(Block):
    """Adds something that is neither of attention nor of the MLP."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.level = nn.Parameter(torch.ones(c.wide))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return super().forward(x, mask) + self.level


class _WrittenInPlace(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x += self.attn(self.n1(x), mask)
        return x + self.mlp(self.n2(x))


class _WrittenBefore(Block):
    """Scales the stream where it is, before anything reads it."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return super().forward(x.mul_(0.5), mask)


# ---------------------------------------------------------------- blocks of other parts


class _NoAttention(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return x + self.mlp(self.n2(x))


class _NoMlp(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return x + self.attn(self.n1(x), mask)


class _TwoAttentions(Block):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.n3, self.again = nn.LayerNorm(c.wide), Attention(c)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x), mask)
        x = x + self.again(self.n3(x), mask)
        return x + self.mlp(self.n2(x))


class _Macaron(Block):
    """Half an MLP before attention, half another behind it."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.n3, self.first = nn.LayerNorm(c.wide), Mlp(c)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return super().forward(x + 0.5 * self.first(self.n3(x)), mask)


class _LinearAttention(Attention):
    """Kernels for a softmax: phi(q) (sum phi(k) v) / phi(q) (sum phi(k)), phi = elu + 1."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x)
        q, k = nn.functional.elu(q) + 1, nn.functional.elu(k) + 1
        weights = (q @ k.mT).tril()
        z = weights / weights.sum(-1, keepdim=True) @ v
        out: Tensor = self.o(z.transpose(1, 2).flatten(2))
        return out


class _Linear(Block):
    attention = _LinearAttention


class _BareProjection(Attention):
    """The output projection is a parameter, no module: nothing has z as its input."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.merge = nn.Parameter(torch.zeros(c.fans, c.fan, c.wide))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x)
        z = attend(self, q, k, v, mask).unflatten(-1, (-1, self.config.fan))
        return torch.einsum("bphi,hio->bpo", z, self.merge)


class _Bare(Block):
    attention = _BareProjection


# ---------------------------------------------------------------- streams of other shapes


class _Wider(Block):
    """Passes on a stream of another width."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.widen = nn.Linear(c.wide, c.wide + 8)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return self.widen(super().forward(x, mask))


class _HyperConnected(Block):
    """Two streams [batch pos stream wide], mixed, read and written by weights."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.read, self.write = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
        self.mix = nn.Parameter(torch.eye(2))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        for norm, f in ((self.n1, lambda y: self.attn(y, mask)), (self.n2, self.mlp)):
            written = f(norm(torch.einsum("bpsw,s->bpw", x, self.read)))
            x = torch.einsum("bpsw,st->bptw", x, self.mix) + written.unsqueeze(2) * self.write[:, None]
        return x


class _PositionsFirst(Block):
    """Reads and gives [pos batch wide]; attention alone turns it round."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x).transpose(0, 1), mask).transpose(0, 1)
        return x + self.mlp(self.n2(x))


def _of(block: Callable[[Any], nn.Module]) -> Callable[[], Any]:
    return lambda: _made(type("Made", (Decoder,), {"block": staticmethod(block), "__module__": __name__}))


def _made(model: Any) -> Any:
    torch.manual_seed(0)
    made = model(Config(attn_implementation="eager"))
    randomise(made)
    return made.eval()


class Second(Decoder):
    """Another block second, which attends to nothing."""

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        self.layers = nn.ModuleList([blocks[0], _NoAttention(config)])


class Widening(Decoder):
    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        self.layers = nn.ModuleList([_Wider(config), blocks[1]])

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.layers[1](self.layers[0](x, mask)[..., 8:], mask)  # type: ignore[no-any-return]


class Repeated(Decoder):
    """One block, called as often as the model is deep."""

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        self.layers = nn.ModuleList(blocks[:1])

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().through(super().through(x, mask), mask)


class ListedTwice(Decoder):
    """One block, twice in the list."""

    def make(self, config: Any, blocks: list[nn.Module]) -> None:
        self.layers = nn.ModuleList([blocks[0], blocks[0]])


class HyperConnected(Decoder):
    block = _HyperConnected

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().through(x.unsqueeze(2).expand(-1, -1, 2, -1), mask).sum(2)


class PositionsFirst(Decoder):
    block = _PositionsFirst

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().through(x.transpose(0, 1), mask).transpose(0, 1)


# ---------------------------------------------------------------- between blocks, and at the end


class Returning(Decoder):
    """What enters the first block is added again between the blocks."""

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.layers[1](self.layers[0](x, mask) + 0.5 * x, mask)  # type: ignore[no-any-return]


class Averaging(Decoder):
    """The logits read the mean of what both blocks give."""

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        first = self.layers[0](x, mask)
        return (first + self.layers[1](first, mask)) / 2  # type: ignore[no-any-return]


class Prefixed(Decoder):
    """Two learned vectors stand before the tokens: positions of the stream are not those of the ids."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.prefix = nn.Parameter(torch.randn(1, 2, config.wide))

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().through(torch.cat([self.prefix.expand(len(x), -1, -1), x], dim=1), None)[:, 2:]


class InTuple(Decoder):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return (super().forward(*args, **kwargs).logits,)


class Unnamed(Decoder):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return SimpleNamespace(scores=super().forward(*args, **kwargs).logits)


class Headless(Decoder):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return {"last": super().forward(*args, **kwargs).logits}


class Pooled(Decoder):
    """One row of logits for a whole text."""

    def read(self, x: Tensor) -> Tensor:
        return super().read(x).mean(1)


@dataclass(frozen=True)
class Refused:
    """A model, and a pattern of what the refusal must name."""

    make: Callable[[], Any]
    names: str


#: Each fault, with what must be named.
REFUSED: Final[dict[str, Refused]] = {
    "times a gate of attention": Refused(_of(_Times), r"layers\.0\b"),
    "DeepNorm": Refused(_of(_DeepNorm), r"layers\.0\b"),
    "highway": Refused(_of(_Highway), r"layers\.0\b"),
    "a third summand": Refused(_of(_Biased), r"layers\.0\b"),
    "written in place": Refused(_of(_WrittenInPlace), r"layers\.0\b.*in place"),
    "written before it is read": Refused(_of(_WrittenBefore), r"layers\.0\b.*in place"),
    "one block of no attention": Refused(lambda: _made(Second), r"layers\.1\b"),
    "no attention at all": Refused(_of(_NoAttention), "attention"),
    "no MLP": Refused(_of(_NoMlp), r"layers\.0\b.*MLP"),
    "two attentions": Refused(_of(_TwoAttentions), r"layers\.0\b"),
    "two MLPs": Refused(_of(_Macaron), r"layers\.0\b"),
    "attention without softmax": Refused(_of(_Linear), "attention"),
    "projection by a parameter": Refused(_of(_Bare), r"layers\.0\b"),
    "another width": Refused(lambda: _made(Widening), r"layers\.[01]\b"),
    "a block called twice": Refused(lambda: _made(Repeated), r"layers\.0\b"),
    "a block listed twice": Refused(lambda: _made(ListedTwice), r"layers\.0\b"),
    "two streams": Refused(lambda: _made(HyperConnected), r"layers\.0\b"),
    "positions first": Refused(lambda: _made(PositionsFirst), r"layers\.0\b"),
    "added between blocks": Refused(lambda: _made(Returning), r"layers\.1\b"),
    "a mean at the end": Refused(lambda: _made(Averaging), "norm"),
    "vectors before the tokens": Refused(lambda: _made(Prefixed), r"layers\.0\b|positions"),
    "logits in a tuple": Refused(lambda: _made(InTuple), "InTuple.*logits"),
    "logits by another name": Refused(lambda: _made(Unnamed), "Unnamed.*logits"),
    "a dictionary without logits": Refused(lambda: _made(Headless), "Headless.*logits"),
    "one row of logits": Refused(lambda: _made(Pooled), "Pooled.*logits"),
}
