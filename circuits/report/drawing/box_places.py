"""Where the nodes and edges of a drawn circuit stand, in pixels: y is the layer, from the embedding at the bottom to the
logits at the top. What is not important enough for a box, of a circuit of many neurons or features, is a dot beside its row.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from circuits.report.drawing.curves import Bend, upright
from circuits.report.drawing.feature_boxes import feature_boxes, height
from circuits.report.drawing.feature_boxes import place as site_of
from circuits.report.drawing.layered import box_name, layered, row_at, row_of_layer
from circuits.report.drawing.routes import Rows, Wire, routes
from circuits.report.drawing.row_heights import HIGH, Heights, Strip, heights, reach

if TYPE_CHECKING:
    from interp.parts.graph import Edge
    from interp.parts.nodes import Node

DOT: Final = 11.0
_PITCH: Final = 15.0
_LETTER: Final = 7.0
_LEAST: Final = 48.0
#: Between boxes of a row, and the least where the frame is too narrow for that; arrows pass between.
_APART: Final = 26.0
_CLOSE: Final = 20.0
#: So high is a row that holds more dots than fit into few columns.
_TALL: Final = 98.0
_COLUMNS: Final = 8
#: The frame on a page, and the least scale at which names are read: then they are 11 pixels high.
FRAME: Final = (730.0, 760.0)
READABLE: Final = 0.9
#: Width over height that drawings are stretched towards, and how far.
_SHAPE: Final = 720 / 650
_STRETCH: Final = {"rows": 3.2, "columns": 2.4, "room": 1.4}
#: What is lower than this first gets more room between its rows.
_SMALL: Final = 560.0
#: Room beside the names of rows, and around all.
_BESIDE: Final = 30.0
_AROUND: Final = 20.0
_MOST_WIDE, _MOST_HIGH = (side / READABLE - _AROUND for side in FRAME)
#: Where arrows leave and enter, as a share of the width of a box, at most so far from its middle.
_LEAN: Final = 0.3
#: How far up a curve is held upright, as a share of the height between its ends.
_REACH: Final = 0.4
_CHANNELS: Final = ("q", "k", "v")
#: An arrow: the boxes that it joins, and the channel that it enters by.
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Place:
    """One node: the middle of its box or dot, and how wide it is."""

    name: str
    label: str
    kind: str
    x: float
    y: float
    width: float
    dot: bool = False


@dataclass(frozen=True)
class Placed:
    """`strips`: those of the layers or sites, the lowest first; `curves`: that of each arrow."""

    nodes: dict[str, Place]
    strips: tuple[Strip, ...]
    curves: Mapping[Key, Bend]

    @property
    def names(self) -> float:
        """How wide the names of rows are; what folded ones say runs on behind the arrows."""
        return _names([strip.label for strip in self.strips if not strip.folded])

    def fits(self, shown: Collection[str]) -> bool:
        """Whether some of its nodes can be read in the frame of a page, all at once."""
        there = [self.nodes[name] for name in shown if name in self.nodes]
        if not there:
            return True
        wide = max(n.x + n.width / 2 for n in there) - min(n.x - n.width / 2 for n in there) + self.names
        top, low = reach([node.y for node in there], self.strips)
        return wide <= _MOST_WIDE and low - top <= _MOST_HIGH


def places(
    edges: Sequence[Edge],
    pull: Sequence[Edge],
    boxed: Sequence[Node],
    dots: Sequence[Node],
    rows: Sequence[str],
    *,
    shared: Mapping[str, str],
    shown: Collection[str],
    routed: bool = True,
) -> Placed:
    """Every node in its place. `pull`: the edges whose ends stand near each other; `rows`: the layers (`layer 0`) or the sites of features, first at
    the bottom, of which those without a node are folded; `shared`: head -> the keys and values that it shares; `shown`: what is drawn at
    first, which is to fill the frame; `routed`: whether the arrows get their curves.
    """
    of_layers = not rows or "layer " in rows[0]
    made = _of_layers(edges, pull, boxed, dots, shared) if of_layers else _of_sites(edges, pull, boxed, rows)
    step = max([_LEAST, *(_width(label) for _, label, _, _, _ in made.values())]) + _APART
    step, high = _spaced(made, dots, rows, [box for name, box in made.items() if name in shown], step)
    nodes = {
        name: Place(name, label, kind, x * step, high.y[y], _width(label))
        for name, (kind, label, x, y, _) in made.items()
    }
    right = max((node.x + node.width / 2 for node in nodes.values()), default=0.0)
    beside = _dots(dots, high.strips, right + _APART)
    keys = dict.fromkeys(key_of(edge) for edge in edges) if routed else {}
    curves = _curves(list(keys), nodes, step, shown, right + _APART if beside else math.inf)
    return Placed(nodes | beside, high.strips, curves)


def key_of(edge: Edge) -> Key:
    """The arrow that an edge is drawn as; its positions share one."""
    channel = edge.receiver.kind if edge.receiver.kind in _CHANNELS else ""
    return box_name(edge.sender), box_name(edge.receiver), channel


def _curves(
    keys: Sequence[Key], nodes: Mapping[str, Place], step: float, shown: Collection[str], limit: float
) -> dict[Key, Bend]:
    """The arrows: those between boxes that are drawn at first get past these, the others past all boxes."""
    first = [key for key in keys if key[0] in shown and key[1] in shown]
    then = [key for key in keys if key[0] not in shown or key[1] not in shown]
    found: dict[Key, Bend] = {}
    for own, there in ((first, [node for name, node in nodes.items() if name in shown]), (then, list(nodes.values()))):
        rows = Rows([(node.x, node.y, node.width) for node in there], HIGH, limit)
        wires = [_wire(nodes[a], nodes[b], channel, step) for a, b, channel in own]
        found |= zip(own, routes(wires, rows), strict=True)
    return found


def _wire(a: Place, b: Place, channel: str, step: float) -> tuple[Wire, Bend]:
    """Leaves upwards and enters from below: a head's query on its left, its key in the middle, its value on its right."""
    lean = max(-_LEAN, min(_LEAN, (b.x - a.x) / (6 * step)))
    port = (_CHANNELS.index(channel) - 1) / 3 * b.width if channel else None
    low, top = a.y - HIGH / 2, b.y + HIGH / 2
    wire = Wire(a.x, low, _LEAN * a.width, b.x, top, _LEAN * b.width, port)
    start, end = (a.x + lean * a.width, low), (b.x + (-lean * b.width if port is None else port), top)
    return wire, upright(start, end, _REACH * (low - top))


