"""What the drawing of a circuit must say in words: what its edges are worth, what is left out, why there are none."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from circuits.report.drawing.box_places import ends
from circuits.report.sections.agreements import RANKS, note
from circuits.runs.agreeing import POOR, bounds
from interp.formatting.numbers import count, number
from interp.formatting.text import visible

if TYPE_CHECKING:
    from circuits.anatomy.anatomy import Anatomy
    from circuits.evaluation.evaluation import Evaluation
    from circuits.report.view.view_parts import Parts
    from circuits.runs.record import Record
    from interp.scores.agreement import Agreement
    from interp.scores.scores import Scores

#: Estimates that are so many times too large or too small are drawn beside exact scores of another size.
FAR: Final = 2.0


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


def arrows(parts: Parts, anatomy: Anatomy | None) -> str:
    """Which of the edges of a circuit of nodes are exact, and what the others are worth; it says nothing of the nodes."""
    if parts.of_edges or not parts.edges or parts.linked is None:
        return ""
    linked, names = parts.linked, {edge.name for edge in parts.edges}
    n = n_exact(linked, names)
    if n == len(names):
        return "arrows: exact"
    by = f"estimated by {visible(linked.provenance.method)}"
    if n:
        said = f" ({_agreement(anatomy.arrows)})" if anatomy is not None and anatomy.arrows is not None else ""
        return f"arrows: {count(n)} exact, {count(len(names) - n)} {by}{said}"
    reason = "" if anatomy is None else visible(anatomy.reason("arrows")).rstrip(". ")
    return f"arrows: {by}, not checked in this run{f': {reason}' if reason else ''}"


def n_exact(linked: Scores, names: Collection[str]) -> int:
    """How many of some edges have exact scores."""
    if linked.exact is None:
        return 0
    return sum(exact for edge, exact in zip(linked.edges, linked.exact.tolist(), strict=True) if edge.name in names)


def _agreement(found: Agreement) -> str:
    """How the estimates agree with exact patching where both are known, with a warning where they do so poorly."""
    row, on = found["all"], f"the {count(found['all'].n)} checked, which have the largest estimates"
    if row.pearson is None:
        return f"Pearson r is undefined on {on}"
    said = [f"Pearson r = {number(row.pearson, 2)}{bounds(row)} on {on}"]
    if RANKS in note(row, found):
        said.append(f"rank correlation only {number(row.spearman, 2)}")
    if row.slope is not None and not 1 / FAR <= row.slope <= FAR:
        said.append(f"there the estimates are {number(row.slope, 2)} times the exact scores")
    if row.pearson < POOR:
        said.append("this is poor: do not trust the estimated ones")
    return "; ".join(said)


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
