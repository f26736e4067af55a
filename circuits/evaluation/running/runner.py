"""Running a model with everything outside a set of parts ablated: one interface for sets of nodes and sets of edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from circuits.circuit.circuit import CircuitError
from interp.parts.graph import Part
from interp.parts.nodes import FEATURES
from interp.tasks.metric import Metric
from interp.tasks.pairs.token_pairs import TokenPair, digest
from interp.tasks.replacements import Ablation

PartSet = frozenset[Part]
NONE: Final[PartSet] = frozenset()


class Runner(Protocol):
    """What the evaluation of circuits asks of a model and a task; one runner has one level, ablation and metric."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part of the level, without the ones that are in every circuit."""

    @property
    def full(self) -> PartSet:
        """The set that is the whole model: the parts, and at features the errors."""

    @property
    def held(self) -> PartSet:
        """What every circuit has beside its own parts; the model with everything ablated has none of it."""

    @property
    def pairs(self) -> Sequence[TokenPair]:
        """The pairs that the metric is taken on."""

    @property
    def metric(self) -> Metric:
        """What is measured; its normalised form differs by a factor that cancels in every ratio, and is not used."""

    @property
    def ablation(self) -> Ablation:
        """What replaces the value of a part outside a set."""

    def metrics(self, sets: Sequence[PartSet], show_progress: bool | None) -> dict[PartSet, np.ndarray]:
        """The metric of every set on every pair [example], everything outside the set ablated.

        Raises: CircuitError where it is not finite.
        """


def check_dictionaries(wanted: Sequence[str], given: Sequence[str]) -> None:
    """Refuse dictionaries that are not those that a circuit or scores belong to. Raises: CircuitError."""
    if set(wanted) != set(given):
        odd = [d for d in given if d not in wanted] or ["none for these"]
        lacking = [d for d in wanted if d not in given] or ["no more"]
        raise CircuitError(
            f"these features belong to other dictionaries: given {'; '.join(odd)}; expected {'; '.join(lacking)}."
        )


def check_parts(runner: Runner, parts: Sequence[Part], level: str) -> None:
    """Refuse parts that the runner's model does not have. Raises: CircuitError."""
    known = frozenset(runner.parts)
    if odd := next((part for part in parts if part not in known), None):
        what = {"edges": "an edge", FEATURES: "a feature"}.get(level, "a node")
        raise CircuitError(f"{odd.name} is not {what} of level {level!r} on this model; use parts of this model.")


def is_held_out(scored: Sequence[str], pairs: Sequence[TokenPair], claim: bool | None) -> bool:
    """Whether none of the pairs is among the `scored` hashes. Raises: CircuitError for a claim that is not so."""
    shared = set(scored) & set(digest(pairs))
    if claim and shared:
        raise CircuitError(
            f"held_out=True, but {len(shared)} of the {len(pairs)} pairs were used to choose the circuit."
        )
    return bool(scored) and not shared if claim is None else claim
