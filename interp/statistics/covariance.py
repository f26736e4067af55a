"""Mean and covariance of all units, in float64, batch by batch (Chan, Golub & LeVeque 1983)."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from interp.statistics.accumulator import Accumulator, Where, checked


class Covariance(Accumulator):
    """Mean [d] and covariance [d d]. `products`: the sum of products of distances to the mean."""

    name = "covariance"

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.products = torch.zeros(width, width, dtype=torch.float64)

    def update(self, x: Tensor, where: Where | None = None) -> None:
        found = checked(x, self.width, self.name).double()
        if len(found):
            mean = found.mean(0)
            centred = found - mean
            self._add(len(found), mean, centred.T @ centred)

    def _merged(self, other: Self) -> None:
        self._add(other.n, other.mean, other.products)

    def _add(self, n: int, mean: Tensor, products: Tensor) -> None:
        total, d = self.n + n, mean - self.mean
        self.products = self.products + products + torch.outer(d, d) * (self.n * n / total)
        self.mean = self.mean + d * (n / total)
        self.n = total

    def result(self) -> dict[str, Tensor]:
        """mean [d], covariance [d d] of the tokens (not of a sample), second [d d]: the mean of x x^T."""
        self._check_some()
        covariance = self.products / self.n
        return {"mean": self.mean, "covariance": covariance, "second": covariance + torch.outer(self.mean, self.mean)}

    def state(self) -> dict[str, Tensor]:
        return {"n": torch.tensor(self.n), "mean": self.mean, "products": self.products}

    @classmethod
    def bytes_for(cls, width: int, **settings: Any) -> int:
        return 8 * (width + 1) * width
