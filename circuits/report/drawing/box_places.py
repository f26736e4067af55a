"""Where the nodes and edges of a drawn circuit stand, in pixels: y is the layer, from the embedding at the bottom to the
logits at the top. What is not important enough for a box, of a circuit of many neurons or features, is a dot beside its row.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from circuits.report.drawing.curves import Bend, upright
from circuits.report.drawing.feature_boxes import feature_boxes, height
from circuits.report.drawing.feature_boxes import place as site_of
from circuits.report.drawing.layered import DROP, box_name, layered
from circuits.report.drawing.routes import Rows, Wire, routes

if TYPE_CHECKING:
    from interp.parts.graph import Edge
    from interp.parts.nodes import Node

HIGH: Final = 26.0
DOT: Final = 11.0
_PITCH: Final = 15.0
_LETTER: Final = 7.0
_LEAST: Final = 48.0
_APART: Final = 26.0
#: Height of a row of layers, and of a row of sites, which are more.
_ROWS: Final = {"layers": 98.0, "sites": 60.0, "groups": 128.0}
#: Width over height of the frame, and how far rows and columns are stretched towards it.
_FRAME: Final = 720 / 650
_STRETCH: Final = {"rows": 3.2, "columns": 2.4}
#: Room for the names of rows.
_NAMES: Final = 130.0
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
    """`rows`: the name and the height of each layer's or site's strip, its middle; `curves`: that of each arrow."""

    nodes: dict[str, Place]
    rows: tuple[tuple[str, float], ...]
    row: float
    curves: Mapping[Key, Bend]

    @property
    def strips(self) -> list[tuple[str, float]]:
        """The name of each row and the middle of its strip: an MLP stands half a row above the heads of its layer."""
        kinds = {node.kind for node in self.nodes.values()}
        groups = any(node.kind == "kv" and not node.name.endswith(".error") for node in self.nodes.values())
        up = (0.25 - DROP / 2 * groups) * self.row if "mlp" in kinds else 0.0
        return [(name, y - up) for name, y in self.rows]


def places(
    edges: Sequence[Edge],
    pull: Sequence[Edge],
    boxed: Sequence[Node],
    dots: Sequence[Node],
    sites: Sequence[str],
    *,
    shared: Mapping[str, str],
    shown: Collection[str],
) -> Placed:
    """Every node in its place. `pull`: the edges whose ends stand near each other; `sites`: the rows of features, first at the bottom;
    `shared`: head -> the keys and values that it shares; `shown`: what is drawn at first, which is to fill the frame."""
    grid, rows = _of_sites(edges, pull, boxed, sites) if sites else _of_layers(edges, pull, boxed, dots, shared)
    step = max([_LEAST, *(_width(label) for _, label, _, _ in grid.values())]) + _APART
    grouped = not sites and any(kind == "kv" for kind, *_ in grid.values())
    high = _ROWS["sites" if sites else "groups" if grouped else "layers"]
    step, high = _spacing([place for name, place in grid.items() if name in shown], step, high)
    nodes = {
        name: Place(name, label, kind, x * step, -y * high, _width(label)) for name, (kind, label, x, y) in grid.items()
    }
    right = max((node.x + node.width / 2 for node in nodes.values()), default=0.0)
    beside = _dots(dots, rows, high, right + _APART)
    keys = dict.fromkeys(key_of(edge) for edge in edges)
    curves = _curves(list(keys), nodes, step, shown, right + _APART if beside else math.inf)
    return Placed(nodes | beside, tuple((name, -y * high) for name, y in rows.items()), high, curves)


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


def _spacing(shown: Sequence[tuple[str, str, float, float]], step: float, high: float) -> tuple[float, float]:
    """The distances of columns and rows that give what is shown about the shape of the frame; never less than given."""
    if not shown:
        return step, high
    (left, right), (low, top) = ((min(at), max(at)) for at in zip(*((x, y) for _, _, x, y in shown), strict=True))
    wide, tall = (right - left + 1) * step + _NAMES, (top - low + 1) * high
    if wide > _FRAME * tall:
        return step, round(high * min(_STRETCH["rows"], wide / (_FRAME * tall)), 1)
    stretched = (_FRAME * tall - _NAMES) / ((right - left + 1) * step)
    return round(step * min(_STRETCH["columns"], max(1.0, stretched)), 1), high


def _width(label: str) -> float:
    return max(_LEAST, _LETTER * len(label) + 16)


def ends(edges: Sequence[Edge]) -> list[Node]:
    """The nodes that some edges join, each once."""
    return list({box_name(node): node for edge in edges for node in (edge.sender, edge.receiver)}.values())


#: Name -> kind, label, column, row.
Grid = dict[str, tuple[str, str, float, float]]


def _of_layers(
    edges: Sequence[Edge],
    pull: Sequence[Edge],
    boxed: Sequence[Node],
    dots: Sequence[Node],
    shared: Mapping[str, str],
) -> tuple[Grid, dict[str, float]]:
    """The boxes, and the rows of the layers."""
    made = layered(pull, [*ends(edges), *boxed, *_one_per_layer(boxed, dots)], shared)
    rows = {f"layer {layer}": float(row) for layer, row in made.layers}
    kept = {box_name(node) for node in [*boxed, *ends(edges)]}
    short = {node.name: f"n{node.unit}" for node in boxed if node.kind == "neuron"}
    grid = {b.name: (b.kind, short.get(b.name, b.name), b.x, b.y) for b in made.boxes.values() if b.name in kept}
    return grid, rows


def _one_per_layer(boxed: Sequence[Node], dots: Sequence[Node]) -> list[Node]:
    """A dot of each layer that has no box, so that the layer has a row."""
    known = {node.layer for node in boxed}
    return list({node.layer: node for node in dots if node.layer not in known}.values())


def _of_sites(
    edges: Sequence[Edge], pull: Sequence[Edge], boxed: Sequence[Node], sites: Sequence[str]
) -> tuple[Grid, dict[str, float]]:
    boxes = feature_boxes(pull, sites, [*ends(edges), *boxed])
    grid = {name: (box["kind"], box["label"], box["x"], box["y"]) for name, box in boxes.items()}
    rows = {site: height(sites, site) for site in sites}
    return grid, rows


def _dots(dots: Sequence[Node], rows: Mapping[str, float], high: float, left: float) -> dict[str, Place]:
    """A block of dots at the right end of each row, in the order in which they enter, column by column."""
    by_row: dict[str, list[Node]] = {}
    for node in dots:
        key = site_of(node) if node.kind.endswith(".feature") else f"layer {node.layer}"
        by_row.setdefault(key, []).append(node)
    lines = max(1, math.floor((high - 10) / _PITCH))
    found = {}
    for key, members in by_row.items():
        middle, n = -rows[key] * high, len(members)
        for i, node in enumerate(members):
            column, line = divmod(i, min(lines, n))
            y = middle + (line - (min(lines, n) - 1) / 2) * _PITCH
            found[node.name] = Place(node.name, "", "dot", left + (column + 0.5) * _PITCH, y, DOT, dot=True)
    return found


def as_data(place: Place) -> dict[str, Any]:
    """A place as plain data."""
    return {"x": round(place.x, 1), "y": round(place.y, 1), "width": round(place.width, 1), "dot": place.dot}
