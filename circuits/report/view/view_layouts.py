"""Where everything of the interactive view stands. A circuit that can be read whole has one layout. Of a larger one the first view is what
fits the frame at a size that can be read, the strongest first; larger layouts, which are moved through, come with the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from circuits.report.drawing.box_places import Key, Placed, ends, places
from circuits.report.drawing.curves import weights
from circuits.report.drawing.feature_boxes import place as site_of
from circuits.report.drawing.layered import box_name
from circuits.report.drawing.shared_groups import entering
from circuits.report.sections.features_section import MOST_DRAWN
from circuits.report.view.view_parts import is_end
from interp.formatting.text import visible

if TYPE_CHECKING:
    from circuits.report.view.view_parts import Facts, Parts
    from interp.parts.graph import Edge
    from interp.parts.nodes import Node

#: Edges drawn at first.
DRAWN: Final = 300
#: Of many neurons or features, so many of a row have a box, and those with an edge; the others are dots.
BOXED: Final = 5
#: A circuit of more nodes than this draws most of them as dots.
MANY: Final = 60
#: Edges drawn at first for each node of a circuit of nodes, of at least so many nodes.
PER_NODE: Final = 4
FEWEST: Final = 6
#: Of a circuit of nodes, edges below this share of the largest are drawn when one asks.
LEAST: Final = 0.02


@dataclass(frozen=True)
class Layout:
    """The first `size` parts in their places."""

    size: int
    placed: Placed


def layouts(parts: Parts, facts: Facts) -> list[Layout]:
    """From that of the first view to that of all parts that the page holds. `facts`: of the edges."""
    own, whole = min(len(parts.circuit), parts.n_held), placed_parts(parts)
    shown = _shown(parts, facts, own)
    if whole.fits(shown):
        return [Layout(parts.n_held, whole)]
    first = _largest(parts, facts, own)
    sizes = [first]
    while sizes[-1] < own:
        sizes.append(min(2 * sizes[-1], own))
    staged = [Layout(size, _stage(parts, facts, size)) for size in sizes]
    return [*staged, Layout(parts.n_held, whole)]


def first_size(found: Sequence[Layout], own: int) -> int:
    """How many parts of the chosen circuit, of `own`, are drawn at first."""
    return own if len(found) == 1 else found[0].size


def _largest(parts: Parts, facts: Facts, own: int) -> int:
    """The largest number of parts that fit the frame; more parts need more room, or nearly so, which bisection uses."""
    low, high = min(FEWEST, own), own
    while low < high:
        middle = (low + high + 1) // 2
        fits = _stage(parts, facts, middle, routed=False).fits(_shown(parts, facts, middle))
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


# ---------------------------------------------------------------- what is drawn


def entering_at(parts: Parts) -> dict[str, int]:
    """Box -> the size from which it is in; those that are in with any edge are left out."""
    order = {box_name(node): i for i, node in enumerate(parts.nodes, 1)}
    groups = {} if parts.of_edges else entering(ends(parts.edges), parts.shared, order, len(parts.order) + 1)
    return {**groups, **order}


def most_edges(parts: Parts, size: int) -> int:
    """How many edges are drawn, before one asks for more, of a circuit of some size: of nodes enough to see its ways, few enough to follow them."""
    if parts.of_edges:
        return DRAWN
    return min(DRAWN, MOST_DRAWN if parts.circuit.level == "features" else PER_NODE * max(FEWEST, size))


def _first_edges(parts: Parts, facts: Facts, size: int) -> list[Edge]:
    """The edges that are drawn of a circuit of some size before one asks for more."""
    if parts.of_edges:
        return parts.edges[: min(size, DRAWN)]
    at, limit = entering_at(parts), facts.limit(parts.edges)
    inside = [e for e in parts.edges if max(at.get(box_name(n), 0) for n in (e.sender, e.receiver)) <= size]
    return [e for e in inside if facts.of(e.name, limit)["share"] >= LEAST][: most_edges(parts, size)]


def _shown(parts: Parts, facts: Facts, size: int) -> set[str]:
    """The boxes and dots that are drawn of a circuit of some size."""
    names = {box_name(node) for node in ends(_first_edges(parts, facts, size))}
    return names if parts.of_edges else names | {node.name for node in [*parts.nodes[:size], *always(parts)]}


def always(parts: Parts) -> list[Node]:
    """The ends of a circuit of heads or blocks, which are drawn with any of its parts."""
    from interp.parts.nodes import Node

    if parts.circuit.level not in ("heads", "blocks"):
        return []
    scored = [part for part in (parts.scores.parts if parts.scores else ()) if isinstance(part, Node)]
    stacks = [node.stack for node in scored if node.kind == "embed"]
    return [*(Node("embed", stack=stack) for stack in stacks or [""]), Node("logits")]


# ---------------------------------------------------------------- places


def _stage(parts: Parts, facts: Facts, size: int, routed: bool = True) -> Placed:
    """The first parts and the edges that are drawn of them, with the strongest edges of each that may be asked for, and nothing else."""
    first = _first_edges(parts, facts, size)
    nodes = [] if parts.of_edges else [*always(parts), *parts.nodes[:size]]
    shown = {box_name(node) for node in [*nodes, *ends(first)]}
    edges = list(dict.fromkeys([*first, *([] if parts.of_edges else _ways(parts.edges, shown))]))
    return places(edges, first, nodes, [], parts.rows, shared=_among(parts, shown), shown=shown, routed=routed)


def _ways(edges: Sequence[Edge], shown: set[str]) -> list[Edge]:
    """The strongest edge into and out of each box, to and from others of these. `edges`: strongest first."""
    found: dict[tuple[str, str], Edge] = {}
    for edge in edges:
        sender, receiver = box_name(edge.sender), box_name(edge.receiver)
        if sender in shown and receiver in shown:
            found.setdefault((sender, "out"), edge)
            found.setdefault((receiver, "in"), edge)
    return list(found.values())


def _among(parts: Parts, shown: set[str]) -> dict[str, str]:
    return {head: group for head, group in parts.shared.items() if {head, group} <= shown}


def placed_parts(parts: Parts) -> Placed:
    """Every part in its place: the edges of the chosen circuit pull its boxes together, the others find room."""
    from circuits.circuit.circuit import component

    inside = frozenset(parts.circuit.parts)
    if parts.of_edges:
        pull = [e for e in parts.edges if e in inside][:DRAWN]
        shown = {box_name(node) for node in ends(pull)}
        return places(parts.edges, pull, [], [], parts.rows, shared=parts.shared, shown=shown)
    pull = [
        e for e in parts.edges if all(n in inside or is_end(n) for n in (component(e.sender), component(e.receiver)))
    ]
    boxed, dots = _boxed(parts)
    shown = (
        {part.name for part in inside}
        | {box_name(node) for node in ends(pull)}
        | {node.name for node in always(parts)}
        | {"embed", "logits"}
    )
    return places(parts.edges, pull[:DRAWN], boxed, dots, parts.rows, shared=parts.shared, shown=shown)


def _boxed(parts: Parts) -> tuple[list[Node], list[Node]]:
    """The nodes with a box, and those that are dots."""
    if parts.circuit.level not in ("neurons", "features") or len(parts.nodes) <= MANY:
        return [*always(parts), *parts.nodes], []
    joined, in_row = {box_name(node) for node in ends(parts.edges)}, Counter[str]()
    boxed = []
    for node in parts.nodes:
        row = site_of(node)
        in_row[row] += 1
        if node.name in joined or in_row[row] <= BOXED:
            boxed.append(node)
    kept = frozenset(boxed)
    return boxed, [node for node in parts.nodes if node not in kept]


# ---------------------------------------------------------------- as data


def as_data(
    found: Layout, ids: Mapping[str, str], edges: Mapping[str, Key], layers: Mapping[str, str]
) -> dict[str, Any]:
    """A layout as plain data. `ids`: box -> id of the node; `edges`: id of an edge -> its arrow; `layers`: id of a node -> its row."""
    placed = found.placed
    curves = {key: _curve(placed, key) for key in placed.curves}
    return {
        "size": found.size,
        "names": placed.names,
        "rows": [
            {
                "label": visible(strip.label), "even": i % 2 == 0, "y": round(strip.y, 1), "high": round(strip.high, 1), "folded": strip.folded,
                "hides": [node for node, row in layers.items() if row in strip.names] if strip.folded else [],
            }
            for i, strip in enumerate(placed.strips)
        ],
        "places": {
            ids[name]: [round(n.x, 1), round(n.y, 1), round(n.width, 1), int(n.dot)] for name, n in placed.nodes.items() if name in ids
        },
        "curves": {i: curves[key] for i, key in edges.items() if key in curves},
    }  # fmt: skip


def _curve(placed: Placed, key: Key) -> list[Any]:
    """Where an arrow begins and ends, from the middles of its boxes, and its control points as `weights`."""
    curve, a, b = placed.curves[key], placed.nodes[key[0]], placed.nodes[key[1]]
    start = [round(curve.start[0] - a.x, 1), round(curve.start[1] - a.y, 1)]
    return [start, [round(curve.end[0] - b.x, 1), round(curve.end[1] - b.y, 1)], *weights(curve)]
