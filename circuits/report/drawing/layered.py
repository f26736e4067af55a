"""Where the boxes of a drawn circuit stand: rows from the embedding at the bottom to the logits at the top.

Heads spread over the left, MLPs stand in a lane of their own on the right, half a row above the heads of their layer.
Layers without a box take no row. Places count boxes to the right (x) and rows upwards (y).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from interp.parts.graph import Edge
    from interp.parts.nodes import Node

SWEEPS: Final = 8
#: How much a head keeps to the place of its number, against the mean place of what it is joined to.
PULL: Final = 0.35
#: How much lower than its heads a group's keys and values stand, in rows.
DROP: Final = 0.27


@dataclass(frozen=True)
class Box:
    """One node of a drawing. `kind`: embed, head, kv (K/V readers that a group of heads shares), mlp or logits. `row`: what its row is called,
    empty for the ends."""

    name: str
    kind: str
    layer: int | None
    x: float
    y: float
    row: str = ""


@dataclass(frozen=True)
class Layered:
    """`boxes` by name; `layers`: each layer that has a box, and its row, counted from 1."""

    boxes: dict[str, Box]
    layers: tuple[tuple[int, int], ...]

    @property
    def width(self) -> float:
        """The largest x."""
        return max((box.x for box in self.boxes.values()), default=0.0)

    @property
    def rows(self) -> tuple[float, float]:
        """The lowest and the highest row, with room for the MLP of the last layer."""
        ends = [box.y for box in self.boxes.values()]
        return min([1.0, *ends]), max([len(self.layers) + 0.5, *ends])

    def as_data(self) -> dict[str, Any]:
        """The boxes in their rows as plain data, which `edge_drawing` takes with the links between them."""
        return {
            "boxes": [{k: v for k, v in vars(box).items() if k != "row"} for box in self.boxes.values()],
            "layers": [list(row) for row in self.layers],
            "width": self.width,
            "rows_shown": list(self.rows),
            "rows_of": "layers",
        }


#: Where a row stands: below others where its stack has a prefix, as that runs first.
Row = tuple[bool, str, int]


def row_at(node: Node) -> Row | None:
    """The row of a node: its layer, in its stack; None for the ends."""
    return None if node.layer is None else (not node.stack, node.stack, node.layer)


def row_of_layer(stack: str, layer: int) -> str:
    """What a row is called: `layer 3`, `encoder layer 3`."""
    return f"{stack} layer {layer}" if stack else f"layer {layer}"


def box_name(node: Node) -> str:
    """The box that a node is drawn in: a head's q, k and v readers are the head's; so are K/V readers of one group."""
    return node.name.partition("<")[0]


def layered(edges: Sequence[Edge], others: Sequence[Node] = (), shared: Mapping[str, str] | None = None) -> Layered:
    """The boxes of some edges, and of `others` that may have none. `shared`: head -> the keys and values that it shares."""
    nodes = {box_name(node): node for edge in edges for node in (edge.sender, edge.receiver)}
    nodes |= {box_name(node): node for node in others}
    present = sorted({at for node in nodes.values() if (at := row_at(node)) is not None})
    rows = {at: row for row, at in enumerate(present, 1)}
    heads = _heads(nodes)
    groups = Counter(row_at(node) for node in nodes.values() if _kind(node) == "kv")
    wide = max([*map(len, heads.values()), *groups.values()], default=0)
    # A few columns more than needed let chains of heads move apart.
    columns = max(wide, min(4, len(heads) + 1)) if wide else 0
    x = _fixed(nodes, columns) | _spread(nodes, heads, columns, edges, shared or {})
    boxes = {}
    for name, node in nodes.items():
        at, kind = row_at(node), _kind(node)
        y = float(rows[at]) if at is not None else 0.0 if "embed" in node.kind else len(present) + 1.0
        row = "" if node.layer is None else row_of_layer(node.stack, node.layer)
        boxes[name] = Box(name, kind, node.layer, x[name], y + 0.5 * (kind == "mlp") - DROP * (kind == "kv"), row)
    return Layered(boxes, tuple((layer, row) for (_, _, layer), row in rows.items()))


def _kind(node: Node) -> str:
    if node.kind in ("q", "k", "v"):
        return "kv" if node.grouped else "head"
    return "embed" if node.kind == "pos_embed" else node.kind


def _spreads(node: Node) -> bool:
    """Whether a node takes a place of its own in its row, as heads do, and below it what they share; MLPs have their lane, the ends the
    middle."""
    return _kind(node) not in ("embed", "mlp", "logits")


def _heads(nodes: dict[str, Node]) -> dict[Row, list[str]]:
    """The boxes of each layer's attention, by number."""
    found: dict[Row, list[str]] = {}
    for name, node in sorted(nodes.items(), key=lambda item: (item[1].layer or 0, item[1].unit or 0, item[0])):
        if (at := row_at(node)) is not None and _spreads(node) and _kind(node) != "kv":
            found.setdefault(at, []).append(name)
    return found


