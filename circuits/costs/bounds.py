"""What a plan is: at most so many forwards by phase; and what was spent of them when the work is over.

One forward is the multiply-adds of a plain forward of all pairs that the plan names, with all logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Any

from circuits.bench.workload import resident_peak
from interp.errors import InterpError
from interp.formatting.numbers import number, several
from interp.ledger import Ledger
from interp.tasks.pairs.token_pairs import TokenPair


def one_forward(model: Any, pairs: Sequence[TokenPair]) -> int:
    """The multiply-adds of a plain forward of some pairs."""
    return sum(model.prices.forward(1, pair.length) for pair in pairs)


@dataclass(frozen=True)
class Bounds:
    """At most so many forwards, by phase of the work. pairs: how many a forward is of; of: which, in a word, or nothing."""

    phases: Mapping[str, float]
    pairs: int
    of: str = "scored"

    @property
    def total(self) -> float:
        return sum(self.phases.values())

    def __str__(self) -> str:
        each = ", ".join(f"{phase} {number(n, 0)}" for phase, n in self.phases.items() if n >= 0.5)
        return f"at most {number(ceil(self.total), 0)} forwards of the {several(self.pairs, f'{self.of} pair'.strip())}: {each}"

    def check(self, most: float | None, what: str, less: str) -> None:
        """Raises: InterpError where `what` may cost more than `most` forwards; `less`: what makes it cost less."""
        if most is not None and self.total > most:
            raise InterpError(f"max-forwards={most:g}: {what} may need {number(ceil(self.total), 0)} ({self}). {less}")


def check_most(most: float | None, of: str = "scored") -> None:
    """Raises: InterpError for a bound that is no number of forwards."""
    if most is not None and not 0 < most < inf:
        raise InterpError(f"max-forwards={most:g}: expected a number above 0, of forwards of the {of} pairs.")


def spent(ledger: Ledger, forward: int) -> dict[str, Any]:
    """What was spent, as a manifest has it: in all, by phase, and how many circuits were run. forward: the multiply-adds of one."""
    return {
        "forwards_total": round(ledger.total / forward, 2),
        "forwards_by_phase": {phase: round(n / forward, 2) for phase, n in ledger.spent.items() if n},
        "circuits_run": ledger.circuits,
    }


def memory(loaded: int) -> dict[str, Any]:
    """The highest memory of the process, and how far it is above `loaded` bytes, the highest when the model was there [MiB]."""
    highest = resident_peak()
    return {"memory_mib": {"highest": highest >> 20, "above": (highest - loaded) >> 20}}
