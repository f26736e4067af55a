"""Mean, alone or with central moments, of each unit, in float64, batch by batch.

Batches are joined by the pairwise formulas of Chan, Golub & LeVeque (1983) and Pébay (2008) for moments about the mean, so nothing is ever the
difference of two large sums.
"""

from __future__ import annotations

from typing import Any, Final, Self

import torch
from torch import Tensor

from interp.statistics.accumulator import Accumulator, Where, checked, pieces

_NAMES: Final = ("mean", "m2", "m3", "m4", "least", "most")


class Mean(Accumulator):
    """The mean of each unit [d], and nothing else: of tokens, or of sums over tokens that are known already (`add`)."""

    name = "mean"

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.mean = torch.zeros(width, dtype=torch.float64)

    def update(self, x: Tensor, where: Where | None = None) -> None:
        own = checked(x, self.width, self.name)
        self.add(own.sum(0, dtype=torch.float64).cpu(), len(own))

    def add(self, total: Tensor, n: int) -> None:
        """Add `n` tokens by their sum [d]."""
        if n:
            self.n += n
            self.mean = self.mean + (total.double() - n * self.mean) / self.n

    def _merged(self, other: Self) -> None:
        self.add(other.mean * other.n, other.n)

    def result(self) -> dict[str, Tensor]:
        """mean [d]."""
        self._check_some()
        return {"mean": self.mean}

    def state(self) -> dict[str, Tensor]:
        return {"n": torch.tensor(self.n), "mean": self.mean}

    @classmethod
    def bytes_for(cls, width: int, **settings: Any) -> int:
        return 8 * width


class Moments(Accumulator):
    """Mean, variance, third and fourth central moment, least and largest value of each unit [d].

    `m2`, `m3`, `m4`: sums of powers of the distance to the mean.
    """

    name = "moments"

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.mean, self.m2, self.m3, self.m4 = (torch.zeros(width, dtype=torch.float64) for _ in range(4))
        self.least = torch.full((width,), torch.inf, dtype=torch.float64)
        self.most = -self.least

    def update(self, x: Tensor, where: Where | None = None) -> None:
        if len(checked(x, self.width, self.name)):
            self._add(len(x), *_of(x))

    def _merged(self, other: Self) -> None:
        self._add(other.n, *(getattr(other, name) for name in _NAMES))

    def _add(self, n: int, mean: Tensor, m2: Tensor, m3: Tensor, m4: Tensor, least: Tensor, most: Tensor) -> None:
        a, b = self.n, n
        total = a + b
        d = mean - self.mean
        step = d / total
        self.m4 = (
            self.m4 + m4
            + d * step**3 * a * b * (a * a - a * b + b * b)
            + 6 * step**2 * (a * a * m2 + b * b * self.m2)
            + 4 * step * (a * m3 - b * self.m3)
        )  # fmt: skip
        self.m3 = self.m3 + m3 + d * step**2 * a * b * (a - b) + 3 * step * (a * m2 - b * self.m2)
        self.m2 = self.m2 + m2 + d * step * a * b
        self.mean = self.mean + step * b
        self.least, self.most = torch.minimum(self.least, least), torch.maximum(self.most, most)
        self.n = total

    def result(self) -> dict[str, Tensor]:
        """mean, variance (of the tokens, not of a sample), sd, skewness, kurtosis (3 for a Gaussian), least, largest [d]; skewness and
        kurtosis of a constant are 0."""
        self._check_some()
        variance = self.m2 / self.n
        sd = variance.sqrt()
        flat = self.m2 <= 0
        skewness = torch.where(flat, 0.0, self.m3 / self.n / sd.where(~flat, torch.ones_like(sd)) ** 3)
        kurtosis = torch.where(flat, 0.0, self.m4 / self.n / variance.where(~flat, torch.ones_like(sd)) ** 2)
        return {
            "mean": self.mean, "variance": variance, "sd": sd, "third": self.m3 / self.n, "fourth": self.m4 / self.n,
            "skewness": skewness, "kurtosis": kurtosis, "least": self.least, "largest": self.most,
        }  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        return {"n": torch.tensor(self.n), **{name: getattr(self, name) for name in _NAMES}}

    @classmethod
    def bytes_for(cls, width: int, **settings: Any) -> int:
        return 8 * 6 * width


def _of(x: Tensor) -> tuple[Tensor, ...]:
    """Mean, sums of powers of the distance to it, least and largest value of vectors [token d].

    Powers are of the distance to the mean as the model's precision has it, a few tokens at a time in memory that is used again, and put right by what that
    mean is off.
    """
    near, n = x.mean(0).double(), len(x)
    powers = torch.zeros(4, x.shape[1], dtype=torch.float64, device=x.device)
    some = pieces(x)
    d = torch.empty(len(some[0]), x.shape[1], dtype=torch.float64, device=x.device)
    square, ones = torch.empty_like(d), torch.ones(1, len(d), dtype=torch.float64, device=x.device)
    for piece in some:
        own, squared, one = d[: len(piece)], square[: len(piece)], ones[:, : len(piece)]
        torch.sub(piece, near, out=own)
        powers[0] += (one @ own)[0]
        torch.mul(own, own, out=squared)
        powers[1] += (one @ squared)[0]
        powers[2] += (one @ own.mul_(squared))[0]
        powers[3] += (one @ squared.mul_(squared))[0]
    first, second, third, fourth = powers
    off = first / n
    m2 = second - n * off**2
    m3 = third - 3 * off * second + 2 * n * off**3
    m4 = fourth - 4 * off * third + 6 * off**2 * second - 3 * n * off**4
    return near + off, m2, m3, m4, x.amin(0).double(), x.amax(0).double()
