"""A training run of dictionaries as one page: what was reached, and the curves of how."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from circuits.report import svg
from circuits.report.numbers import count, number, percent
from circuits.report.page import html
from circuits.report.svg import Scale

#: Title, unit, key of the measure on the batches, key on held-out text, whether the axis ends at 0 and 1.
CURVES: Final = (
    ("Loss", "loss", "loss", "", False),
    ("Active features per token (L0)", "features", "l0", "held_out_l0", False),
    ("Explained variance", "share", "explained_variance", "held_out_explained_variance", True),
    ("Dead features", "share", "dead", "", True),
)
WIDTH: Final = 440
HEIGHT: Final = 268

Row = Mapping[str, float]


def render_training(record: Mapping[str, Any]) -> str:
    """The page of a complete `training.json`. The same record gives the same bytes."""
    return html(_payload(record), "training.html.j2")


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


def _payload(record: Mapping[str, Any]) -> dict[str, Any]:
    identity = record["identity"]
    asked = identity["dictionaries"]
    sections = [_section(name, asked[name], rows) for name, rows in record["log"].items()]
    return {
        "title": f"{', '.join(asked)} on {identity['model']['name']}",
        "sections": sections,
        "facts": _facts(record),
        "identity": json.dumps(identity, indent=1),
        "environment": json.dumps(record["environment"], indent=1),
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


def _items(facts: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in facts.items()]


# ------------------------------------------------------------ curves


def _figure(rows: Sequence[Row], title: str, unit: str, key: str, held_out: str, share: bool) -> dict[str, Any]:
    """One measure over the tokens seen, on the batches and on held-out text."""
    own = [(row["tokens"], row[key]) for row in rows if key in row]
    other = [(row["tokens"], row[held_out]) for row in rows if held_out in row]
    end = max(row["tokens"] for row in rows)
    return {"title": title, "held_out": bool(other), "drawing": _drawn(title, unit, end, own, other, share)}


def _drawn(
    title: str,
    unit: str,
    end: float,
    own: Sequence[tuple[float, float]],
    other: Sequence[tuple[float, float]],
    share: bool,
) -> Markup:
    low, high = _range([value for _, value in (*own, *other)], share)
    x, y = Scale(0.0, end, 78, WIDTH - 20), Scale(low, high, HEIGHT - 52, 14)
    write: Callable[[float], str] = percent if share else number
    y_ticks = [(t, percent(t)) for t in svg.ticks(low, high)] if share else svg.numbered(svg.ticks(low, high))
    x_ticks = [(t, _thousands(t)) for t in svg.ticks(0.0, x.high, 4)]
    parts = [svg.axes(x, y, x_ticks, y_ticks, ("tokens", unit))]
    for points, kind, name in ((own, "own-line", "batch"), (other, "random-line", "held out")):
        if points:
            parts.append(svg.path([(x(at), y(min(max(value, low), high))) for at, value in points], kind))
            at, value = points[-1]
            dot: dict[str, str | float] = {
                "cx": x(at),
                "cy": y(min(max(value, low), high)),
                "r": 3.5,
                "class": f"{kind}-dot",
            }
            parts.append(svg.element("circle", dot, svg.element("title", {}, f"{name}, at the end: {write(value)}")))
    return svg.drawing(WIDTH, HEIGHT, f"{title} over the tokens seen", *parts)


def _range(values: Sequence[float], share: bool) -> tuple[float, float]:
    """What the axis shows: all of it, or for a share 0 to 1 at most; the first steps, far out, do not flatten the rest."""
    ordered = sorted(values) or [0.0]
    top = ordered[min(len(ordered) - 1, round(0.98 * len(ordered)))]
    if share:
        return 0.0, 1.0 if top > 0.2 else max(0.02, 1.1 * top)
    return 0.0, 1.05 * top or 1.0


def _thousands(value: float) -> str:
    return (
        f"{number(value / 1e6, 1)} M"
        if value >= 1e6
        else f"{number(value / 1e3, 0)} k"
        if value >= 1e3
        else number(value, 0)
    )
