"""The interactive view of a circuit as plain data: nodes and edges with their places and facts, the stops of the slider,
and what each node does. Positions are made here, so that the same circuit always gives the same picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, cast

from circuits.report.drawing.box_places import Key, Placed, ends, key_of, row_of
from circuits.report.drawing.feature_boxes import place as site_of
from circuits.report.drawing.layered import box_name
from circuits.report.drawing.shared_groups import joins, role
from circuits.report.view.view_anatomy import about, examples, reasons
from circuits.report.view.view_layouts import (
    FEWEST,
    LEAST,
    PER_NODE,
    Layout,
    always,
    as_data,
    entering_at,
    first_size,
    layouts,
    most_edges,
)
from circuits.report.view.view_order import chosen_stop, stops
from circuits.report.view.view_parts import Facts, Parts, is_end
from circuits.report.view.view_table import table
from circuits.report.view.view_words import arrows, left_out, metric_of, no_edges, notes
from circuits.terms.words import goal, kind_name
from interp.formatting.text import visible

if TYPE_CHECKING:
    from circuits.circuit.circuit import Circuit
    from circuits.runs.record import Record
    from interp.parts.graph import Edge, Part
    from interp.parts.nodes import Node
    from interp.scores.scores import Scores

MOST_EDGES: Final = 2000
MOST_NODES: Final = 600


def view(record: Record) -> dict[str, Any] | None:
    """The view of the circuit of a run; None where it has none."""
    if record.circuit is None:
        return None
    parts = held(record, record.circuit)
    facts, linked = Facts(parts.scores), Facts(parts.scores if record.circuit.level == "edges" else parts.linked)
    found = layouts(parts, linked)
    slider = stops(parts.circuit, parts.scores, record.evaluation, notes(parts, record.evaluation))
    nodes = _nodes(record, parts, found[-1].placed, Facts(None) if parts.of_edges else facts)
    ids = {name: node["id"] for name, node in nodes.items()}
    edges, arrows_of = _edges(parts, linked, ids)
    rows = {node["id"]: node.pop("row") for node in nodes.values()}
    return {
        "level": parts.circuit.level,
        "nodes": list(nodes.values()),
        "edges": edges,
        "layouts": [as_data(layout, ids, arrows_of, rows) for layout in found],
        **_first_view(parts, found, facts),
        "joins": joins(parts.shared, nodes),
        "arrows": arrows(parts, record.anatomy),
        "stops": slider,
        "start": chosen_stop(slider),
        "left": left_out(parts),
        **_signs(list(nodes.values()), edges),
        "goal": goal(metric_of(parts)),
        "measured": record.evaluation is not None,
        "noEdges": no_edges(record) if not edges else "",
        "examples": examples(record.anatomy),
        "reasons": reasons(record.anatomy),
        "table": table(parts.circuit, facts),
    }


def _first_view(parts: Parts, found: Sequence[Layout], facts: Facts) -> dict[str, Any]:
    """How much is drawn before one asks for more: parts, in which order, and edges."""
    from circuits.evaluation.faithfulness import counted

    own, staged = min(len(parts.circuit), parts.n_held), len(found) > 1
    return {
        "first": first_size(found, own),
        "parts": counted(parts.circuit.level),
        "order": "strongest" if _falls(parts.order[:own], facts) else "first",
        "drawn": min(most_edges(parts, len(parts.circuit)), len(parts.edges)),
        "perNode": PER_NODE if staged and parts.circuit.level != "features" and not parts.of_edges else 0,
        "fewest": FEWEST,
        "least": 0.0 if parts.of_edges else LEAST,
    }


def _signs(nodes: Sequence[dict[str, Any]], edges: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """Whether anything has a colour, whether colours have a sign, and whether only those of the edges do."""
    return {
        "scored": any(part["sign"] != "plain" for part in [*nodes, *edges]),
        "signed": any(part["works"] for part in [*nodes, *edges]),
        "mixed": any(edge["works"] for edge in edges) and any(n["sign"] == "pos" and not n["works"] for n in nodes),
    }


def _falls(parts: Sequence[Part], facts: Facts) -> bool:
    """Whether each part is at least as important, by size, as the one after it."""
    sizes = [abs(facts.of(part.name, 0.0)["importance"] or 0.0) for part in parts]
    return bool(sizes) and sizes[0] > 0 and all(a >= b for a, b in pairwise(sizes))


# ---------------------------------------------------------------- what is held


def held(record: Record, circuit: Circuit) -> Parts:
    """The parts that the page holds: the circuit, what follows it in the ranking, and the edges between them."""
    from circuits.circuit.selection import order_of

    scores = record.scores[0] if record.scores and record.scores[0].provenance.level == circuit.level else None
    order = order_of(circuit, scores)
    if circuit.level == "edges":
        edges = cast("list[Edge]", order[:MOST_EDGES])
        return Parts(circuit, scores, order, [], edges, len(order), scores, [])
    nodes = cast("list[Node]", order[:MOST_NODES])
    linked = record.feature_edges if circuit.level == "features" else record.node_edges
    between = _between(linked, nodes)
    sites = _sites(record, [*nodes, *ends(between)]) if circuit.level == "features" else []
    return Parts(circuit, scores, order, nodes, between[:MOST_EDGES], len(between), linked, sites)


def _between(linked: Scores | None, nodes: Sequence[Node]) -> list[Edge]:
    """The scored edges both of whose ends are among the nodes, or are no parts that a circuit lists; strongest first."""
    if linked is None:
        return []
    known = {box_name(node) for node in nodes}
    edges = linked.edges
    found = [edges[i] for i in linked.rank().tolist()]
    return [e for e in found if all(box_name(n) in known or is_end(n) for n in (e.sender, e.receiver))]


def _sites(record: Record, nodes: Sequence[Node]) -> list[str]:
    """The rows of features, in the order of the forward pass."""
    if record.features is not None:
        return [fact.target for fact in record.features.dictionaries]
    own = {site_of(node): node for node in nodes if node.layer is not None or node.kind != "logits"}
    return sorted(own, key=lambda name: (own[name].layer is not None, own[name].layer or 0, name))


# ---------------------------------------------------------------- nodes and edges


def _nodes(record: Record, parts: Parts, placed: Placed, facts: Facts) -> dict[str, dict[str, Any]]:
    """Every node that is drawn, most important first. `at`: the size from which it is in, 0 for those that are in with any edge."""
    from circuits.circuit.circuit import component

    drawn = [*parts.nodes, *ends(parts.edges), *always(parts)]
    order = {box_name(node): i for i, node in enumerate(parts.nodes, 1)}
    inside = {node.name for node in parts.circuit.nodes}
    limit, told, at = facts.limit(parts.nodes), about(record), entering_at(parts)
    found: dict[str, dict[str, Any]] = {}
    for node in drawn:
        name = box_name(node)
        own = node if name == node.name else component(node)
        if name in found or name not in placed.nodes:
            continue
        place = placed.nodes[name]
        found[name] = {
            "id": f"n{len(found)}", "name": visible(name), "label": visible(place.label), "kind": place.kind,
            "what": _what(own, place.kind), "role": role(own, place.kind), "layer": own.layer, "row": row_of(own), **facts.of(name, limit),
            "at": at.get(name, 0), "loose": (name not in order and own.kind not in ("embed", "logits")) or parts.of_edges,
            "chosen": name in inside, "about": told.get(name),
        }  # fmt: skip
    return found


def _what(node: Node, kind: str) -> str:
    """What a node is, in words."""
    if kind == "kv":
        return (
            "error of a dictionary"
            if node.kind.endswith(".error")
            else "keys and values that several heads share; no part of its own"
        )
    where = "" if node.layer is None else f", layer {node.layer}"
    whose = f" of the {node.stack}" if node.stack else ""
    return f"{kind_name(node.kind, one=True)}{whose}{where}"


def _edges(parts: Parts, facts: Facts, ids: dict[str, str]) -> tuple[list[dict[str, Any]], dict[str, Key]]:
    """Every edge that the page holds, strongest first, and the arrow of each."""
    order = {part.name: i for i, part in enumerate(parts.edges, 1)} if parts.of_edges else {}
    inside = {part.name for part in parts.circuit.parts}
    limit = facts.limit(parts.edges)
    known = [(edge, facts.of(edge.name, limit)) for edge in parts.edges]
    known.sort(key=lambda both: -abs(both[1]["importance"] or 0.0))
    found, arrows = [], {}
    for i, (edge, facts_of) in enumerate(known):
        sender, receiver, channel = arrows[f"e{i}"] = key_of(edge)
        found.append(
            {
                "id": f"e{i}", "source": ids[sender], "target": ids[receiver], "name": visible(edge.name), "channel": channel,
                "at_position": "" if edge.position is None else visible(str(edge.position)),
                "what": kind_name(edge.kind, one=True), **facts_of, "at": order.get(edge.name, 0), "chosen": edge.name in inside,
            }
        )  # fmt: skip
    return found, arrows
