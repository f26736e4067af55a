"""The interactive view of a circuit as plain data: nodes and edges with their places and facts, the stops of the slider,
and what each node does. Positions are made here, so that the same circuit always gives the same picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from circuits.report.drawing.box_places import Placed, as_data, ends, key_of, places
from circuits.report.drawing.curves import weights
from circuits.report.drawing.feature_boxes import place as site_of
from circuits.report.drawing.layered import box_name
from circuits.report.drawing.shared_groups import entering, joins, role
from circuits.report.sections.features_section import MOST_DRAWN
from circuits.report.view.view_anatomy import about, examples, reasons
from circuits.report.view.view_order import chosen_stop, stops
from circuits.report.view.view_parts import Facts, Parts
from circuits.report.view.view_table import table
from circuits.report.view.view_words import arrows, left_out, metric_of, no_edges, notes
from circuits.terms.words import goal, kind_name
from interp.formatting.text import visible

if TYPE_CHECKING:
    from circuits.circuit.circuit import Circuit
    from circuits.runs.record import Record
    from interp.parts.graph import Edge
    from interp.parts.nodes import Node
    from interp.scores.scores import Scores

MOST_EDGES: Final = 2000
MOST_NODES: Final = 600
#: Edges drawn at first.
DRAWN: Final = 300
#: Of many neurons or features, so many of a row have a box, and those with an edge; the others are dots.
BOXED: Final = 5
#: A circuit of more nodes than this draws most of them as dots.
MANY: Final = 60
#: Edges drawn at first for each node of a circuit of nodes.
PER_NODE: Final = 4
#: Of a circuit of nodes, edges below this share of the largest are drawn when one asks.
LEAST: Final = 0.02


def view(record: Record) -> dict[str, Any] | None:
    """The view of the circuit of a run; None where it has none."""
    if record.circuit is None:
        return None
    parts = held(record, record.circuit)
    placed, facts = placed_parts(parts), Facts(parts.scores)
    slider = stops(parts.circuit, parts.scores, record.evaluation, notes(parts, record.evaluation))
    nodes = _nodes(record, parts, placed, Facts(None) if parts.of_edges else facts)
    ids = {name: node["id"] for name, node in nodes.items()}
    edges = _edges(parts, placed, facts if parts.of_edges else Facts(parts.linked), ids)
    return {
        "level": parts.circuit.level,
        "rows": [{"label": visible(name), "y": round(y, 1)} for name, y in placed.strips],
        "row": placed.row,
        "nodes": list(nodes.values()),
        "edges": edges,
        "joins": joins(parts.shared, nodes),
        "arrows": arrows(parts, record.anatomy),
        "stops": slider,
        "start": chosen_stop(slider),
        "drawn": _drawn_first(parts),
        "least": 0.0 if parts.of_edges else LEAST,
        "left": left_out(parts),
        **_signs(list(nodes.values()), edges),
        "goal": goal(metric_of(parts)),
        "measured": record.evaluation is not None,
        "noEdges": no_edges(record) if not edges else "",
        "examples": examples(record.anatomy),
        "reasons": reasons(record.anatomy),
        "table": table(parts.circuit, facts),
    }


def _signs(nodes: Sequence[dict[str, Any]], edges: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """Whether anything has a colour, whether colours have a sign, and whether only those of the edges do."""
    return {
        "scored": any(part["sign"] != "plain" for part in [*nodes, *edges]),
        "signed": any(part["works"] for part in [*nodes, *edges]),
        "mixed": any(edge["works"] for edge in edges) and any(n["sign"] == "pos" and not n["works"] for n in nodes),
    }


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
    found = [linked.edges[i] for i in linked.rank().tolist()]
    return [e for e in found if all(box_name(n) in known or _is_end(n) for n in (e.sender, e.receiver))]


def _is_end(node: Node) -> bool:
    """Whether a node is in every circuit, so that none lists it: the embedding, the logits, errors, shared K/V readers."""
    return node.layer is None or node.kind.endswith(".error") or node.grouped


def _sites(record: Record, nodes: Sequence[Node]) -> list[str]:
    """The rows of features, in the order of the forward pass."""
    if record.features is not None:
        return [fact.target for fact in record.features.dictionaries]
    own = {site_of(node): node for node in nodes if node.layer is not None or node.kind != "logits"}
    return sorted(own, key=lambda name: (own[name].layer is not None, own[name].layer or 0, name))


def placed_parts(parts: Parts) -> Placed:
    """Every part in its place: the edges of the chosen circuit pull its boxes together, the others find room."""
    from circuits.circuit.circuit import component

    inside = frozenset(parts.circuit.parts)
    if parts.of_edges:
        pull = [e for e in parts.edges if e in inside][:DRAWN]
        shown = {box_name(node) for node in ends(pull)}
        return places(parts.edges, pull, [], [], [], shared=parts.shared, shown=shown)
    pull = [
        e for e in parts.edges if all(n in inside or _is_end(n) for n in (component(e.sender), component(e.receiver)))
    ]
    boxed, dots = _boxed(parts)
    shown = {part.name for part in inside} | {box_name(node) for node in ends(pull)} | {"embed", "logits"}
    return places(parts.edges, pull[:DRAWN], boxed, dots, parts.sites, shared=parts.shared, shown=shown)


def _boxed(parts: Parts) -> tuple[list[Node], list[Node]]:
    """The nodes with a box, and those that are dots."""
    from interp.parts.nodes import Node

    always = [Node("embed"), Node("logits")] if parts.circuit.level in ("heads", "blocks") else []
    if parts.circuit.level not in ("neurons", "features") or len(parts.nodes) <= MANY:
        return [*always, *parts.nodes], []
    joined, in_row = {box_name(node) for node in ends(parts.edges)}, Counter[str]()
    boxed = []
    for node in parts.nodes:
        row = site_of(node)
        in_row[row] += 1
        if node.name in joined or in_row[row] <= BOXED:
            boxed.append(node)
    kept = frozenset(boxed)
    return boxed, [node for node in parts.nodes if node not in kept]


def _drawn_first(parts: Parts) -> int:
    """How many edges are drawn before one asks for more: of a circuit of nodes enough to see its ways, few enough to follow them."""
    if parts.of_edges:
        return min(DRAWN, len(parts.edges))
    wanted = MOST_DRAWN if parts.circuit.level == "features" else PER_NODE * max(6, len(parts.circuit))
    return min(DRAWN, wanted, len(parts.edges))


# ---------------------------------------------------------------- nodes and edges


def _nodes(record: Record, parts: Parts, placed: Placed, facts: Facts) -> dict[str, dict[str, Any]]:
    """Every node that is drawn, most important first. `at`: the size from which it is in, 0 for those that are in with any edge."""
    from circuits.circuit.circuit import component

    drawn = [*parts.nodes, *ends(parts.edges), *_boxed(parts)[0]]
    order = {box_name(node): i for i, node in enumerate(parts.nodes, 1)}
    inside = {node.name for node in parts.circuit.nodes}
    limit, told, group_at = facts.limit(parts.nodes), about(record), _groups_at(parts, order)
    found: dict[str, dict[str, Any]] = {}
    for node in drawn:
        name = box_name(node)
        own = node if name == node.name else component(node)
        if name in found or name not in placed.nodes:
            continue
        place = placed.nodes[name]
        found[name] = {
            "id": f"n{len(found)}", "name": visible(name), "label": visible(place.label), "kind": place.kind,
            "what": _what(own, place.kind), "role": role(own, place.kind), "layer": own.layer, **as_data(place), **facts.of(name, limit),
            "at": order.get(name, group_at.get(name, 0)), "loose": (name not in order and own.name not in ("embed", "logits")) or parts.of_edges,
            "chosen": name in inside, "about": told.get(name),
        }  # fmt: skip
    return found


def _groups_at(parts: Parts, order: dict[str, int]) -> dict[str, int]:
    """The size from which shared keys and values are in; the edges of a circuit of edges bring them."""
    return {} if parts.of_edges else entering(ends(parts.edges), parts.shared, order, len(parts.order) + 1)


def _what(node: Node, kind: str) -> str:
    """What a node is, in words."""
    if kind == "kv":
        return (
            "error of a dictionary"
            if node.kind.endswith(".error")
            else "keys and values that several heads share; no part of its own"
        )
    where = "" if node.layer is None else f", layer {node.layer}"
    return f"{kind_name(node.kind, one=True)}{where}"


def _edges(parts: Parts, placed: Placed, facts: Facts, ids: dict[str, str]) -> list[dict[str, Any]]:
    """Every edge that the page holds, strongest first."""
    order = {part.name: i for i, part in enumerate(parts.edges, 1)} if parts.of_edges else {}
    inside = {part.name for part in parts.circuit.parts}
    limit = facts.limit(parts.edges)
    found = []
    for edge in parts.edges:
        sender, receiver, channel = key = key_of(edge)
        curve = placed.curves[key]
        along, off = weights(curve)
        a, b = placed.nodes[sender], placed.nodes[receiver]
        found.append(
            {
                "source": ids[sender], "target": ids[receiver], "name": visible(edge.name), "channel": channel,
                "what": kind_name(edge.kind, one=True), **facts.of(edge.name, limit), "at": order.get(edge.name, 0),
                "chosen": edge.name in inside, "along": along, "off": off,
                "start": [round(curve.start[0] - a.x, 1), round(curve.start[1] - a.y, 1)],
                "end": [round(curve.end[0] - b.x, 1), round(curve.end[1] - b.y, 1)],
            }
        )  # fmt: skip
    found.sort(key=lambda e: -abs(e["importance"] or 0.0))
    return [{"id": f"e{i}", **edge} for i, edge in enumerate(found)]
