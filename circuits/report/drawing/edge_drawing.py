"""The drawing of a circuit of edges: boxes in rows of layers, curves from sender to receiver, and its legend.

The sign of an importance is told by colour and by how the curve ends (an arrow, or a bar across it), its size by width,
and which of a head's inputs is read by the dashes and by where the curve enters the head: left q, middle k, right v.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from markupsafe import Markup

from circuits.report.drawing import svg
from circuits.report.drawing.curves import Point, swing, upright
from circuits.report.drawing.svg import element, label
from interp.formatting.numbers import count, score

HIGH: Final = 20.0
#: Between boxes of one row: as much as spreads a few columns over the page (`page` of the data, where it has one), within bounds.
_GAP: Final = (14.0, 60.0, 640.0)
#: Row heights: as much as fits a tall screen, but never so low that the boxes of two half rows meet.
_ROW: Final = (56.0, 88.0, 1200.0)
#: Where keys and values that heads share stand below these heads.
_ROW_OF_GROUPS: Final = 104.0
_WIDEST: Final = 5.5
_THINNEST: Final = 0.8
#: Width and opacity of an edge that both of two circuits have.
_OF_BOTH: Final = (1.0, 0.7)
_CHANNELS: Final = ("q", "k", "v")
_PADDING: Final = {"top": 24.0, "bottom": 24.0, "left": 72.0, "right": 30.0}
#: How far up a curve is held upright, as a share of the height between its ends.
_REACH: Final = 0.45


def drawing(data: dict[str, Any]) -> Markup:
    """The picture of a drawn circuit (see `circuits.report.sections.edges_section.graph`)."""
    frame = _Frame(data)
    ports = frame.ports()
    # Places are made of all links, so that two drawings of the same ones lie alike; some are not drawn.
    links = [(i, link) for i, link in enumerate(data["links"]) if link.get("mark") != "absent"]
    curves = [
        _curve(data, link, (ports[i, "out"], ports[i, "in"]), frame.aside[i] * frame.step)
        for i, link in reversed(links)
    ]
    joins = [_join(pair, data, frame) for pair in data.get("joins", [])]
    parts = [*_bands(data, frame), *joins, *curves, *(_box(box, frame) for box in data["boxes"])]
    described = element("desc", {}, data.get("about") or describe(data))
    title = data.get("title", "The circuit as a graph" if data["chosen"] else "The strongest edges as a graph")
    return svg.drawing(frame.width, frame.height, title, element("title", {}, title), described, *parts)


def describe(data: dict[str, Any]) -> str:
    """The drawing in words, for those who do not see it."""
    links = data["links"]
    top = "; ".join(f"{link['name']} {score(link['score'], data['digits'])} {data['unit']}" for link in links[:5])
    rows = data.get("rows_are", "layers, from the embedding at the bottom to the logits at the top")
    where = f"{count(len(links))} edges between {count(len(data['boxes']))} nodes in {len(data['layers'])} {rows}"
    return f"{where}. Strongest first: {top}."


def shown(box: Mapping[str, Any]) -> str:
    """What is written in a box: its label, where it has one besides its name."""
    return str(box.get("label", box["name"]))


def edge_sample(kind: str) -> Markup:
    """A short edge by itself, for the legend: a sign (`pos`, `neg`) or a channel (`q`, `k`, `v`)."""
    sign, channel = (kind, "") if kind in ("pos", "neg", "plain") else ("plain", kind)
    upright = element("g", {"transform": "rotate(90 14 8)"}, *mark((14, 22), (14, -4), 0, sign, channel, 2, 1))
    return svg.drawing(28, 16, "", upright)


# ------------------------------------------------------------ places


class _Frame:
    """Rows and columns to pixels, y downwards."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data, low, high, all_rows = data, *_ROW
        self.bottom, self.top = data["rows_shown"]
        self.row = max(low, min(high, all_rows / (self.top - self.bottom)))
        if any(box["kind"] == "kv" for box in data["boxes"]):
            self.row = max(self.row, _ROW_OF_GROUPS)
        self.box = max(46.0, svg.width_of(shown(box) for box in data["boxes"]) + 10)
        least, most, page = *_GAP[:2], data.get("page", _GAP[2])
        self.step = max(self.box + least, min(self.box + most, page / (data["width"] + 1)))
        boxes = {box["name"]: box for box in data["boxes"]}
        #: How many columns each link swings aside.
        self.aside = [swing(boxes[link["sender"]], boxes[link["receiver"]], data["rows_of"]) for link in data["links"]]
        # A curve reaches three quarters of the way to its control points.
        self.left = _PADDING["left"] + 0.75 * self.step * max(0.0, -min(self.aside, default=0.0))
        right = _PADDING["right"] + 0.75 * self.step * max(0.0, max(self.aside, default=0.0))
        self.half = {box["name"]: self.box / 2 for box in data["boxes"]} | self._bars()
        edges = [(self.x(b["x"]) - self.half[b["name"]], self.x(b["x"]) + self.half[b["name"]]) for b in data["boxes"]]
        shift = max(0.0, _PADDING["left"] - min((a for a, _ in edges), default=self.left))
        self.left += shift
        self.width = max((b for _, b in edges), default=self.left) + shift + right
        self.height = self.y(self.bottom) + HIGH / 2 + _PADDING["bottom"]

    def x(self, column: float) -> float:
        return float(self.left + self.box / 2 + column * self.step)

    def y(self, row: float) -> float:
        return float(_PADDING["top"] + HIGH / 2 + (self.top - row) * self.row)

    def _bars(self) -> dict[str, float]:
        """Half the width of the embedding and the logits: bars with room for the edges that end there."""
        ends = [end for link in self.data["links"] for end in (link["sender"], link["receiver"])]
        bars = [b["name"] for b in self.data["boxes"] if b["kind"] in ("embed", "logits")]
        # Two embeddings stand beside each other and must not meet.
        most = self.box if "pos_embed" in bars else (self.data["width"] + 1) * self.step * 0.4
        return {name: max(self.box / 2, min(most, 7.0 * ends.count(name) / 2)) for name in bars}

    def ports(self) -> dict[tuple[int, str], Point]:
        """Where each link leaves and enters: in order of the other end, so that curves do not cross at a box."""
        boxes = {box["name"]: box for box in self.data["boxes"]}
        found: dict[tuple[int, str], Point] = {}
        groups: dict[tuple[str, str, str], list[int]] = {}
        for i, link in enumerate(self.data["links"]):
            groups.setdefault((link["sender"], "out", ""), []).append(i)
            groups.setdefault((link["receiver"], "in", link["channel"]), []).append(i)
        for (name, side, channel), members in groups.items():
            other = "receiver" if side == "out" else "sender"
            box = boxes[name]
            members.sort(key=lambda i: (boxes[self.data["links"][i][other]]["x"], self.aside[i], i))
            low, high = _zone(channel, self.half[name])
            y = self.y(box["y"]) + (-HIGH / 2 if side == "out" else HIGH / 2)
            for place, i in enumerate(members, 1):
                found[i, side] = (self.x(box["x"]) + low + (high - low) * place / (len(members) + 1), y)
        return found


