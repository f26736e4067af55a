"""The interactive view of a circuit as a picture: the chosen circuit as inline SVG, which prints and needs no script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from markupsafe import Markup

from circuits.report.drawing import svg
from circuits.report.drawing.box_places import HIGH
from circuits.report.drawing.curves import Bend, unweighted
from circuits.report.drawing.edge_drawing import join as join_line
from circuits.report.drawing.edge_drawing import marked, opacity_of_edge, tip_of, width_of_edge
from circuits.report.drawing.svg import element, label
from interp.formatting.numbers import count

_LEFT: Final = 110.0
_ROOM: Final = 16.0
#: How far apart points of curves are that tell how wide the picture is.
_STEP: Final = 20.0


def picture(view: dict[str, Any]) -> Markup:
    """The nodes and the first edges of the chosen circuit, where the interactive view has them."""
    nodes, edges = chosen(view)
    places = {node["id"]: node for node in nodes}
    curves = [curve_of(edge, places) for edge in edges]
    reached = [(x, _ROOM / 2) for curve in curves for x, _ in curve.points(_STEP)]
    low_x, high_x = _range([*((n["x"], n["width"] / 2) for n in nodes), *reached])
    low_y, high_y = _range([(n["y"], HIGH) for n in nodes])
    rows = [row for row in view["rows"] if low_y - view["row"] < row["y"] < high_y + view["row"]]
    tops = [row["y"] - view["row"] / 2 for row in rows]
    top, bottom = min([low_y, *tops]), max([high_y, *(y + view["row"] for y in tops)])
    frame = _Frame(low_x - _LEFT, top - _ROOM, high_x - low_x + _LEFT + _ROOM, bottom - top + 2 * _ROOM)
    parts = [_strip(view, row, frame) for row in rows]
    shown = {node["id"] for node in nodes}
    parts += [_join(j, places, frame) for j in view["joins"] if {j["source"], j["target"]} <= shown]
    parts += [_edge(edge, curve, frame) for edge, curve in zip(reversed(edges), reversed(curves), strict=True)]
    parts += [_node(node, frame) for node in nodes]
    said = f"{count(len(nodes))} nodes and {count(len(edges))} edges; the embedding is at the bottom, the logits at the top."
    described = element("title", {}, "The circuit as a picture"), element("desc", {}, said)
    return svg.drawing(frame.width, frame.height, "The circuit as a picture", *described, *parts)


def chosen(view: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The nodes and edges of the chosen circuit that are drawn at first."""
    size = view["stops"][view["start"]]["size"]
    at = {node["id"]: node["at"] for node in view["nodes"]}
    inside = [e for e in view["edges"] if max(e["at"], at[e["source"]], at[e["target"]]) <= size]
    edges = [e for e in inside if e["share"] >= view["least"]][: view["drawn"]]
    ends = {edge[key] for edge in edges for key in ("source", "target")}
    nodes = [n for n in view["nodes"] if (n["id"] in ends if n["loose"] else n["at"] <= size)]
    return nodes, edges


def left_out(view: dict[str, Any]) -> str:
    """What of the chosen circuit the picture leaves out, in words."""
    size = view["stops"][view["start"]]["size"]
    at = {node["id"]: node["at"] for node in view["nodes"]}
    edges = sum(max(e["at"], at[e["source"]], at[e["target"]]) <= size for e in view["edges"])
    drawn = len(chosen(view)[1])
    said = [f"Drawn are the strongest {count(drawn)} of {count(edges)} edges between them."] if drawn < edges else []
    if size > (held := sum(n["at"] > 0 for n in view["nodes"])) and view["level"] != "edges":
        said.append(f"Only its first {count(held)} parts are drawn.")
    return " ".join(said)


def _range(places: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The smallest and the largest of some places, each with its reach."""
    return min((x - r for x, r in places), default=0.0), max((x + r for x, r in places), default=0.0)


class _Frame:
    """From the places of the view to those of the picture."""

    def __init__(self, left: float, top: float, width: float, height: float) -> None:
        self.left, self.top, self.width, self.height = left, top, width, height

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        return x - self.left, y - self.top


def _strip(view: dict[str, Any], row: dict[str, Any], frame: _Frame) -> Markup:
    _, y = frame(0, row["y"])
    place: dict[str, str | float] = {"x": 0.0, "y": y - view["row"] / 2, "width": frame.width, "height": view["row"]}
    even = view["rows"].index(row) % 2 == 0
    strip = [element("rect", {**place, "class": "band"})] if even else []
    return element("g", {}, *strip, label(8, y + 4, row["label"], "name"))


def curve_of(edge: dict[str, Any], places: dict[str, dict[str, Any]]) -> Bend:
    """The curve of an edge, from box to box."""
    a, b = places[edge["source"]], places[edge["target"]]
    start, end = (
        (a["x"] + edge["start"][0], a["y"] + edge["start"][1]),
        (b["x"] + edge["end"][0], b["y"] + edge["end"][1]),
    )
    return unweighted(start, end, edge["along"], edge["off"])


def _edge(edge: dict[str, Any], curve: Bend, frame: _Frame) -> Markup:
    width = width_of_edge(edge["share"])
    steps = curve.as_pieces(frame, tip_of(edge["sign"], width))
    drawn = marked(steps, frame(*curve.end), edge["sign"], edge["channel"], width, opacity_of_edge(edge["share"]))
    known = f"{edge['score']}, {edge['known']}" if edge["score"] else "not scored"
    return element("g", {}, element("title", {}, f"{edge['name']}: {known}"), *drawn)


def _join(join: dict[str, Any], places: dict[str, dict[str, Any]], frame: _Frame) -> Markup:
    """From the keys and values that heads share to one of these heads."""
    a, b = places[join["source"]], places[join["target"]]
    (x1, y1), (x2, y2) = frame(a["x"], a["y"] - HIGH / 2), frame(b["x"], b["y"] + HIGH / 2)
    return join_line(x1, y1, x2, y2)


def _node(node: dict[str, Any], frame: _Frame) -> Markup:
    x, y = frame(node["x"], node["y"])
    high = node["width"] if node["dot"] else HIGH
    radius = high / 2 if node["dot"] or node["kind"] == "mlp" else 2.0 if node["kind"] in ("embed", "logits") else 5.0
    place: dict[str, str | float] = {
        "x": x - node["width"] / 2, "y": y - high / 2, "width": node["width"], "height": high, "rx": radius,
    }  # fmt: skip
    said = f"{node['name']}: {node['score']}" if node["score"] else node["name"]
    scored = node["sign"] != "plain"
    kind = f"box {node['kind']}{' chosen' if node['chosen'] else ''}"
    back = {**place, "class": f"{kind} scored" if scored else kind}
    parts = [element("rect", back, element("title", {}, said))]
    if scored:
        tint = {**place, "class": f"tint {node['sign']}", "fill-opacity": round(0.12 + 0.88 * node["share"], 3)}
        parts.append(element("rect", tint, element("title", {}, said)))
    if not node["dot"]:
        parts.append(label(x, y + 4, node["label"], "middle box-name on-cell" if scored else "middle box-name"))
    return element("g", {}, *parts)
