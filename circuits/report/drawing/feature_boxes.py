"""Where the boxes of drawn features stand: a row per site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from circuits.report.drawing.layered import apart

if TYPE_CHECKING:
    from interp.parts.graph import Edge
    from interp.parts.nodes import Node

SWEEPS: Final = 8


def place(part: Node | Edge) -> str:
    """The site of a feature or an error: `resid_post.3`."""
    kind = part.kind.rpartition(".")[0]
    return kind if part.layer is None else f"{kind}.{part.layer}"


def height(rows: Sequence[str], row: str) -> float:
    """How high the row of a site stands."""
    return rows.index(row) + 1.25


def feature_boxes(edges: Sequence[Edge], rows: Sequence[str], others: Sequence[Node] = ()) -> dict[str, dict[str, Any]]:
    """A box for each end of an edge and for `others`, near the boxes that it is joined to, a box apart from those of its row."""
    nodes = {node.name: node for edge in edges for node in (edge.sender, edge.receiver)}
    nodes |= {node.name: node for node in others}
    by_row: dict[float, list[str]] = {}
    for name, node in nodes.items():
        by_row.setdefault(height(rows, place(node)) if node.kind != "logits" else len(rows) + 1.25, []).append(name)
    wide = max(map(len, by_row.values()), default=0)
    x = {n: i + (wide - len(names)) / 2 for names in by_row.values() for i, n in enumerate(names)}
    joined: dict[str, list[str]] = {}
    for edge in edges:
        joined.setdefault(edge.sender.name, []).append(edge.receiver.name)
        joined.setdefault(edge.receiver.name, []).append(edge.sender.name)
    for _ in range(SWEEPS):
        for names in by_row.values():
            wanted = {n: sum(x[other] for other in joined[n]) / len(joined[n]) if n in joined else x[n] for n in names}
            order = sorted(names, key=lambda n: (wanted[n], x[n]))
            x |= dict(zip(order, apart([wanted[n] for n in order], wide - 1), strict=True))
    return {n: _box(nodes[n], x[n], y) for y, names in by_row.items() for n in names}


def in_sites(boxes: Mapping[str, Mapping[str, Any]], rows: Sequence[str]) -> dict[str, Any]:
    """The boxes in the rows of sites as plain data, which `edge_drawing` takes with the links between them. Only rows with a box are named."""
    used = [row for row in rows if any(box["y"] == height(rows, row) for box in boxes.values())]
    return {
        "boxes": list(boxes.values()),
        "layers": [[row, rows.index(row) + 1] for row in used],
        "width": max((box["x"] for box in boxes.values()), default=0.0),
        "rows_shown": [1.0, len(rows) + 1.25],
        "rows_of": "sites",
    }


def _box(node: Node, x: float, y: float) -> dict[str, Any]:
    if node.kind == "logits":
        return {"name": node.name, "label": "metric", "kind": "logits", "layer": None, "x": x, "y": y}
    kind, short = ("kv", "error") if node.kind.endswith(".error") else ("head", f"f{node.unit}")
    return {"name": node.name, "label": short, "kind": kind, "layer": node.layer, "x": x, "y": y}