def _zone(channel: str, half: float) -> tuple[float, float]:
    """The part of a box's side that a channel enters by: a third of it, or all of it."""
    if channel not in _CHANNELS:
        return -0.9 * half, 0.9 * half
    third, n = 2 * 0.9 * half / 3, _CHANNELS.index(channel)
    return -0.9 * half + n * third, -0.9 * half + (n + 1) * third


# ------------------------------------------------------------ marks


def _bands(data: dict[str, Any], frame: _Frame) -> list[Markup]:
    """A strip behind every other layer, and the names of the layers."""
    parts = []
    for layer, row in data["layers"]:
        if row % 2:
            top = max(0.0, frame.y(row + 0.75))
            height = min(frame.height, frame.y(row - 0.25)) - top
            strip: dict[str, str | float] = {"x": 0.0, "y": top, "width": frame.width, "height": height}
            parts.append(element("rect", {**strip, "class": "band"}))
        name = layer if isinstance(layer, str) else f"layer {layer}"
        parts.append(label(8, frame.y(row + 0.25) + 4, name, "name"))
    return [*parts, *_skipped(data, frame)]


def _skipped(data: dict[str, Any], frame: _Frame) -> list[Markup]:
    """A line with a name between two layers, where those between them have no box."""
    parts = []
    for (low, row), (high, _) in pairwise(data["layers"]):
        if isinstance(low, str) or high - low < 2:
            continue
        y, only = frame.y(row + 0.75), high - low == 2
        text = f"{f'layer {low + 1}' if only else f'layers {low + 1}–{high - 1}'}: none drawn"
        parts += [svg.line(0, y, frame.width, y, "skipped"), label(8, y - 3, text)]
    return parts


