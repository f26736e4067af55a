"""Decoders written by hand whose layers mix positions in other ways than attention: what they are made of, and their facts by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from tests.interp.model.discovery.written import Attention, Block, Config, Decoder
from tests.interp.model.tiny import randomise


class Recurrence(nn.Module):
    """h_t = a_t h_{t-1} + (1 - a_t) u_t with a gate a_t = sigmoid(A x_t): a gated linear recurrence; out = O(h * silu(G x))."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.keep, self.u, self.gate = (nn.Linear(c.wide, c.inner) for _ in range(3))
        self.out, self.act = nn.Linear(c.inner, c.wide), nn.SiLU()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        a, u, h, steps = torch.sigmoid(self.keep(x)), self.u(x), torch.zeros_like(self.u(x[:, 0])), []
        for t in range(x.shape[1]):
            h = a[:, t] * h + (1 - a[:, t]) * u[:, t]
            steps.append(h)
        out: Tensor = self.out(torch.stack(steps, 1) * self.act(self.gate(x)))
        return out


class LinearAttention(Attention):
    """Kernels for a softmax: phi(q) (sum phi(k) v) / phi(q) (sum phi(k)), phi = elu + 1."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x)
        q, k = nn.functional.elu(q) + 1, nn.functional.elu(k) + 1
        weights = (q @ k.mT).tril()
        z = weights / weights.sum(-1, keepdim=True) @ v
        out: Tensor = self.o(z.transpose(1, 2).flatten(2))
        return out


class Convolution(nn.Module):
    """Each channel by itself over three positions, one of them later, and a matrix."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.over, self.out = nn.Conv1d(c.wide, c.wide, 3, padding=1, groups=c.wide), nn.Linear(c.wide, c.wide)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return (self.out(self.over(x.mT).mT), None)


class Recurrent(Block):
    attention = Recurrence


class Convolved(Block):
    attention = Convolution

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = x + self.attn(self.n1(x), mask)[0]
        return x + self.mlp(self.n2(x))


class Kernels(Block):
    attention = LinearAttention


class Behind(Block):
    """The norm behind what mixes positions, on the sum; then the MLP beside nothing else."""

    attention = Recurrence

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = self.n1(x + self.attn(x))
        return self.n2(x + self.mlp(x))


class Beside(Block):
    """Recurrence and MLP side by side."""

    attention = Recurrence

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return x + self.attn(self.n1(x)) + self.mlp(self.n2(x))


class TorchAttention(nn.Module):
    """Attention as torch has it: in one piece, its projections no modules that are called."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.whole = nn.MultiheadAttention(c.wide, c.fans, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.whole(x, x, x, attn_mask=later, need_weights=False)[0]  # type: ignore[no-any-return]


class Torch(Block):
    attention = TorchAttention


@dataclass(frozen=True)
class Mixed:
    """The blocks of a decoder, which of them attend, and whether each position sees earlier ones alone."""

    blocks: tuple[type, ...]
    causal: bool = True

    @property
    def attends(self) -> list[bool]:
        return [block is Block for block in self.blocks]

    def make(self) -> Any:
        kinds = self.blocks

        class Made(Decoder):
            def make(self, config: Any, blocks: list[nn.Module]) -> None:
                self.layers = nn.ModuleList([kind(config) for kind in kinds])

        torch.manual_seed(0)
        model: Any = Made(Config(attn_implementation="eager", deep=len(kinds)))
        randomise(model)
        return model.eval()


MIXED: Final = {
    "recurrence, attention": Mixed((Recurrent, Block)),
    "attention, recurrence, attention": Mixed((Block, Recurrent, Block)),
    "recurrence alone": Mixed((Recurrent, Recurrent)),
    "linear attention": Mixed((Kernels, Kernels)),
    "norms around the sums": Mixed((Behind, Behind)),
    "side by side": Mixed((Beside, Block)),
    "convolution": Mixed((Convolved, Block), causal=False),
    "attention of torch": Mixed((Torch, Torch)),
    "attention of torch, attention": Mixed((Torch, Block)),
}
