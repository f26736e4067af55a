"""What a search is asked for and may spend, in seconds or in forward equivalents; what it has spent, and what a call is going to cost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import Final, Literal

import numpy as np

from interp.errors import MethodError
from interp.ledger import BACKWARD

#: Places among the parts -> what one call for them costs at most, in forwards.
Price = Callable[[np.ndarray], float]
Unit = Literal["forwards", "seconds"]
DEFAULT_BUDGET: Final = 100.0
#: The chance allowed that a part outside belongs in the top, unless it is told.
CHANCE: Final = 0.01
#: Parts that a first call may score to find out how long one takes.
FIRST: Final = 16
#: A sweep within a budget of seconds is begun only where some room is left.
SLACK: Final = 1.15
#: How many random draws say what one costs, and how far above their mean one may lie.
DRAWS: Final = 24
DEVIATIONS: Final = 3.0
_TEXT: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([sSfF]?)")


@dataclass(frozen=True)
class Cost:
    """Passes over the data, and seconds."""

    forwards: float = 0.0
    backwards: float = 0.0
    seconds: float = 0.0

    @property
    def equivalents(self) -> float:
        """Forward equivalents: forwards + 2 * backwards."""
        return self.forwards + BACKWARD * self.backwards

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.forwards + other.forwards, self.backwards + other.backwards, self.seconds + other.seconds)


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of some costs."""
    return sum(costs, Cost())


@dataclass(frozen=True)
class Budget:
    """A limit in forward equivalents or in seconds."""

    limit: float = DEFAULT_BUDGET
    unit: Unit = "forwards"

    def of(self, cost: Cost) -> float:
        """A cost in the unit of this budget."""
        return cost.seconds if self.unit == "seconds" else cost.equivalents

    def __str__(self) -> str:
        return f"{self.limit:g} s" if self.unit == "seconds" else f"{self.limit:g} forward equivalents"


def parse_budget(given: str | float | None) -> Budget:
    """A budget from '60s' (seconds), '200F' or a number (forward equivalents). Raises: MethodError."""
    if given is None:
        return Budget()
    found = _TEXT.fullmatch(str(given).strip())
    if found is None or float(found[1]) <= 0:
        raise MethodError(
            f"budget={given!r}: expected seconds such as '60s', or forward equivalents such as '200F' or 200."
        )
    return Budget(float(found[1]), "seconds" if found[2] in ("s", "S") else "forwards")


@dataclass(frozen=True)
class Plan:
    """What is wanted: the top `n`, with this `chance` for a part outside, within `budget`. `sign`: +1 where a positive
    score means important. `signed`: the top by importance, not by size."""

    n: int
    chance: float
    budget: Budget
    seed: int = 0
    sign: int = 1
    signed: bool = False

    @property
    def checks(self) -> int:
        """The fewest random parts outside, none of which belongs, that allow `chance_each` <= `chance`."""
        return max(1, ceil(1 / self.chance - 1e-9) - 1)


@dataclass
class Meter:
    """What a search may spend, and has spent call by call: (what it was expected to cost in forwards, what it cost).

    `price`: what one call for the parts at some places costs at most, in forwards. A call without a price scored no part.
    """

    budget: Budget
    price: Price
    calls: list[tuple[float, Cost]] = field(default_factory=list)

    @property
    def spent(self) -> Cost:
        """Everything so far."""
        return total(cost for _, cost in self.calls)

    @property
    def left(self) -> float:
        """What remains, in the budget's unit; below zero where not even the first call was within it."""
        return self.budget.limit - self.budget.of(self.spent)

    @property
    def rate(self) -> float | None:
        """What a forward of a price costs in the budget's unit, None while seconds were not measured.

        A forward: 1, and more where a call has ever cost more than its price. Seconds: as in the dearest call.
        """
        known = [(price, cost) for price, cost in self.calls if price]
        if self.budget.unit == "forwards":
            return max([1.0, *(cost.equivalents / price for price, cost in known)])
        dearest = max(known, key=lambda call: call[0], default=None)
        return None if dearest is None else dearest[1].seconds / dearest[0]

    @property
    def slack(self) -> float:
        """Seconds are not known beforehand: they get some room."""
        return 1.0 if self.budget.unit == "forwards" else SLACK

    def expected(self, places: np.ndarray) -> float:
        """What one call for these parts is expected to cost: of forwards a bound. 0 while seconds were not measured."""
        return self.price(places) * (self.rate or 0.0)

    def half(self) -> float:
        """What a call may cost that leaves as much for parts as it takes, when the runs of each call are paid for."""
        runs = self.expected(np.zeros(0, dtype=int))
        return runs + (self.left - runs) / 2

    def within(self, order: np.ndarray, room: float) -> int:
        """How many parts one call may score, from the start of `order`, for a cost of `room`."""
        if self.rate is None:
            return min(FIRST, len(order)) if room > 0 else 0
        return largest(len(order), lambda size: self.expected(order[:size]) <= room)


@dataclass(frozen=True)
class Draws:
    """What a random draw of parts will cost, whichever it is: seen on other draws, so that its size says nothing about it.

    `orders`: the parts in some random orders [draw part].
    """

    meter: Meter
    orders: np.ndarray

    @classmethod
    def of(cls, meter: Meter, parts: np.ndarray, rng: np.random.Generator) -> Draws:
        """The draws of some parts."""
        return cls(meter, np.array([rng.permutation(parts) for _ in range(DRAWS)], dtype=int))

    def cost(self, size: int) -> float:
        """What a draw of so many costs, but for one in several hundred: the mean and three deviations."""
        found = np.array([self.meter.expected(order[:size]) for order in self.orders])
        return float(found.mean() + DEVIATIONS * found.std(ddof=1))

    def size(self, room: float) -> int:
        """How many may be drawn for a cost of `room`."""
        every = len(self.orders[0])
        if self.meter.rate is None:
            return self.meter.within(self.orders[0], room)
        if every and self.meter.expected(self.orders[0]) <= room:
            return every
        return largest(every, lambda size: self.cost(size) <= room)


def largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `most` that fits, if none fits above one that does not; 0 where 1 does not fit.

    Small numbers are tried first.
    """
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