def _curve(data: dict[str, Any], link: Mapping[str, Any], ends: tuple[Point, Point], aside: float) -> Markup:
    importance, limit = link["importance"], data["limit"]
    share = abs(importance) / limit if importance is not None and limit else 0.0
    sign = "plain" if importance is None else "neg" if importance < 0 else "pos"
    # Edges of both sides are not on the scale of the others, and may be many times as important as these.
    both = link.get("mark") == "both"
    width, opacity = _OF_BOTH if both else (width_of_edge(share), opacity_of_edge(share))
    known = f"{score(link['score'], data['digits'])} {data['unit']}" if importance is not None else "not scored"
    title = element("title", {}, f"{link['name']}: {known}")
    return element("g", _marked(link), title, *mark(*ends, aside, sign, link["channel"], width, opacity))


def width_of_edge(share: float) -> float:
    """How wide an edge is drawn whose importance is this share of the largest."""
    return _THINNEST + (_WIDEST - _THINNEST) * share


def opacity_of_edge(share: float) -> float:
    """How strong the colour of an edge is: it follows importance, and the weakest is still seen."""
    return 0.35 + 0.6 * math.sqrt(share)


def mark(start: Point, end: Point, aside: float, sign: str, channel: str, width: float, opacity: float) -> list[Markup]:
    """An edge: a curve that leaves upwards and enters from below, and the mark at its end."""
    (_, y1), (x2, y2), tip = start, end, tip_of(sign, width)
    curve = upright(start, (x2, y2 + tip), _REACH * (y1 - y2), aside)
    return marked(curve.as_one(), end, sign, channel, width, opacity)


def tip_of(sign: str, width: float) -> float:
    """How far below its end the line of an edge stops, for the mark there."""
    return 4 + width if sign == "pos" else 2.5


def marked(steps: str, end: Point, sign: str, channel: str, width: float, opacity: float) -> list[Markup]:
    """The line of an edge along some steps of a path, and the mark at its end."""
    (x, y), tip = end, tip_of(sign, width)
    style: dict[str, str | float] = {"class": f"edge {sign} {channel}".strip(), "stroke-width": width}
    curve = element("path", {"d": steps, **style, "stroke-opacity": round(opacity, 2)})
    half = 2.2 + width / 2
    if sign == "pos":
        mark = f"M{x:.1f} {y:.1f}L{x - half:.1f} {y + tip + 1:.1f}L{x + half:.1f} {y + tip + 1:.1f}Z"
    else:
        mark = f"M{x - half - 1:.1f} {y + 0.8:.1f}h{2 * half + 2:.1f}v2.2h-{2 * half + 2:.1f}Z"
    return [curve] if sign == "plain" else [curve, element("path", {"d": mark, "class": f"tip {sign}"})]


def _join(pair: Sequence[str], data: Mapping[str, Any], frame: _Frame) -> Markup:
    """From the keys and values that heads share to one of these heads: no edge of the circuit."""
    low, head = (next(box for box in data["boxes"] if box["name"] == name) for name in pair)
    x1, y1, x2, y2 = frame.x(low["x"]), frame.y(low["y"]) - HIGH / 2, frame.x(head["x"]), frame.y(head["y"]) + HIGH / 2
    return join(x1, y1, x2, y2)


def join(x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A thin grey line."""
    return element(
        "path", {"d": f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", "class": "edge plain join", "stroke-width": 1.2}
    )


def _marked(part: Mapping[str, Any]) -> dict[str, str | float]:
    """How a part is told from those of another drawing: a class of the style sheet."""
    return {"class": part["mark"]} if "mark" in part else {}


def _box(box: Mapping[str, Any], frame: _Frame) -> Markup:
    x, y, half = frame.x(box["x"]), frame.y(box["y"]), frame.half[box["name"]]
    radius = {"mlp": 10.0, "head": 4.0, "kv": 4.0}.get(box["kind"], 2.0)
    place: dict[str, str | float] = {"x": x - half, "y": y - HIGH / 2, "width": 2 * half, "height": HIGH, "rx": radius}
    title = element("title", {}, box["name"])
    return element(
        "g",
        _marked(box),
        element("rect", {**place, "class": f"box {box['kind']}"}, title),
        label(x, y + 4, shown(box), "middle box-name"),
    )
