"""What work costs, in multiply-adds: every forward, backward and replay tells it, and whoever wants to know counts.

One multiply-add is one product that is added to a sum in a weight matrix, between a query and a key or a value, in the
unembedding, in the encoder or decoder of a dictionary, or where a reader of level `edges` gets a copy of the stream of its own. A
backward of the model counts as two forwards, the usual way; that of a dictionary as the one product that it is. The few tokens on which a model
is looked at while it is loaded are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from interp.errors import InterpError

if TYPE_CHECKING:
    from torch import Tensor

#: What a backward costs in forwards, by the usual count of multiply-adds.
BACKWARD: Final = 2
#: A pass forward and back.
PASS: Final = 1 + BACKWARD

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


@contextmanager
def uncounted() -> Iterator[None]:
    """Nothing is counted inside: the few tokens on which it is found out how a model is made."""
    before = _open.set(None)
    try:
        yield
    finally:
        _open.reset(before)


def enter(phase: str, *, last: bool = False) -> None:
    """What is spent from here on is of this phase, where somebody counts. last: it runs no model, and is entered whatever was spent.

    Raises: InterpError where more is spent than whoever counts allows.
    """
    found = _open.get()
    if found is None:
        return
    if found.most is not None and found.total > found.most and not last:
        raise InterpError(
            f"max-forwards: {found.total / found.most:.0%} of it is spent before the phase {phase}; the plan was too low."
        )
    found.phase = phase


def product(x: Tensor, W: Tensor) -> Tensor:
    """x [... a] times a matrix [a b], told to whoever counts, and the product of its backward when that comes: none is made for the
    matrix."""
    y = x @ W
    if _open.get() is not None:
        cost = x.numel() * y.shape[-1]
        spend(cost)
        if y.requires_grad:
            y.register_hook(lambda grad: spend(cost))  # type: ignore[no-untyped-call]
    return y


def spend(multiply_adds: int, circuits: int = 0) -> None:
    """Tell what was done to whoever counts."""
    found = _open.get()
    if found is not None:
        found.spent[found.phase] += multiply_adds
        found.circuits += circuits
