"""The arrows of a drawn circuit: they pass no box that is not theirs, in the picture and as Cytoscape draws them, and finding their ways
costs little."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from circuits.circuit.circuit import Circuit
from circuits.report.drawing import routes as view_routes
from circuits.report.drawing.curves import Bend, rounded, swing, unweighted, upright, weights
from circuits.report.drawing.routes import Rows, Wire, routes
from circuits.report.drawing.view_picture import chosen, picture
from circuits.runs.record import Record
from interp.parts.graph import Graph
from tests.circuits.runs.edge_records import edge_record, edge_scores, node_record

#: Shared keys and values.
SHARING = Graph(n_layers=5, n_heads=8, n_kv_heads=4, parallel=(False,) * 5)
#: Box: left, top, right, bottom.
Box = tuple[float, float, float, float]


def sharing_record() -> Record:
    """A circuit of 14 heads and all MLPs, with the edges between them."""
    part = edge_scores(SHARING.edges, 1, "relp")
    nodes = {node.name: node for e in part.edges for node in (e.sender,) if node.kind in ("head", "mlp")}
    keep = [
        node
        for name, node in sorted(nodes.items())
        if node.kind == "mlp" or ((node.unit or 0) * 5 + (node.layer or 0)) % 3 == 0
    ]
    return Record({}, (), circuit=Circuit(tuple(keep), "heads", "m", "t", "relp", "n"), node_edges=part)


def whole_record() -> Record:
    """A circuit of all heads and MLPs of a small model."""
    record = node_record()
    assert record.circuit is not None
    parts = tuple(part for part in record.scores[0].parts if part.name != "embed")
    return replace(record, circuit=replace(record.circuit, parts=parts))


RECORDS = {"heads": whole_record, "edges": lambda: edge_record(n=60), "sharing": sharing_record}


def bezier(start: Any, through: Any, end: Any) -> np.ndarray:
    """40 points of a quadratic curve [point 2]."""
    t = np.linspace(0, 1, 40)[:, None]
    return np.asarray((1 - t) ** 2 * np.array(start) + 2 * t * (1 - t) * np.array(through) + t**2 * np.array(end))


def nearest(points: np.ndarray, boxes: Iterable[Box]) -> float:
    """The least distance of some points to some boxes, the larger of both directions; below 0 inside of one."""
    low = np.array(list(boxes))
    off = np.maximum(low[None, :, :2] - points[:, None], points[:, None] - low[None, :, 2:])
    return float(off.max(axis=2).min())


def in_picture(found: dict[str, Any]) -> dict[str, float]:
    """Edge -> how near it comes to a box that is not its own, read from the SVG."""
    drawing = ElementTree.fromstring(str(picture(found)))
    boxes: dict[str, Box] = {}
    paths: dict[str, str] = {}
    for group in drawing.iter("g"):
        rect, path = group.find("rect[title]"), group.find("path")
        if rect is not None and "box" in rect.get("class", ""):
            x, y, w, h = (float(rect.get(key, "nan")) for key in ("x", "y", "width", "height"))
            boxes[(rect.findtext("title") or "").partition(": ")[0]] = (x, y, x + w, y + h)
        elif path is not None and group.findtext("title"):
            paths[(group.findtext("title") or "").partition(": ")[0]] = path.get("d", "")
    assert boxes and paths
    found = {}
    for name, path in paths.items():
        sender, receiver = name.split("->")
        numbers = np.array(re.findall(r"-?[\d.]+", path), float).reshape(-1, 2)
        assert re.fullmatch(r"M[^A-Z]+(Q[^A-Z]+)+", path) and len(numbers) % 2
        points = np.concatenate([bezier(*numbers[i : i + 3]) for i in range(0, len(numbers) - 2, 2)])
        found[name] = nearest(points, (b for n, b in boxes.items() if n not in (sender, receiver.partition("<")[0])))
    return found


def in_view(found: dict[str, Any]) -> dict[str, float]:
    """The same from the data, made a curve as Cytoscape's manual says: control points by weight and distance from the straight line."""
    nodes, edges = chosen(found)
    boxes = {n["id"]: (n["x"] - n["width"] / 2, n["y"] - 13, n["x"] + n["width"] / 2, n["y"] + 13) for n in nodes}
    at = {n["id"]: np.array([n["x"], n["y"]]) for n in nodes}
    near = {}
    for edge in edges:
        start, end = at[edge["source"]] + edge["start"], at[edge["target"]] + edge["end"]
        ahead = end - start
        across = np.array([-ahead[1], ahead[0]]) / np.hypot(*ahead)
        through = [start + a * ahead + o * across for a, o in zip(edge["along"], edge["off"], strict=True)]
        # Cytoscape draws nothing where a control point is the end.
        assert min(math.dist(start, through[0]), math.dist(end, through[-1])) > 0.2
        joints = [start, *((p + q) / 2 for p, q in itertools.pairwise(through)), end]
        points = np.concatenate([bezier(*piece) for piece in zip(joints, through, joints[1:], strict=False)])
        near[edge["name"]] = nearest(points, (b for i, b in boxes.items() if i not in (edge["source"], edge["target"])))
    return near


