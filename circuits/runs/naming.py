"""What the parts of a run are called: whether it is about nodes, edges or features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circuits.terms.words import EDGES, FEATURES, NODES

if TYPE_CHECKING:
    from circuits.runs.record import Record


def of_edges(record: Record) -> bool:
    """Whether a run scores edges."""
    if record.scores:
        return record.scores[0].provenance.level == "edges"
    return record.circuit is not None and record.circuit.level == "edges"


def of_features(record: Record) -> bool:
    """Whether a run scores features of dictionaries."""
    return bool(record.scores) and record.scores[0].provenance.level == "features"


def counted(record: Record) -> str:
    """What the circuit of a run counts: nodes, edges or features."""
    level = record.circuit.level if record.circuit is not None else "edges" if of_edges(record) else ""
    return level if level in ("edges", "features") else "nodes"


def words(record: Record) -> dict[str, str]:
    """What the parts of a run are called."""
    return EDGES if of_edges(record) else FEATURES if of_features(record) else NODES
