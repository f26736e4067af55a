"""Decoders that differ in how their blocks change the stream: where norms stand, and what is added."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.interp.model.discovery.written import Attention, Block, Decoder, Mlp, NormedAttention

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


class _AroundMlp(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x), mask)
        return self.n2(x + self.mlp(x))


class AroundMlp(Decoder):
    """A norm in front of attention, another around the sum with the MLP."""

    block = _AroundMlp


class _AroundAttention(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = self.n1(x + self.attn(x, mask))
        return x + self.mlp(self.n2(x))


class AroundAttention(Decoder):
    block = _AroundAttention


class _ParallelAfter(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return x + self.n1(self.attn(x, mask)) + self.n2(self.mlp(x))


class ParallelAfter(Decoder):
    block = _ParallelAfter


class OwnNorm(nn.Module):
    """RMSNorm under names of its own."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(wide))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.g


class _OwnNorms(Block):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.n1, self.n2 = OwnNorm(c.wide), OwnNorm(c.wide)


class OwnNorms(Decoder):
    block = _OwnNorms


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


class _Rising(Block):
    """ReZero: one learned number for each sublayer, and no norms."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.g1, self.g2 = nn.Parameter(torch.tensor([0.4])), nn.Parameter(torch.tensor([-0.7]))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.g1 * self.attn(x, mask)
        return x + self.g2 * self.mlp(x)


class Rising(Decoder):
    block = _Rising
