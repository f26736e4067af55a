"""What a search may spend, in seconds or in forward equivalents, and what it has spent."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from interp.errors import MethodError

Unit = Literal["forwards", "seconds"]
DEFAULT_BUDGET: Final = 100.0
#: The chance allowed that a part outside belongs in the top, unless it is told.
CHANCE: Final = 0.01
#: What a backward costs in forwards, by the usual count of multiply-adds.
BACKWARD: Final = 2.0
#: The runs that every call of the scorer makes again: on clean and corrupt prompts, and where replay is used a third.
RUNS: Final = 3.0
LEAST_RUNS: Final = 2.0
#: A patch run never costs more than one whole forward; what it costs is measured with the first call.
MOST_PER_PART: Final = 1.0
#: Parts that a first call may score to find out how long one takes.
FIRST: Final = 16
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


@dataclass
class Meter:
    """What a search has spent of its budget, call by call: (parts scored exactly, cost). `sample`: a call for parts drawn
    at random, whose cost is that of any others drawn so."""

    budget: Budget
    calls: list[tuple[int, Cost]] = field(default_factory=list)
    sample: tuple[int, Cost] | None = None

    @property
    def spent(self) -> Cost:
        """Everything so far."""
        return total(cost for _, cost in self.calls)

    @property
    def left(self) -> float:
        """What remains, in the budget's unit; below zero where the last call took more than was expected."""
        return self.budget.limit - self.budget.of(self.spent)

    @property
    def per_part(self) -> float | None:
        """What one more random part is expected to cost: as in the sample, else in the largest call.

        None while seconds were not measured.
        """
        largest = max((call for call in self.calls if call[0]), key=lambda call: call[0], default=None)
        known = self.sample or largest
        if known is None:
            return None if self.budget.unit == "seconds" else MOST_PER_PART
        return self._each(known)

    @property
    def dearest(self) -> float | None:
        """What one more part of the top may cost: as in the dearest call."""
        return max((self._each(call) for call in self.calls if call[0]), default=self.per_part)

    def _each(self, call: tuple[int, Cost]) -> float:
        runs = LEAST_RUNS if self.budget.unit == "forwards" else 0.0
        return max(self.budget.of(call[1]) - runs, 0.0) / call[0]

    def expected(self, parts: int) -> float:
        """What one call for so many parts is expected to cost."""
        return self._runs + parts * (self.per_part or 0.0)

    def affordable(self, keep: float = 0.0, *, top: bool = False) -> int:
        """How many parts one call may score, with `keep` left over: random ones, or some of the `top`."""
        each, room = self.dearest if top else self.per_part, self.left - keep - self._runs
        if each is None or room <= 0:
            return FIRST if room > 0 else 0
        return int(min(room / each, 1e9)) if each > 0 else int(1e9)

    @property
    def _runs(self) -> float:
        return RUNS if self.budget.unit == "forwards" else 0.0
