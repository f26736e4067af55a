"""Mixtures of experts that are written by hand and in no library, each of another form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.interp.model.discovery.written import Block, Decoder


class Expert(nn.Module):
    def __init__(self, c: Any, act: Callable[[], nn.Module] = nn.SiLU) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(c.wide, c.inner, bias=False) for _ in "gu")
        self.act, self.down = act(), nn.Linear(c.inner, c.wide, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.act(self.gate(x)) * self.up(x))
        return out


class Best(nn.Module):
    """A dictionary of experts, the best one for each position, weighed behind it."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.choose = nn.Linear(c.wide, 3, bias=False)
        self.of = nn.ModuleDict({name: Expert(c) for name in ("law", "art", "code")})

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        weight, which = self.choose(flat).softmax(-1).max(-1)
        out = torch.zeros_like(flat)
        for i, expert in enumerate(self.of.values()):
            rows = which == i
            out[rows] = expert(flat[rows]) * weight[rows].unsqueeze(-1)
        return out.view_as(x)


class Before(Best):
    """The best one too, whose input is weighed, position by position, by what the router gives without any softmax."""

    def forward(self, x: Tensor) -> Tensor:
        experts = list(self.of.values())
        rows = []
        for row in x.flatten(0, 1):
            scores = self.choose(row)
            best = int(scores.argmax())
            rows.append(experts[best](scores[best] * row))
        return torch.stack(rows).view_as(x)


class Dense(nn.Module):
    """Every expert everywhere, as one tensor each way; functions only; a norm of its own in the router."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.scale = nn.RMSNorm(c.wide)
        self.choose = nn.Linear(c.wide, 3, bias=False)
        self.into, self.back = (nn.Parameter(torch.randn(3, c.wide, c.inner) / 6) for _ in "ib")

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.sigmoid(self.choose(self.scale(x)))
        weights = weights / weights.sum(-1, keepdim=True)
        inner = F.gelu(torch.einsum("btd,edn->bten", x, self.into))
        return torch.einsum("bte,bten,edn->btd", weights, inner, self.back)


class Stacked(Dense):
    """The same, the sum over experts as a product of matrices, beside an expert that all positions share, with a gate."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.shared, self.open = Expert(c), nn.Linear(c.wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = torch.sigmoid(self.choose(x)).topk(2, dim=-1)
        full = torch.zeros_like(self.choose(x)).scatter(-1, chosen, weights)
        inner = F.relu(torch.einsum("btd,edn->bten", x, self.into)) ** 2
        each = torch.einsum("bten,edn->bted", inner, self.back)
        routed = (full.unsqueeze(-2) @ each).squeeze(-2)
        return routed + torch.sigmoid(self.open(x)) * self.shared(x)


class Written(nn.Module):
    """No experts: one MLP whose functions are no modules, the activation written out."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(c.wide, c.inner, bias=False) for _ in "gu")
        self.down = nn.Linear(c.inner, c.wide, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x)
        out: Tensor = self.down(gate * torch.sigmoid(gate) * self.up(x))
        return out


class Wide(Best):
    """A gate for each entry of what an expert gives, and not one for each position."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.open = nn.Linear(c.wide, c.wide)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.sigmoid(self.open(x))


class Soft(Best):
    """An activation that is not known."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.of = nn.ModuleDict({name: Expert(c, nn.Softsign) for name in ("law", "art", "code")})


class Rare(Best):
    """The same in an expert that few positions go to: those whose second entry is above 1.5."""

    def __init__(self, c: Any) -> None:
        super().__init__(c)
        self.rare = Expert(c, nn.ELU)

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        rows = x[..., 1] > 1.5
        if bool(rows.any()):
            out = out.clone()
            out[rows] = out[rows] + self.rare(x[rows])
        return out


def decoder(mlp: Callable[[Any], nn.Module], seed: int = 0) -> Decoder:
    """A decoder of two blocks with this MLP, biases 0 and norm weights 1, but for its router, in float64."""

    class Own(Block):
        feed = mlp

    class Model(Decoder):
        block = Own

    torch.manual_seed(seed)
    model = Model(Model.config_class())
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 or "open" in name:
                p.copy_(torch.randn(p.shape) * (1.0 if "words" in name or "choose" in name else 0.2))
    return model.double().eval()