# ------------------------------------------------------------ many


def graph_of(n: int) -> tuple[list[tuple[float, float, float]], list[tuple[Wire, Bend]], list[tuple[int, int]]]:
    """12 layers of 12 heads and an MLP with `n` arrows between any two of them: boxes (x, y, width), arrows, their boxes."""
    draw = random.Random(0)
    boxes = [(540.0, 0.0, 50.0)]
    boxes += [(90.0 * head, -240.0 * layer, 50.0) for layer in range(1, 13) for head in range(12)]
    boxes += [(1080.0, -240.0 * layer - 120, 50.0) for layer in range(1, 13)]
    wires, ends = [], []
    while len(wires) < n:
        a, b = draw.choice(range(len(boxes))), draw.choice(range(len(boxes)))
        (x1, y1, _), (x2, y2, _) = boxes[a], boxes[b]
        if y1 > y2:
            start, end = (x1, y1 - 13), (x2, y2 + 13)
            reach = 0.4 * (start[1] - end[1])
            plain = Bend(start, ((x1, start[1] - reach), (x2, end[1] + reach)), end)
            wires.append((Wire(x1, start[1], 15.0, x2, end[1], 15.0, draw.choice([None, -17.0, 0.0, 17.0])), plain))
            ends.append((a, b))
    return boxes, wires, ends


