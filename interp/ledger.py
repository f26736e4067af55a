"""What work costs, in multiply-adds: every forward, backward and replay tells it, and whoever wants to know counts.

One multiply-add is one product that is added to a sum in a weight matrix, between a query and a key or a value, in the
unembedding, or where a reader of level `edges` gets a copy of the stream of its own. A backward counts as two forwards, the usual way. The few tokens on which a model is looked at while it is
loaded are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

#: What a backward costs in forwards, by the usual count of multiply-adds.
BACKWARD: Final = 2

_open: ContextVar[Ledger | None] = ContextVar("interp_ledger", default=None)


@dataclass
class Ledger:
    """Multiply-adds by phase of the work, and how many circuits were run. `most`: a bound, for who begins a phase."""

    phase: str = ""
    most: float | None = None
    spent: Counter[str] = field(default_factory=Counter)
    circuits: int = 0

    @property
    def total(self) -> int:
        """The multiply-adds of all phases."""
        return self.spent.total()


@contextmanager
def counting() -> Iterator[Ledger]:
    """Counts what is done inside."""
    found = Ledger()
    before = _open.set(found)
    try:
        yield found
    finally:
        _open.reset(before)


def ledger() -> Ledger | None:
    """Who counts here, None for nobody."""
    return _open.get()


def spend(multiply_adds: int, circuits: int = 0) -> None:
    """Tell what was done to whoever counts."""
    found = _open.get()
    if found is not None:
        found.spent[found.phase] += multiply_adds
        found.circuits += circuits
