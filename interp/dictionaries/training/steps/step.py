"""What the ways to find losses and gradients have in common: `sparse` and `dense` by hand, `peer` by sae-lens' classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Outcome:
    """The losses of one batch and who was active. `terms`: the parts of `loss`, `mse_loss` among them; `fired` [feature]:
    whether a feature was active for any token; `active`: how many (token, feature) were."""

    loss: Tensor
    terms: dict[str, Tensor]
    fired: Tensor
    active: Tensor


class Step(Protocol):
    """Weights, and the gradients of one batch. `transposed`: parameters kept the other way round than `Dictionary` has them."""

    parameters: dict[str, torch.nn.Parameter]
    transposed: tuple[str, ...]

    @property
    def threshold(self) -> Tensor | None:
        """The running estimate of the smallest feature that BatchTopK keeps, float64; None for others."""

    @threshold.setter
    def threshold(self, value: Tensor) -> None: ...

    def gradients(self, x: Tensor, y: Tensor, dead: Tensor, coefficients: Mapping[str, float]) -> Outcome:
        """Set the gradient of every parameter for x [token d_in], y [token d_out], dead [feature] bool."""


def grad(p: torch.nn.Parameter) -> Tensor:
    """The memory of a parameter's gradient, which stays."""
    if p.grad is None:
        p.grad = torch.empty_like(p)
    return p.grad