def test_300_arrows_of_a_large_graph_pass_no_box_and_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is counted: spots looked at, per arrow and row that it crosses, and curves looked at, per arrow."""
    counts = {"_spot": 0, "free": 0}
    spot, free = view_routes._spot, Rows.free

    def counted_spot(*args: Any) -> Any:
        counts["_spot"] += 1
        return spot(*args)

    def counted_free(self: Rows, *args: Any) -> bool:
        counts["free"] += 1
        return free(self, *args)

    monkeypatch.setattr(view_routes, "_spot", counted_spot)
    monkeypatch.setattr(Rows, "free", counted_free)
    boxes, wires, ends = graph_of(300)
    rows = Rows(boxes, 26.0)
    curves = routes(wires, rows)
    edges = {i: (x - w / 2, y - 13, x + w / 2, y + 13) for i, (x, y, w) in enumerate(boxes)}
    plain, routed = (
        [
            nearest(np.array(c.points(8.0)), (b for i, b in edges.items() if i not in own))
            for c, own in zip(some, ends, strict=True)
        ]
        for some in ([curve for _, curve in wires], curves)
    )
    assert sum(near < 0 for near in plain) > 200 and min(routed) > 0.9
    crossed = sum(len(rows.between(curve.start[1], curve.end[1])) + 1 for _, curve in wires)
    assert counts["_spot"] <= 36 * crossed and counts["free"] <= 7 * len(wires)


def test_arrows_around_one_box_do_not_lie_on_each_other() -> None:
    """Past the box in the middle of three above each other: the longer arrow is farther out."""
    rows = Rows([(0.0, 0.0, 50.0), (0.0, -100.0, 50.0), (0.0, -200.0, 50.0), (0.0, -300.0, 50.0)], 26.0)

    def arrow(top: float) -> tuple[Wire, Bend]:
        plain = Bend((0.0, -13.0), ((0.0, -40.0), (0.0, top + 40)), (0.0, top))
        return Wire(0.0, -13.0, 15.0, 0.0, top, 15.0), plain

    short, long = (
        [abs(x) for x, y in curve.points(1.0) if abs(y + 100) < 13]
        for curve in routes([arrow(-187.0), arrow(-287.0)], rows)
    )
    assert min(short) > 25 + 2 and max(long) > max(short) + 4


def test_what_stands_right_of_a_limit_is_not_passed() -> None:
    """Between the lowest and the highest of three boxes there is room on both sides, and dots from 60 pixels on."""
    boxes = [(0.0, 0.0, 50.0), (10.0, -100.0, 50.0), (0.0, -200.0, 50.0)]
    wire = Wire(0.0, -13.0, 15.0, 0.0, -187.0, 15.0)
    plain = Bend((0.0, -13.0), ((0.0, -80.0), (0.0, -120.0)), (0.0, -187.0))
    for limit in (60.0, 45.0):
        (curve,) = routes([(wire, plain)], Rows(boxes, 26.0, limit))
        points = curve.points(1.0)
        assert max(x for x, _ in points) < limit
        assert nearest(np.array(points), [(-15.0, -113.0, 35.0, -87.0)]) > 0.9


# ------------------------------------------------------------ curves


@pytest.mark.parametrize("rows", ["layers", "sites"])
@pytest.mark.parametrize("kind", ["head", "mlp"])
def test_an_arrow_swings_aside_only_past_boxes_and_its_curve_misses_them(rows: str, kind: str) -> None:
    """Columns 100 pixels wide and rows 80 high; the boxes between the ends are 46 wide and 20 high."""
    sender = {"x": 1.0, "y": 0.0, "kind": kind}
    assert swing(sender, {"x": 1.0, "y": 1.0, "kind": kind}, rows) == 0
    assert swing(sender, {"x": 2.0, "y": 5.0, "kind": kind}, rows) == 0
    for passed in (2, 3, 4):
        aside = swing(sender, {"x": 1.0, "y": float(passed), "kind": kind}, rows)
        assert (aside < 0) == (rows == "layers" and kind == "head")
        start, end = (100.0, -10.0), (100.0, -80.0 * passed + 10)
        curve = upright(start, end, 0.45 * (start[1] - end[1]), 100 * aside)
        numbers = np.array(re.findall(r"-?[\d.]+", curve.as_one()), float).reshape(4, 2)
        assert tuple(numbers[0]) == start and tuple(numbers[3]) == end
        t = np.linspace(0, 1, 80)[:, None]
        cubic = sum(math.comb(3, i) * (1 - t) ** (3 - i) * t**i * numbers[i] for i in range(4))
        boxes = [(77.0, -80.0 * row - 10, 123.0, -80.0 * row + 10) for row in range(1, passed)]
        assert nearest(np.asarray(cubic), boxes) > 0


def test_a_curve_in_pieces_stops_below_its_end_in_its_frame() -> None:
    curve = upright((10.0, 200.0), (70.0, 20.0), 60.0)
    numbers = np.array(re.findall(r"-?[\d.]+", curve.as_pieces(lambda x, y: (x + 5, y + 7), 4.0)), float).reshape(-1, 2)
    assert numbers.tolist() == [[15, 207], [15, 147], [45, 117], [75, 87], [75, 31]]


def test_weights_give_the_control_points_back() -> None:
    curve = Bend((10.0, 200.0), ((60.0, 150.0), (90.0, 80.0), (30.0, 60.0)), (70.0, 20.0))
    (x1, y1), (x2, y2) = curve.start, curve.end
    along, off = weights(curve)
    across = np.array([y1 - y2, x2 - x1]) / np.hypot(x2 - x1, y2 - y1)
    for place, a, o in zip(curve.through, along, off, strict=True):
        point = np.array([x1, y1]) + a * np.array([x2 - x1, y2 - y1]) + o * across
        assert point == pytest.approx(place, abs=0.1)
    back = unweighted(curve.start, curve.end, along, off)
    assert np.array(back.through) == pytest.approx(np.array(curve.through), abs=0.1)


@pytest.mark.parametrize("most", [2.0, 6.0, 40.0])
def test_a_rounded_way_leaves_its_lines_by_at_most_what_is_given(most: float) -> None:
    draw = random.Random(1)
    for n in (2, 3, 6):
        way = [(draw.uniform(0, 200), -draw.choice([1.0, 40.0]) * i) for i in range(n)]
        curve = rounded(way, most)
        assert curve.start == way[0] and curve.end == way[-1]
        for point in curve.points(2.0):
            away = min(_distance(point, a, b) for a, b in itertools.pairwise(way))
            assert away <= most + 1e-6


def _distance(point: Any, a: Any, b: Any) -> float:
    """From a point to a line between two points."""
    p, q, r = np.array(point), np.array(a), np.array(b)
    share = np.clip((p - q) @ (r - q) / max((r - q) @ (r - q), 1e-9), 0, 1)
    return math.dist(p, q + share * (r - q))