def _fixed(nodes: dict[str, Node], columns: int) -> dict[str, float]:
    """x of all but the heads: MLPs in the lane, embeddings and logits in the middle."""
    centre = columns / 2
    below = sorted(name for name, node in nodes.items() if _kind(node) == "embed")
    ends = {name: centre + 2 * i - (len(below) - 1) for i, name in enumerate(below)} | {"logits": centre}
    return {name: ends.get(name, float(columns)) for name, node in nodes.items() if not _spreads(node)}


def _spread(
    nodes: dict[str, Node],
    heads: dict[Row, list[str]],
    columns: int,
    edges: Sequence[Edge],
    shared: Mapping[str, str],
) -> dict[str, float]:
    """x of the heads: near what they are joined to and near the place of their number, a box apart."""
    units = max((nodes[name].unit or 0 for names in heads.values() for name in names), default=0)
    home = {n: (nodes[n].unit or 0) / max(units, 1) * (columns - 1) for names in heads.values() for n in names}
    joined: dict[str, list[str]] = {}
    for edge in edges:
        a, b = box_name(edge.sender), box_name(edge.receiver)
        joined.setdefault(a, []).append(b)
        joined.setdefault(b, []).append(a)
    x, fixed = dict(home), _fixed(nodes, columns)
    low = _groups(nodes, x | fixed, columns, joined, shared)
    for _ in range(SWEEPS):
        for names in heads.values():
            places: dict[str, Any] = x | fixed | low
            mean = {
                n: sum(places[other] for other in joined[n]) / len(joined[n]) if n in joined else home[n] for n in names
            }
            wanted = {n: (1 - PULL) * mean[n] + PULL * home[n] for n in names}
            order = _numbered(names, sorted(names, key=lambda n: (wanted[n], home[n])), joined, places)
            x |= dict(zip(order, apart(sorted(wanted[n] for n in order), columns - 1), strict=True))
        low = _groups(nodes, x | fixed, columns, joined, shared)
    return x | low


def _numbered(names: list[str], order: list[str], joined: Mapping[str, list[str]], x: Mapping[str, float]) -> list[str]:
    """The heads of a row by number where that crosses no more edges than the order of their places."""

    def crossings(row: Sequence[str]) -> int:
        ends = [[x[other] for other in joined.get(name, ())] for name in row]
        return sum(p > q for i, left in enumerate(ends) for right in ends[i + 1 :] for p in left for q in right)

    return names if crossings(names) <= crossings(order) else order


def _groups(
    nodes: dict[str, Node],
    x: Mapping[str, float],
    columns: int,
    joined: Mapping[str, list[str]],
    shared: Mapping[str, str],
) -> dict[str, float]:
    """x of keys and values that heads share: below these heads, a little to their left; else below what is joined to them."""
    members: dict[str, list[str]] = {}
    for head, group in shared.items():
        if head in x:
            members.setdefault(group, []).append(head)
    rows: dict[Row | None, dict[str, float]] = {}
    for name, node in nodes.items():
        if _kind(node) == "kv":
            near = members.get(name) or joined.get(name) or ["embed"]
            places = [x[other] for other in near if other in x]
            mean = sum(places) / len(places) if places else 0.0
            rows.setdefault(row_at(node), {})[name] = mean - 0.5 * (name in members)
    found: dict[str, float] = {}
    for row in rows.values():
        order = sorted(row, key=lambda name: (row[name], name))
        found |= zip(order, apart([row[name] for name in order], columns - 1), strict=True)
    return found


def apart(wanted: Sequence[float], most: float) -> list[float]:
    """The places nearest to some ascending ones (least squares) that are at least 1 apart and within 0 to `most`."""
    # With i taken off the ith place this is isotonic regression: neighbours out of order share their mean.
    blocks: list[tuple[float, int]] = []
    for i, place in enumerate(wanted):
        total, n = place - i, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / n:
            before = blocks.pop()
            total, n = total + before[0], n + before[1]
        blocks.append((total, n))
    flat = [total / n for total, n in blocks for _ in range(n)]
    room = most - (len(wanted) - 1)
    return [min(max(place, 0.0), room) + i for i, place in enumerate(flat)]
