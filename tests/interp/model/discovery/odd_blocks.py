"""Blocks whose equations are not of the forms that a layout can state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.interp.model.discovery.written import Attention, Block, Mlp, attend, eager_attention_forward

__all__ = ["eager_attention_forward"]

# ---------------------------------------------------------------- blocks whose step is no sum


class Times(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x * torch.sigmoid(self.attn(self.n1(x), mask))
        return x + self.mlp(self.n2(x))


class Highway(Block):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.carry = nn.Linear(c.wide, c.wide)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x), mask)
        t = torch.sigmoid(self.carry(x))
        return t * self.mlp(self.n2(x)) + (1 - t) * x


class Biased(Block):
    """Adds something that is neither of attention nor of the MLP."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.level = nn.Parameter(torch.ones(c.wide))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return super().forward(x, mask) + self.level


class WrittenInPlace(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x += self.attn(self.n1(x), mask)
        return x + self.mlp(self.n2(x))


class WrittenBefore(Block):
    """Scales the stream where it is, before anything reads it."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return super().forward(x.mul_(0.5), mask)


# ---------------------------------------------------------------- blocks of other parts


class NoAttention(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return x + self.mlp(self.n2(x))


class NoMlp(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return x + self.attn(self.n1(x), mask)


class Faint(Block):
    """What the MLP writes is bent, and so small that attention alone would give the output to rounding."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return x + self.attn(self.n1(x), mask) + 1e-9 * torch.tanh(self.mlp(self.n2(x)))


class OfAllPositions(Block):
    """No module mixes positions: the block's own code does, in front of the MLP."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return x + self.mlp(self.n2(x).cumsum(1))


class TwoAttentions(Block):
    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.n3, self.again = nn.LayerNorm(c.wide), Attention(c)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x), mask)
        x = x + self.again(self.n3(x), mask)
        return x + self.mlp(self.n2(x))


class BareProjection(Attention):
    """The output projection is a parameter, no module: nothing has z as its input."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.merge = nn.Parameter(torch.zeros(c.fans, c.fan, c.wide))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x)
        z = attend(self, q, k, v, mask).unflatten(-1, (-1, self.config.fan))
        return torch.einsum("bphi,hio->bpo", z, self.merge)


class Bare(Block):
    attention = BareProjection


# ---------------------------------------------------------------- streams of other shapes


class Wider(Block):
    """Passes on a stream of another width."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.widen = nn.Linear(c.wide, c.wide + 8)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return self.widen(super().forward(x, mask))


class HyperConnected(Block):
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


class PositionsFirst(Block):
    """Reads and gives [pos batch wide]; attention alone turns it round."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x).transpose(0, 1), mask).transpose(0, 1)
        return x + self.mlp(self.n2(x))


# ---------------------------------------------------------------- more of the same


class TokenGate(Block):
    """Each token says how much of the MLP is added."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.gate = nn.Linear(c.wide, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x), mask)
        return x + torch.sigmoid(self.gate(x)) * self.mlp(self.n2(x))


class Serial(Block):
    """The MLP reads attention, and the stream gets the MLP alone."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return x + self.mlp(self.n2(self.attn(self.n1(x), mask)))


class WrittenBehind(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x), mask)
        x += self.mlp(self.n2(x))
        return x


class OneNorm(Block):
    """One module, twice in each block: a hook on it cannot tell which call is meant."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.n1 = self.n2 = nn.LayerNorm(c.wide, elementwise_affine=False)


class InMapping(Block):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return {"stream": super().forward(x, mask)}


class OfTuple(Block):
    def forward(self, given: Any, mask: Tensor | None = None) -> Any:
        return super().forward(*given), given[1]


class OneHead(nn.Module):
    def __init__(self, c: Any) -> None:
        super().__init__()
        self.config = c
        self.q, self.k, self.v = (nn.Linear(c.wide, c.fan) for _ in "qkv")

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return attend(self, *(matrix(x)[:, None] for matrix in (self.q, self.k, self.v)), mask)


class SingleHeads(nn.Module):
    """A module for each head, as lectures have it."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.heads = nn.ModuleList(OneHead(c) for _ in range(c.fans))
        self.o = nn.Linear(c.wide, c.wide)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        out: Tensor = self.o(torch.cat([head(x, mask) for head in self.heads], dim=-1))
        return out


class Single(Block):
    attention = SingleHeads


class AttentionAlone(nn.Module):
    """x + attn(norm(x)): half a block."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.norm, self.attn = nn.LayerNorm(c.wide), Attention(c)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x + self.attn(self.norm(x), mask)  # type: ignore[no-any-return]


class MlpAlone(nn.Module):
    def __init__(self, c: Any) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(c.wide), Mlp(c)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x + self.mlp(self.norm(x))  # type: ignore[no-any-return]
