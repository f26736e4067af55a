"""What the drawing of a circuit must say in words: what its edges are worth, what is left out, why there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circuits.report.view_places import ends
from interp.display.numbers import count
from interp.display.text import visible

if TYPE_CHECKING:
    from circuits.evaluation import Evaluation
    from circuits.record import Record
    from circuits.report.view import Parts


def metric_of(parts: Parts) -> str:
    """The metric of the scores that are drawn."""
    scored = parts.scores or parts.linked
    return scored.provenance.metric if scored else ""


def notes(parts: Parts, evaluation: Evaluation | None) -> list[tuple[int, str]]:
    """What must be said of circuits larger than a size."""
    reason = visible(evaluation.reason.rstrip(". ")) if evaluation is not None else ""
    said = [(-1, f"Faithfulness is undefined: {reason}.")] if reason else []
    said.append((parts.n_held, f"The page holds the first {count(parts.n_held)} of them."))
    if parts.edges and not parts.of_edges:
        scored = {node.name for node in ends(parts.edges)} & {node.name for node in parts.nodes}
        features = parts.circuit.level == "features"
        own = len(scored) if features else len(parts.circuit)
        first = "first features" if features else "nodes"
        said.append((own, f"Edges were scored only between the {first} of the chosen circuit."))
    return said


def arrows(parts: Parts) -> str:
    """How the edges of a circuit of nodes were scored, which says nothing of the nodes."""
    if parts.of_edges or not parts.edges or parts.linked is None:
        return ""
    p = parts.linked.provenance
    return "arrows: exact" if p.exact else f"arrows: estimated by {visible(p.method)}, not checked in this run"


def left_out(parts: Parts) -> str:
    """What the page does not hold, in words."""
    said = []
    if (more := parts.n_edges - len(parts.edges)) > 0:
        said.append(f"{count(more)} weaker edges are not on this page")
    if not parts.of_edges and (more := len(parts.order) - len(parts.nodes)) > 0:
        said.append(f"{count(more)} less important {parts.circuit.level} are not on this page")
    return "; ".join(said)


def no_edges(record: Record) -> str:
    """Why a drawing of nodes has no edges."""
    reason = record.anatomy.reason("edges") if record.anatomy is not None else ""
    if record.features is not None:
        reason = reason or record.features.edges_reason
    return visible(f"No edges are drawn: {reason or 'edges between these nodes were not scored in this run.'}")
