"""What goes in and out: scores, a circuit, or both of the same parts; and both as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.evaluation.evaluation import Evaluation
from circuits.interchange.strict import InterchangeError, members
from interp.errors import MethodError
from interp.parts.graph import Part, parse_edge
from interp.parts.nodes import Node
from interp.scores.provenance import Provenance
from interp.scores.scores import Scores


@dataclass(frozen=True)
class Contents:
    """`scores`, a `circuit` of the same parts, or both; `notes`: what the file that they came from does not say. `edges`, scores of the
    edges between the nodes of the circuit, and `evaluation` are for pictures; other formats have no place for them.

    Raises: InterchangeError where there is neither, or where the circuit holds what was not scored.
    """

    scores: Scores | None = None
    circuit: Circuit | None = None
    notes: tuple[str, ...] = ()
    edges: Scores | None = None
    evaluation: Evaluation | None = None

    def __post_init__(self) -> None:
        if self.scores is None and self.circuit is None:
            raise InterchangeError("neither scores nor a circuit given; expected one of them or both.")
        if self.scores is None or self.circuit is None:
            return
        scored = set(self.scores.parts)
        strange = next((part for part in self.circuit.parts if part not in scored), None)
        if self.scores.provenance.level != self.circuit.level or strange is not None:
            raise InterchangeError(
                f"the circuit (level {self.circuit.level!r}) holds parts that the scores (level {self.scores.provenance.level!r}) "
                f"do not have{f', {strange.name} for one' if strange else ''}; give one of them alone."
            )

    @classmethod
    def of(cls, value: Scores | Circuit | Contents) -> Contents:
        """A value as contents. Raises: InterchangeError for another type."""
        if isinstance(value, Contents):
            return value
        if isinstance(value, Scores):
            return cls(scores=value)
        if isinstance(value, Circuit):
            return cls(circuit=value)
        raise InterchangeError(f"{type(value).__name__} given; expected Scores, a Circuit or Contents of both.")

    @property
    def parts(self) -> tuple[Part, ...]:
        """What was scored; without scores the parts of the circuit."""
        if self.scores is not None:
            return self.scores.parts
        return self.circuit.parts if self.circuit is not None else ()

    @property
    def level(self) -> str:
        """The level of both."""
        if self.scores is not None:
            return self.scores.provenance.level
        return self.circuit.level if self.circuit is not None else ""

    @property
    def source(self) -> tuple[str, str]:
        """Names of the model and the task."""
        owner = self.scores.provenance if self.scores is not None else self.circuit
        return (owner.model, owner.task) if owner is not None else ("", "")


def as_data(contents: Contents) -> dict[str, Any]:
    """All but the numbers, for JSON: the provenance of the scores and the whole circuit; None for what is missing."""
    return {
        "scores": asdict(contents.scores.provenance) if contents.scores is not None else None,
        "circuit": contents.circuit.to_dict() if contents.circuit is not None else None,
    }


def provenance_of(where: str, data: Any) -> Provenance:
    """The inverse of `asdict` on a provenance. Raises: InterchangeError for other keys than this version's."""
    needed = [f.name for f in fields(Provenance) if f.default is MISSING]
    optional = [f.name for f in fields(Provenance) if f.default is not MISSING]
    data = members(f"{where}: the provenance", data, needed, optional)
    if data["importance_sign"] not in (1, -1):
        raise InterchangeError(f"{where}: importance_sign is {data['importance_sign']!r}; expected 1 or -1.")
    for name in ("pairs", "dictionaries"):
        if not all(isinstance(text, str) for text in data.get(name, ())):
            raise InterchangeError(f"{where}: {name!r} of the provenance holds something else than texts.")
    return Provenance(**data)


def circuit_of(where: str, data: Any) -> Circuit:
    """The inverse of `Circuit.to_dict`. Raises: InterchangeError for anything else."""
    try:
        rest = {k: v for k, v in dict(data).items() if k not in ("format", "names", "nodes", "edges")}
        parts = _parts(data)
        lists = {k: tuple(rest.get(k, ())) for k in ("scored_pairs", "dictionaries", "labels")}
        return Circuit(parts=parts, **{**rest, **lists})
    except (TypeError, KeyError, ValueError, AttributeError, MethodError, CircuitError) as error:
        raise InterchangeError(f"{where}: its circuit is not one of ours: {error}.") from error


def _parts(data: Mapping[str, Any]) -> tuple[Part, ...]:
    if data["level"] == "edges":
        return tuple(parse_edge(name) for name in data["edges"])
    return tuple(Node(**node) for node in data["nodes"])
