"""The areas over circuit size, CPR and CMD, as plain data and as charts: measured by `circuits evaluate`, or taken from the
curve of a run.

CPR is the area under f on the signed ranking, CMD that under |1 - f| on the absolute one; beside each the area with f capped at 1
and Compactness. The curve of a run gives one only where each of its circuits is the top of that ranking; a curve on another ranking
is neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from markupsafe import Markup

from circuits.report.drawing import svg
from circuits.report.drawing.svg import Scale, line, path
from circuits.report.sections.faithfulness_section import faithfulness
from interp.formatting.numbers import number, percent

if TYPE_CHECKING:
    from circuits.evaluation.area_values import Area, Areas
    from circuits.evaluation.evaluation import Evaluation
    from circuits.runs.record import Record

#: Each measure with its ranking.
MEASURES: Final = {"CPR": "signed", "CMD": "absolute"}
AXES: Final = ("linear", "log")
_HIGHEST: Final = 1.5


def curve_and_areas(record: Record) -> dict[str, Any]:
    """What the section on faithfulness shows of a run."""
    return {
        "faithfulness": faithfulness(record.evaluation),
        "curve_order": _curve_order(record),
        "areas": areas_of_run(record),
    }


def _curve_order(record: Record) -> str:
    """Which circuits the curve goes through."""
    from circuits.circuit.selection import is_top

    circuit, scores = record.circuit, record.scores[0] if record.scores else None
    if circuit is None or is_top(circuit, scores):
        return "circuits taken from the top of the ranking"
    return "circuits made of the chosen circuit's parts in their own order, then of the rest of the ranking"


def areas_of_run(record: Record) -> dict[str, Any] | None:
    """The areas that the curve of a run gives, and which are missing and why; None for a run without a defined curve."""
    found = record.evaluation
    if found is None or found.reason or record.circuit is None or not record.scores:
        return None
    own, reason = _rankings(record, found)
    points = [p for p in sorted(found.curve, key=lambda p: p.size) if p.size]
    shares, f = [p.size / found.n_nodes for p in points], [p.faithfulness.value for p in points]
    if not reason and (len(points) < 2 or points[-1].size != found.n_nodes or None in f):
        reason = "the curve of this run does not reach the whole model"
    random = [list(p.random) for p in points]
    charts, missing, named = [], [], _axes(found.counts, "sizes of the curve, as shares of all")
    for measure, ranking in MEASURES.items():
        if reason or ranking not in own:
            why = reason or f"the curve of this run is not that of the {ranking} ranking"
            missing.append(f"{measure} ({ranking} ranking): {why}; circuits evaluate on this run measures it.")
            continue
        for axis in AXES:
            charts.append(_chart(measure, ranking, axis, shares, f, random) | {"interval": None, "named": named[axis]})
    signs = record.scores[0].provenance.unsigned
    if signs:
        missing = [m for m in missing if not m.startswith("CPR")]
        missing.append(
            f"CPR: scores of {record.scores[0].provenance.method} have no sign, so there is no signed ranking."
        )
    return {"charts": charts, "missing": missing, "measured": False, "own": [], "axes": named}


def areas_measured(found: Areas) -> dict[str, Any] | None:
    """The areas that an assessment measured, with their intervals; None where they are undefined."""
    from circuits.evaluation.area_values import axis_in_words

    if found.reason:
        return None
    charts, others, named = [], [], _axes(found.counts, "fixed shares of all")
    for measure, ranking in MEASURES.items():
        curve = found.signed if ranking == "signed" else found.absolute
        shares = [p.size / found.n_parts for p in curve.points]
        f, random = [p.faithfulness.value for p in curve.points], [list(p.random) for p in curve.points]
        for axis, area in zip(AXES, (curve.linear, curve.log), strict=True):
            own = area.cpr if measure == "CPR" else area.cmd
            bounds = None if own.low is None or own.high is None else [own.low, own.high]
            charts.append(
                _chart(measure, ranking, axis, shares, f, random) | {"interval": bounds, "named": named[axis]}
            )
        others += [_own_row(measure, ranking, area) for area in curve.areas if area.axis == "own"]
    if others:
        named |= {"own": axis_in_words("own", found.counts)}
    return {"charts": charts, "missing": [], "measured": True, "own": others, "axes": named}


def _axes(counts: str, what: str) -> dict[str, str]:
    """What is on each axis."""
    return {"linear": f"{what} {counts}", "log": f"log10 of {what} {counts}"}


def _own_row(measure: str, ranking: str, area: Area) -> dict[str, Any]:
    """The areas over the ranking's own sizes, as a row of the tables without a chart."""
    own, random = (area.cpr, area.random_cpr) if measure == "CPR" else (area.cmd, area.random_cmd)
    value, width = own.value, area.width
    return {
        "measure": measure,
        "ranking": ranking,
        "axis": area.axis,
        "area": value,
        "interval": None if own.low is None or own.high is None else [own.low, own.high],
        "random": random,
        "width": width,
        "mean": value / width if value is not None else None,
        "random_mean": random / width if random is not None else None,
        "capped": area.capped.value if area.capped else None,
        "compactness": area.compactness.value if area.compactness else None,
        "random_compactness": area.random_compactness,
    }


