"""The interactive view of a circuit as a picture: the chosen circuit as inline SVG, which prints and needs no script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from markupsafe import Markup

from circuits.report.drawing import svg
from circuits.report.drawing.curves import Bend, unweighted
from circuits.report.drawing.edge_drawing import join as join_line
from circuits.report.drawing.edge_drawing import marked, opacity_of_edge, tip_of, width_of_edge
from circuits.report.drawing.row_heights import HIGH
from circuits.report.drawing.svg import element, label
from interp.formatting.numbers import count

_LEFT: Final = 110.0
_ROOM: Final = 16.0
#: How far apart points of curves are that tell how wide the picture is.
_STEP: Final = 20.0


def picture(view: dict[str, Any], whole: bool = False) -> Markup:
    """The nodes and the edges of the chosen circuit that the interactive view draws first, where it has them; or all its nodes."""
    nodes, edges = chosen(view, whole)
    places = {node["id"]: node for node in nodes}
    curves = [curve_of(edge, places) for edge in edges]
    reached = [(x, _ROOM / 2) for curve in curves for x, _ in curve.points(_STEP)]
    low_x, high_x = _range([*((n["x"], n["width"] / 2) for n in nodes), *reached])
    low_y, high_y = _range([(n["y"], HIGH) for n in nodes])
    shown = {node["id"] for node in nodes}
    rows = strips(view, shown, whole)
    left = _LEFT + max([0.0, *(svg.width_of([row["label"]]) - _LEFT for row in rows if not row["folded"])])
    top, bottom = (
        min([low_y, *(r["y"] - r["high"] / 2 for r in rows)]),
        max([high_y, *(r["y"] + r["high"] / 2 for r in rows)]),
    )
    widest = max([high_x - low_x, *(svg.width_of([row["label"]]) - left for row in rows)])
    frame = _Frame(low_x - left, top - _ROOM, widest + left + _ROOM, bottom - top + 2 * _ROOM)
    parts = [_strip(row, frame) for row in rows]
    parts += [_join(j, places, frame) for j in view["joins"] if {j["source"], j["target"]} <= shown]
    drawn = [(own, curve_of(own[0], places)) for own in arrows(edges)]
    parts += [_arrow(own, curve, frame) for own, curve in reversed(drawn)]
    parts += _positions(drawn, frame)
    parts += [_node(node, frame) for node in nodes]
    said = f"{count(len(nodes))} nodes and {count(len(edges))} edges; the embedding is at the bottom, the logits at the top."
    described = element("title", {}, "The circuit as a picture"), element("desc", {}, said)
    return svg.drawing(frame.width, frame.height, "The circuit as a picture", *described, *parts)


def at_layout(view: dict[str, Any], place: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All nodes and edges of a layout, with where they stand."""
    layout = view["layouts"][place]
    places, curves = layout["places"], layout["curves"]
    nodes = [
        {**n, **dict(zip(("x", "y", "width", "dot"), places[n["id"]], strict=True))}
        for n in view["nodes"]
        if n["id"] in places
    ]
    edges = [
        {**e, **dict(zip(("start", "end", "along", "off"), curves[e["id"]], strict=True))}
        for e in view["edges"]
        if e["id"] in curves
    ]
    return nodes, edges


def size_first(view: dict[str, Any], whole: bool = False) -> int:
    """The size of the chosen circuit, or as much of it as is drawn first."""
    own = int(view["stops"][view["start"]]["size"])
    return own if whole else min(own, view["first"])


def _place(view: dict[str, Any], whole: bool) -> int:
    """Which layout holds what is drawn."""
    sizes = [layout["size"] for layout in view["layouts"]]
    return next((i for i, size in enumerate(sizes) if size >= size_first(view, whole)), len(sizes) - 1)


