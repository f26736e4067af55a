"""What a statistic over tokens can do, and the statistics that have a name.

Axis words: `token d` for what is added; a result has `d` entries, or is said in its docstring.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Final, Self

import torch
from torch import Tensor

from interp.errors import InterpError
from interp.registries import About, Registry

Where = Mapping[str, Tensor]
#: Numbers that are taken at once, so that they stay in the processor's cache.
_AT_ONCE: Final = 1 << 15


class StatisticError(InterpError):
    """Vectors that a statistic cannot take, or statistics that do not belong together."""


class Accumulator(ABC):
    """A statistic of vectors [token d] that is added up batch by batch.

    Its `state` is all that it holds, as tensors: what `of_state` gives back goes on as if nothing had happened, bit for bit. `merge` adds what another
    one has seen; for sums that is what one pass over both would give, up to rounding. `settings` are the options it was made with.
    """

    name: ClassVar[str]

    def __init__(self, width: int, **settings: Any) -> None:
        self.width, self.settings, self.n = width, settings, 0

    @abstractmethod
    def update(self, x: Tensor, where: Where | None = None) -> None:
        """Add tokens [token d]. where: `example`, `position`, `token` [token], for the statistics that need them."""

    @abstractmethod
    def _merged(self, other: Self) -> None:
        """Add what another one of the same width and settings has seen."""

    @abstractmethod
    def result(self) -> dict[str, Tensor]:
        """What was found, by name. Raises: StatisticError without tokens."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """All that it holds."""

    @classmethod
    @abstractmethod
    def bytes_for(cls, width: int, **settings: Any) -> int:
        """What one takes in memory at this width."""

    def merge(self, other: Accumulator) -> None:
        """Add what another one has seen. Raises: StatisticError for another kind, width or settings."""
        mine, others = (f"{a.name} of width {a.width} with {a.settings}" for a in (self, other))
        if mine != others:
            raise StatisticError(f"merging {mine} with {others}; expected two of the same kind, width and options.")
        if other.n:
            self._merged(other)  # type: ignore[arg-type]

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state. Raises: StatisticError for one of other names or shapes."""
        own = self.state()
        for key in (*own, *(key for key in state if key not in own)):
            if key not in state or key not in own:
                raise StatisticError(f"state of {self.name}: {'no' if key in own else 'unknown'} {key!r}.")
            given, mine = state[key], own[key]
            grows = mine.ndim > 0 and len(mine) == 0
            if given.dtype != mine.dtype or given.shape[grows:] != mine.shape[grows:] or given.ndim != mine.ndim:
                raise StatisticError(
                    f"state of {self.name}: {key} is {list(given.shape)} {given.dtype}; expected {list(mine.shape)} {mine.dtype}."
                )
        self._restore({key: value.clone() for key, value in state.items()})

    def _restore(self, state: dict[str, Tensor]) -> None:
        """Put the tensors of a state in the place of its own; `n` is one of them."""
        for key, value in state.items():
            setattr(self, key, int(value) if isinstance(getattr(self, key), int) else value)

    def _check_some(self) -> None:
        if not self.n:
            raise StatisticError(f"{self.name}: no tokens were added; expected one or more.")


def checked(x: Tensor, width: int, name: str) -> Tensor:
    """Vectors [token d]. Raises: StatisticError for another shape, and for numbers that are not finite."""
    if x.ndim != 2 or x.shape[1] != width:
        raise StatisticError(f"{name}: given {list(x.shape)}; expected [token {width}].")
    if not finite(x):
        token, unit = (~torch.isfinite(x)).nonzero()[0].tolist()
        raise StatisticError(f"{name}: the number of unit {unit} is not finite at token {token} of the batch.")
    return x


def finite(x: Tensor) -> bool:
    """Whether all numbers are finite: as their sum is not otherwise, they are looked at one by one only where it overflows."""
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())


def pieces(x: Tensor) -> tuple[Tensor, ...]:
    """The tokens [token d], as many at once as a cache holds."""
    return torch.split(x, max(16, _AT_ONCE // max(1, x.shape[1])))


@dataclass(frozen=True)
class Statistic:
    """A statistic with a name: what it says, what it costs, and the file of the room where its class, `kind`, lives."""

    name: str
    sentence: str
    cost: str
    source: str = ""
    module: str = ""
    kind: str = ""

    @property
    def about(self) -> About:
        return About(self.sentence, cost=self.cost, source=self.source)

    @property
    def accumulator(self) -> type[Accumulator]:
        """Its class."""
        found: type[Accumulator] = getattr(import_module(f"interp.statistics.{self.module}"), self.kind)
        return found


STATISTICS: Final = Registry(
    "statistic",
    "interp.statistics",
    StatisticError,
    (
        Statistic("mean", "mean of each unit", "d numbers", "", "moments", "Mean"),
        Statistic(
            "moments", "mean, variance, third and fourth central moment, least and largest value of each unit", "7 d numbers",
            "Chan et al. 1983; Pébay 2008", "moments", "Moments",
        ),
        Statistic("covariance", "mean and covariance of all units", "d^2 numbers", "Chan et al. 1983", "covariance", "Covariance"),
        Statistic(
            "sparsity",
            "share of units above 0, and above 1 % and 10 % of the token's largest, Hoyer's measure, units that hold 90 % of the squared norm, units that are never above 0",
            "d numbers", "Hoyer 2004; Li et al. 2023 (the lazy neuron)", "sparsity", "Sparsity",
        ),
        Statistic("quantiles", "quantiles of each unit, from a histogram of 128 fixed bins", "128 d numbers", "", "quantiles", "Quantiles"),
        Statistic("examples", "the largest values of each unit, and the tokens where they are", "15 d k numbers", "", "examples", "Examples"),
        Statistic(
            "positions",
            "the vectors as mean + position + context + rest: shares of variance, stable rank, angles, energy in low frequencies",
            "(window + contexts) d numbers", "Song & Zhong 2023", "position_parts", "Positions",
        ),
        Statistic("pairs", "how often two units are above 0 together", "d^2 numbers", "", "coactivations", "Pairs"),
    ),
)  # fmt: skip


def accumulator_for(name: str, width: int, **settings: Any) -> Accumulator:
    """A new accumulator of a statistic by its name. Raises: StatisticError with the near names."""
    return STATISTICS[name].accumulator(width, **settings)