def _spaced(
    made: Grid, dots: Sequence[Node], rows: Sequence[str], shown: Sequence[Box], step: float
) -> tuple[float, Heights]:
    """The distance of columns and the heights of rows that give what is shown about the shape of the frame; never less than given."""
    lines: dict[str, set[float]] = {row: set() for row in rows}
    below, above = set[float](), set[float]()
    for kind, _, _, y, row in made.values():
        (lines[row] if row else above if kind == "logits" else below).add(y)
    per_row = Counter(row_of(node) for node in dots)
    tall = {row: min(_TALL, 10 + _PITCH * math.ceil(n / _COLUMNS)) for row, n in per_row.items()}
    known = {row: sorted(own) for row, own in lines.items()}, (sorted(below), sorted(above)), tall
    plain = heights(*known)
    if not shown:
        return step, plain
    left, right = (end(x for _, _, x, _, _ in shown) for end in (min, max))
    top, low = reach([plain.y[y] for _, _, _, y, _ in shown], plain.strips)
    room = max(1.0, min(_STRETCH["room"], _SMALL / (low - top)))
    columns, high = right - left + 1, room * (low - top)
    # The dots stand beside the boxes.
    names = _names([strip.label for strip in plain.strips if not strip.folded]) + _beside(per_row, tall)
    step = max(step - _APART + _CLOSE, min(step, (_MOST_WIDE - names) / columns))
    wide = columns * step + names
    # What is too large for the frame is not made larger still.
    if wide > _SHAPE * high:
        return step, heights(*known, room * max(1.0, min(_STRETCH["rows"], wide / (_SHAPE * high), _MOST_HIGH / high)))
    stretched = min(_STRETCH["columns"], (min(_SHAPE * high, _MOST_WIDE) - names) / (columns * step))
    return round(step * max(1.0, stretched), 1), heights(*known, room)