def chosen(view: dict[str, Any], whole: bool = False) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The nodes and edges of the chosen circuit that are drawn at first, with where they stand; or all its nodes, and the strongest edges."""
    all_nodes, all_edges = at_layout(view, _place(view, whole))
    size = size_first(view, whole)
    inside = _within(view, all_edges, size)
    most = min(view["drawn"], view["perNode"] * max(view["fewest"], size)) if view["perNode"] else view["drawn"]
    edges = [e for e in inside if e["share"] >= view["least"]][:most]
    ends = {edge[key] for edge in edges for key in ("source", "target")}
    nodes = [n for n in all_nodes if (n["id"] in ends if n["loose"] else n["at"] <= size)]
    return nodes, edges


def _within(view: dict[str, Any], edges: Sequence[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """The edges that are in a circuit of some size."""
    at = {node["id"]: node["at"] for node in view["nodes"]}
    return [e for e in edges if max(e["at"], at[e["source"]], at[e["target"]]) <= size]


def strips(view: dict[str, Any], shown: set[str], whole: bool = False) -> list[dict[str, Any]]:
    """The rows of a picture from the lowest to the highest; those that are folded say how many nodes of the chosen circuit they hide."""
    size, layout = view["stops"][view["start"]]["size"], view["layouts"][_place(view, whole)]
    loose = {end for e in _within(view, view["edges"], size) for end in (e["source"], e["target"])}
    inside = {n["id"] for n in view["nodes"] if (n["id"] in loose if n["loose"] else n["at"] <= size)}
    used = [layout["places"][i][1] for i in shown]
    low, high = _range([(y, HIGH / 2) for y in used])
    rows = layout["rows"]
    if len(view["layouts"]) == 1:
        rows = [r for r in rows if r["y"] + r["high"] / 2 > low and r["y"] - r["high"] / 2 < high]
    return [
        {**row, "label": f"{row['label']}: {_hidden(row, inside)}" if row["folded"] else row["label"]} for row in rows
    ]


def _hidden(row: dict[str, Any], inside: set[str]) -> str:
    n = len(inside.intersection(row["hides"]))
    return "none" if not n else f"{count(n)} weaker {'node' if n == 1 else 'nodes'}"


def left_out(view: dict[str, Any]) -> str:
    """What of the chosen circuit the picture leaves out, in words."""
    size, first = view["stops"][view["start"]]["size"], size_first(view)
    drawn, said = len(chosen(view)[1]), []
    if first < size:
        said.append(
            f"Drawn are its {first} {view['order']} of {count(size)} {view['parts']}: as many as can be read at once."
        )
    if view["level"] != "edges" and drawn < (edges := len(_within(view, view["edges"], first))):
        said.append(f"Drawn are the strongest {count(drawn)} of {count(edges)} edges between them.")
    if size > (held := sum(n["at"] > 0 for n in view["nodes"])) and view["level"] != "edges":
        said.append(f"The page holds only its first {count(held)} parts.")
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


def _strip(row: dict[str, Any], frame: _Frame) -> Markup:
    _, y = frame(0, row["y"])
    place: dict[str, str | float] = {"x": 0.0, "y": y - row["high"] / 2, "width": frame.width, "height": row["high"]}
    kind = "folded" if row["folded"] else "band" if row["even"] else ""
    strip = [element("rect", {**place, "class": kind})] if kind else []
    return element("g", {}, *strip, label(8, y + 4, row["label"], "" if row["folded"] else "name"))


def curve_of(edge: dict[str, Any], places: dict[str, dict[str, Any]]) -> Bend:
    """The curve of an edge, from box to box."""
    a, b = places[edge["source"]], places[edge["target"]]
    start, end = (
        (a["x"] + edge["start"][0], a["y"] + edge["start"][1]),
        (b["x"] + edge["end"][0], b["y"] + edge["end"][1]),
    )
    return unweighted(start, end, edge["along"], edge["off"])


def arrows(edges: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The edges of each arrow: one edge at several positions is one arrow, which is drawn as its strongest, the first."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for edge in edges:
        found.setdefault((edge["source"], edge["target"], edge["channel"]), []).append(edge)
    return list(found.values())


def _arrow(own: Sequence[dict[str, Any]], curve: Bend, frame: _Frame) -> Markup:
    edge = own[0]
    width = width_of_edge(edge["share"])
    steps = curve.as_pieces(frame, tip_of(edge["sign"], width))
    drawn = marked(steps, frame(*curve.end), edge["sign"], edge["channel"], width, opacity_of_edge(edge["share"]))
    said = [f"{e['name']}: {e['score']}, {e['known']}" if e["score"] else f"{e['name']}: not scored" for e in own]
    return element("g", {}, element("title", {}, "; ".join(said)), *drawn)


def _positions(drawn: Sequence[tuple[Sequence[dict[str, Any]], Bend]], frame: _Frame) -> list[Markup]:
    """Which positions arrows of several edges stand for, in the middle of each, where no stronger one's has the place."""
    parts, taken = list[Markup](), list[tuple[float, float, float]]()
    for own, curve in drawn:
        points, said = curve.points(_STEP), ", ".join(edge["at_position"] for edge in own)
        x, y = frame(*points[len(points) // 2])
        half = svg.width_of([said]) / 2
        if len(own) > 1 and all(abs(y - b) > HIGH or abs(x - a) > half + other for a, b, other in taken):
            taken.append((x, y, half))
            parts.append(label(x, y + 4, said, "middle arrow-name"))
    return parts


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
