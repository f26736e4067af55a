"""Searches on functions of a mask whose circuits are known, in the place of runs of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from interp.rules.rules import GRADIENT, Rules


@dataclass
class Analytic:
    """A metric of each example as a function of a mask [part]. turn: of each example; `asked`: every mask that was run."""

    functions: Sequence[Callable[[Tensor], Tensor]]
    n_parts: int
    turn: Sequence[int] = ()
    asked: list[Tensor] = field(default_factory=list)

    @property
    def competing(self) -> Tensor:
        return torch.ones(self.n_parts, dtype=torch.bool)

    @property
    def turns(self) -> int:
        return max(self.turn, default=0) + 1

    def examples(self, turn: int) -> Tensor:
        return torch.tensor([own == turn for own in (self.turn or [0] * len(self.functions))])

    def metric(self, mask: Tensor) -> Tensor:
        return self.slopes(mask)[0]

    def slopes(self, mask: Tensor, rules: Rules = GRADIENT, turn: int | None = None) -> tuple[Tensor, Tensor]:
        self.asked.append(mask.clone())
        given = mask.double().clone().requires_grad_()
        some = [f for f, own in zip(self.functions, self.examples(turn or 0), strict=True) if turn is None or own]
        metric = torch.stack([f(given) for f in some])
        slopes = [torch.autograd.grad(value, given, retain_graph=True)[0] for value in metric]
        return metric.detach(), torch.stack(slopes)


def backed_up(chains: int, length: int, weight: float = 0.01) -> Callable[[Tensor], Tensor]:
    """Whole where any of some chains of parts is; of the other parts one adds a little and the next takes as much away. No part of a chain
    has an effect alone."""

    def metric(mask: Tensor) -> Tensor:
        ends, others = mask[: chains * length].view(chains, length).prod(1), mask[chains * length :]
        return 1 - (1 - ends).prod() + weight * (others[::2].sum() - others[1::2].sum())

    return metric
