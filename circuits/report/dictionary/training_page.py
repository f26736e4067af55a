"""A training run of dictionaries as one page: what was reached, and the curves of how."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, Final

from markupsafe import Markup

from circuits.report.drawing import svg
from circuits.report.drawing.svg import Scale
from interp.formatting.numbers import count, number, percent
from interp.formatting.text import visible

#: Title, unit, key of the measure on the batches, key on held-out text, whether the axis ends at 0 and 1.
CURVES: Final = (
    ("Loss", "loss", "loss", "", False),
    ("Active features per token (L0)", "features", "l0", "held_out_l0", False),
    ("Explained variance", "share", "explained_variance", "held_out_explained_variance", True),
    ("Dead features", "share", "dead", "", True),
)
WIDTH: Final = 440
HEIGHT: Final = 268

#: A start of more than so many times what follows is left outside the frame.
FAR_OUT: Final = 4.0

Row = Mapping[str, float]
Point = tuple[float, float]


def finding(name: str, wanted: Mapping[str, Any], final: Row) -> str:
    """What was reached, as one sentence."""
    held_out = "held_out_explained_variance" in final
    before = "held_out_" if held_out else ""
    explained = final.get(f"{before}explained_variance")
    where = "held-out activations" if held_out else "the activations of its last batch"
    dead = f"; {percent(final['dead'])} of its {count(wanted['d_sae'])} features are dead"
    return (
        f"{name} explains {'-' if explained is None else percent(explained)} of the variance of {where} with "
        f"{number(final[f'{before}l0'], 1)} active features per token{dead}."
    )


def payload(record: Mapping[str, Any]) -> dict[str, Any]:
    identity = record["identity"]
    asked = identity["dictionaries"]
    sections = [_section(name, asked[name], rows) for name, rows in record["log"].items()]
    return {
        "title": f"{', '.join(asked)} on {identity['model']['name']}",
        "sections": sections,
        "reached": [_reached(name, asked[name], rows[-1]) for name, rows in record["log"].items()],
        "facts": _facts(record),
        "identity": _lines_of(identity),
        "environment": _lines_of(record["environment"]),
    }


def _section(name: str, wanted: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    final = rows[-1]
    measures = {
        "loss of the last batch": number(final["loss"]),
        "explained variance of the last batch": number(final.get("explained_variance"), 3),
        "active features per token of the last batch": number(final["l0"], 1),
        "dead features": percent(final["dead"]),
    }
    if "held_out_l0" in final:
        measures |= {
            "explained variance, held out": number(final["held_out_explained_variance"], 3),
            "active features per token, held out": number(final["held_out_l0"], 1),
            "features that are silent on all held-out tokens": percent(final["held_out_silent"]),
        }
    way = wanted["site"] if wanted["site"] == wanted["target"] else f"{wanted['site']} to {wanted['target']}"
    return {
        "name": name,
        "finding": finding(name, wanted, final),
        "what": f"{wanted['architecture']}, {way}, {count(wanted['d_sae'])} features",
        "options": json.dumps(wanted["options"], sort_keys=True),
        "measures": _items(measures),
        "figures": [_figure(rows, *curve) for curve in CURVES],
    }


def _reached(name: str, wanted: Mapping[str, Any], final: Row) -> dict[str, Any]:
    """A row of the table of several dictionaries: on held-out text where it was measured, else on the last batch."""
    before = "held_out_" if "held_out_explained_variance" in final else ""
    return {
        "name": name,
        "target": wanted["target"],
        "features": wanted["d_sae"],
        "explained": final.get(f"{before}explained_variance"),
        "l0": final[f"{before}l0"],
        "dead": final["dead"],
    }


def _facts(record: Mapping[str, Any]) -> list[dict[str, str]]:
    identity, seen = record["identity"], record["steps"] * record["identity"]["batch_tokens"]
    passes = record["source"].get("epoch", 0)
    facts = {
        "model": f"{identity['model']['name']} ({identity['model']['dtype']})",
        "data": identity["data"]["name"] + (f", at the end in pass {passes + 1} over them" if passes else ""),
        "tokens": f"{count(seen)} in {count(record['steps'])} steps of {count(identity['batch_tokens'])}",
        "rows": f"at most {identity['context']} tokens; activations at BOS {'kept' if identity['keep_bos'] else 'left out'}",
        "held out": f"{percent(identity['hold_out'])} of the documents, {count(identity['held_out_tokens'])} tokens measured at most",
        "buffer": f"{count(identity['buffer_tokens'])} tokens, {number(record['buffer_bytes'] / 2**20, 0)} MiB",
        "time": f"{number(record['seconds'], 1)} s, {count(round(record['tokens_per_second']))} tokens/s",
        "peak memory of the process": f"{number(record['peak_memory_bytes'] / 2**20, 0)} MiB",
        "threads": str(record["environment"]["threads"]),
    }
    return _items(facts)


def _lines_of(data: object) -> Markup:
    """Plain data as JSON, each line made safe on its own, so that lines stay lines."""
    return Markup("\n").join(visible(line) for line in json.dumps(data, indent=1).splitlines())


def _items(facts: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in facts.items()]


# ------------------------------------------------------------ curves


def _figure(rows: Sequence[Row], title: str, unit: str, key: str, held_out: str, share: bool) -> dict[str, Any]:
    """One measure over the tokens seen, on the batches and on held-out text."""
    own = [(row["tokens"], row[key]) for row in rows if key in row]
    other = [(row["tokens"], row[held_out]) for row in rows if held_out in row]
    end = max(row["tokens"] for row in rows)
    bounds = _range([*own, *other], end, share)
    return {
        "title": title,
        "held_out": bool(other),
        "beyond": _beyond([*own, *other], bounds, percent if share else number),
        "drawing": _drawn((title, unit), end, own, other, bounds, share),
    }


def _drawn(
    names: tuple[str, str],
    end: float,
    own: Sequence[Point],
    other: Sequence[Point],
    bounds: tuple[float, float],
    share: bool,
) -> Markup:
    x, y = Scale(0.0, end, 78, WIDTH - 20), Scale(*bounds, HEIGHT - 52, 14)
    write: Callable[[float], str] = percent if share else number
    at = svg.ticks(*bounds)
    y_ticks = [(t, f"{text} %") for t, (_, text) in zip(at, svg.numbered([100 * t for t in at]), strict=True)]
    x_ticks = [(t, _thousands(t)) for t in svg.ticks(0.0, x.high, 4)]
    parts = [svg.axes(x, y, x_ticks, y_ticks if share else svg.numbered(at), ("tokens", names[1]))]
    for points, kind, name in ((own, "own-line", "batch"), (other, "random-line", "held out")):
        if points:
            parts += _lines(points, x, y, kind)
            dot: dict[str, str | float] = {
                "cx": x(points[-1][0]),
                "cy": y(_inside(points[-1][1], bounds)),
                "r": 3.5,
                "class": f"{kind}-dot",
            }
            said = f"{name}, at the end: {write(points[-1][1])}"
            parts.append(svg.element("circle", dot, svg.element("title", {}, said)))
    return svg.drawing(WIDTH, HEIGHT, f"{names[0]} over the tokens seen", *parts)


def _lines(points: Sequence[Point], x: Scale, y: Scale, kind: str) -> list[Markup]:
    """A line through the points; where it is beyond the frame it runs along the edge, in another style."""
    bounds, parts = (y.low, y.high), []
    for beyond, steps in groupby(pairwise(points), key=lambda step: not any(y.holds(value) for _, value in step)):
        pairs = list(steps)
        run = [pairs[0][0], *(after for _, after in pairs)]
        parts.append(svg.path([(x(at), y(_inside(v, bounds))) for at, v in run], "beyond" if beyond else kind))
    return parts


def _inside(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])


def _beyond(points: Sequence[Point], bounds: tuple[float, float], write: Callable[[float], str]) -> str:
    """What the frame does not show, in words."""
    outside = [(at, value) for at, value in points if value != _inside(value, bounds)]
    if not outside:
        return ""
    at, farthest = max(outside, key=lambda point: abs(point[1] - _inside(point[1], bounds)))
    return (
        f"{count(len(outside))} of {count(len(points))} points lie beyond the frame (dotted at its edge), "
        f"the farthest with {write(farthest)} at {_thousands(at)} tokens."
    )


def _range(points: Sequence[Point], end: float, share: bool) -> tuple[float, float]:
    """What the axis shows: for a share 0 to 1 at most; else the last two thirds, and the start unless it is far out."""
    late = max((value for at, value in points if at >= end / 3), default=0.0)
    if share:
        return 0.0, 1.0 if late > 0.2 else max(0.02, 1.1 * late)
    whole = max((value for _, value in points), default=0.0)
    return 0.0, 1.05 * (whole if whole <= FAR_OUT * late else late) or 1.0


def _thousands(value: float) -> str:
    return (
        f"{number(value / 1e6, 1)} M"
        if value >= 1e6
        else f"{number(value / 1e3, 0)} k"
        if value >= 1e3
        else number(value, 0)
    )
