"""The edges between the nodes of a circuit: all of them estimated, the strongest patched exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from circuits.circuit.circuit import Circuit, CircuitError
from interp.parts.graph import Edge
from interp.parts.layout import Layout
from interp.parts.nodes import Node
from interp.scores.agreement import Agreement, agreement
from interp.scores.scores import Scores

#: As many as a small circuit has drawn at first.
MOST_CHECKED: Final = 24
_NONE: Final = {
    "blocks": "attention outputs are sums of heads, and edges run between heads and MLPs: find the circuit at level 'heads' or 'edges'.",
    "neurons": "edges run between heads and MLPs, not between neurons: find the circuit at level 'heads' or 'edges'.",
    "features": "edges between features have scores of their own.",
}


def refuse_without_edges(circuit: Circuit) -> None:
    """Raises: CircuitError where the nodes of a circuit are not those that edges run between."""
    if circuit.level != "heads":
        raise CircuitError(_NONE.get(circuit.level, "this circuit is one of edges."))


def between(circuit: Circuit, scores: Scores, layout: Layout) -> Scores:
    """Of scores of all edges those whose ends are both in the circuit, or are the embedding or the logits."""
    inside = {*circuit.nodes, Node("embed"), Node("logits")}
    group = layout.n_heads // layout.n_kv_heads
    return scores.select([i for i, edge in enumerate(scores.edges) if _within(edge, inside, group)])


def _within(edge: Edge, inside: set[Node], group: int) -> bool:
    """Whether both ends are in a set of heads and MLPs; a K/V reader is where a head of its group is."""
    receiver = edge.receiver
    units = (
        range(receiver.unit * group, (receiver.unit + 1) * group)
        if receiver.grouped and receiver.unit is not None
        else [receiver.unit]
    )
    ends = {Node("head", receiver.layer, u) for u in units} if receiver.kind in ("q", "k", "v") else {receiver}
    return edge.sender in inside and bool(ends & inside)


def strongest(estimates: Scores) -> list[str]:
    """The names of the edges that are checked: the first by size."""
    return [estimates.parts[i].name for i in estimates.rank()[:MOST_CHECKED]]


def with_exact(estimates: Scores, exact: Scores, seed: int) -> tuple[Scores, Agreement]:
    """The scores with exact ones in place of the estimates of some edges, which `Scores.exact` marks; and how those estimates agree.

    `exact`: of these edges alone, made under the same conventions. The cost is that of both.
    """
    place = {edge.name: i for i, edge in enumerate(estimates.parts)}
    at = [place[edge.name] for edge in exact.parts]
    values, known = estimates.per_example.copy(), np.zeros(len(estimates.parts), dtype=bool)
    values[:, at], known[at] = exact.per_example, True
    total, n = len(estimates.parts), len(exact.parts)
    sampled = f"{n} of {total} edges: the top {n} by {estimates.provenance.method}" if n < total else "all of them"
    a, b = estimates.provenance, exact.provenance
    provenance = replace(
        a,
        forwards=a.forwards + b.forwards,
        backwards=a.backwards + b.backwards,
        seconds=a.seconds + b.seconds,
        engine=b.engine,
    )
    return Scores(estimates.parts, values, provenance, known), agreement(estimates, exact, seed=seed, sampled=sampled)