def _rankings(record: Record, found: Evaluation) -> tuple[set[str], str]:
    """The rankings that the curve of a run follows at each of its sizes, and why it follows none."""
    from circuits.circuit.selection import ranked

    scores, circuit = record.scores[0], record.circuit
    if circuit is None or (scores.provenance.level, scores.provenance.positions) != (circuit.level, circuit.positions):
        return set(), "the scores of this run do not rank the parts of its circuit"
    orders = {"absolute": [scores.parts[i] for i in ranked(scores, "absolute")]}
    if not scores.provenance.unsigned:
        orders["signed"] = [scores.parts[i] for i in ranked(scores, "signed")]
    # As in the evaluation: the circuit in its own order, then the rest of the ranking that it was chosen by.
    inside = frozenset(circuit.parts)
    used = orders.get("signed" if "signed ranking" in circuit.selection else "absolute", orders["absolute"])
    order = [*circuit.parts, *(part for part in used if part not in inside)]
    sizes = [p.size for p in found.curve]
    own = {name for name, of in orders.items() if all(set(of[:k]) == set(order[:k]) for k in sizes)}
    return own, "" if own else "its circuits are not the top of a ranking"


def _chart(
    measure: str, ranking: str, axis: str, shares: Sequence[float], f: Sequence[Any], random: Sequence[Sequence[Any]]
) -> dict[str, Any]:
    """One measure on one axis: the area under straight lines through the points, and the same of random circuits."""
    from circuits.evaluation.area_values import trapezoid_weights, under

    x = np.array(shares) if axis == "linear" else np.log10(shares)
    weights, curve = trapezoid_weights(x), np.array(f, dtype=float)
    own = under(curve, measure.lower())
    # Where no other circuit of a size exists, as at the whole model, every ranking goes through the only one.
    drawn = [np.array(row or [f[i]], dtype=float) for i, row in enumerate(random)]
    others = [under(row, measure.lower()) for row in drawn]
    known = any(random) and all(bool(np.isfinite(row).all()) for row in others)
    mean = float(weights @ [row.mean() for row in others]) if known else None
    compact = float(weights @ [under(row, "compactness").mean() for row in drawn]) if known else None
    width = float(x[-1] - x[0])
    return {
        "measure": measure,
        "ranking": ranking,
        "axis": axis,
        "points": _points(shares, own, others if known else None),
        "area": float(weights @ own),
        "random": mean,
        "width": width,
        "mean": float(weights @ own) / width,
        "random_mean": None if mean is None else mean / width,
        "capped": float(weights @ under(curve, "capped")),
        "compactness": float(weights @ under(curve, "compactness")) / width,
        "random_compactness": None if compact is None else compact / width,
    }


def _points(shares: Sequence[float], own: np.ndarray, others: Sequence[np.ndarray] | None) -> list[dict[str, Any]]:
    """A point for each share: the value, and the range of the random circuits where they are known."""
    ranges = (
        [(None, None)] * len(shares) if others is None else [(float(row.min()), float(row.max())) for row in others]
    )
    return [
        {"share": float(share), "value": float(value), "random_low": low, "random_high": high}
        for share, value, (low, high) in zip(shares, own, ranges, strict=True)
    ]


# ---------------------------------------------------------------- charts


def area_chart(data: dict[str, Any]) -> Markup:
    """f or |1 - f| over the share of parts, the area under it, and the range of the random circuits."""
    points = data["points"]
    values = [p["value"] for p in points] + [
        p[k] for p in points for k in ("random_low", "random_high") if p[k] is not None
    ]
    low, high = max(-0.5, min(0.0, *values)), min(_HIGHEST, max(1.0, *values))
    at = [p["share"] if data["axis"] == "linear" else math.log10(p["share"]) for p in points]
    x, y = Scale(min(at), max(at), 78, 398), Scale(low, high, 210, 16)
    under = "f" if data["measure"] == "CPR" else "|1 − f|"
    x_name = f"share of parts in the circuit{' (logarithmic)' if data['axis'] == 'log' else ''}"
    ticks = [(v, percent(v)) for v in svg.ticks(low, high, 4)]
    parts = [svg.axes(x, y, _x_ticks(data["axis"], x), ticks, (x_name, f"{under} in %"))]
    held = [(x(a), y(min(max(p["value"], low), high))) for a, p in zip(at, points, strict=True)]
    parts.append(path([(held[0][0], y(0)), *held, (held[-1][0], y(0))], "interval-band", closed=True))
    if all(p["random_low"] is not None for p in points):
        tops = [(x(a), y(min(p["random_high"], high))) for a, p in zip(at, points, strict=True)]
        lows = [(x(a), y(max(p["random_low"], low))) for a, p in zip(at, points, strict=True)]
        parts.append(path([*tops, *reversed(lows)], "random-band", closed=True))
    parts += [line(x.start, y(v), x.end, y(v), "reference") for v in (0.0, 1.0) if y.holds(v)]
    parts.append(path(held, "own-line"))
    return svg.drawing(420, 264, f"{data['measure']}, {data['axis']} axis: area {number(data['area'], 3)}", *parts)


def _x_ticks(axis: str, x: Scale) -> list[tuple[float, str]]:
    if axis == "linear":
        return [(v, percent(v)) for v in (0.2, 0.4, 0.6, 0.8, 1.0) if x.holds(v)]
    return [(float(v), f"{number(100 * 10.0**v, max(0, -2 - v))} %") for v in range(-5, 1) if x.holds(v)]