def _beside(per_row: Mapping[str, int], tall: Mapping[str, float]) -> float:
    """How wide the widest block of dots is at the least height of its row, with room before it."""
    columns = [math.ceil(n / max(1, math.floor((tall[row] - 10) / _PITCH))) for row, n in per_row.items()]
    return _PITCH * max(columns) + _APART if columns else 0.0


def _names(labels: Sequence[str]) -> float:
    return _LETTER * max((len(label) for label in labels), default=0) + _BESIDE


def _width(label: str) -> float:
    return max(_LEAST, _LETTER * len(label) + 16)


def ends(edges: Sequence[Edge]) -> list[Node]:
    """The nodes that some edges join, each once."""
    return list({box_name(node): node for edge in edges for node in (edge.sender, edge.receiver)}.values())


#: Kind, label, column, line, and the row that the line belongs to, none for those below and above all rows.
Box = tuple[str, str, float, float, str]
Grid = dict[str, Box]


def _of_layers(
    edges: Sequence[Edge],
    pull: Sequence[Edge],
    boxed: Sequence[Node],
    dots: Sequence[Node],
    shared: Mapping[str, str],
) -> Grid:
    """The boxes in the lines of their layers."""
    made = layered(pull, [*ends(edges), *boxed, *_one_per_layer(boxed, dots)], shared)
    kept = {box_name(node): node for node in [*boxed, *ends(edges)]}
    return {b.name: (b.kind, short(kept[b.name]), b.x, b.y, b.row) for b in made.boxes.values() if b.name in kept}


def short(node: Node) -> str:
    """What is written in the box of a node."""
    if node.kind == "neuron":
        return f"n{node.unit}"
    return f"f{node.unit}" if node.kind.endswith(".feature") else box_name(node)


def _one_per_layer(boxed: Sequence[Node], dots: Sequence[Node]) -> list[Node]:
    """A dot of each layer that has no box, so that the layer has a row."""
    known = {row_at(node) for node in boxed}
    return list({row_at(node): node for node in dots if row_at(node) not in known}.values())


def _of_sites(edges: Sequence[Edge], pull: Sequence[Edge], boxed: Sequence[Node], sites: Sequence[str]) -> Grid:
    boxes = feature_boxes(pull, sites, [*ends(edges), *boxed])
    site = {height(sites, name): name for name in sites}
    return {
        name: (box["kind"], box["label"], box["x"], box["y"], site.get(box["y"], "")) for name, box in boxes.items()
    }


def row_of(node: Node) -> str:
    """The layer or site of a node of neurons or features, or of any node in a layer."""
    if node.kind.endswith(".feature"):
        return site_of(node)
    return f"layer {node.layer}" if node.layer is None else row_of_layer(node.stack, node.layer)


def _dots(dots: Sequence[Node], strips: Sequence[Strip], left: float) -> dict[str, Place]:
    """A block of dots at the right end of each row, in the order in which they enter, column by column."""
    by_row: dict[str, list[Node]] = {}
    for node in dots:
        by_row.setdefault(row_of(node), []).append(node)
    found = {}
    for strip in strips:
        members = by_row.get(strip.names[0], [])
        lines = min(len(members), max(1, math.floor((strip.high - 10) / _PITCH)))
        for i, node in enumerate(members):
            column, line = divmod(i, lines)
            y = strip.y + (line - (lines - 1) / 2) * _PITCH
            kind = "head" if node.kind.endswith(".feature") else node.kind
            found[node.name] = Place(node.name, short(node), kind, left + (column + 0.5) * _PITCH, y, DOT, dot=True)
    return found
