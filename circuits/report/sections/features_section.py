"""A run at level `features` as plain data: its dictionaries, where the scores are, what the errors carry, circuits of other nodes
of the same size, the edges between the first features, and what these react to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from circuits.report.drawing import svg
from circuits.report.drawing.dashboard_figures import text
from circuits.report.drawing.feature_boxes import feature_boxes, in_sites, place
from circuits.report.drawing.svg import element, label, line
from circuits.report.sections.faithfulness_section import faithfulness
from circuits.report.sections.signs import has_sign
from circuits.terms.words import goal
from interp.formatting.numbers import count, decimals, number, percent, share_digits

if TYPE_CHECKING:
    from circuits.anatomy.feature_study import Beside, FeatureStudy, Look
    from circuits.evaluation.evaluation import Evaluation, Point
    from circuits.runs.record import Record
    from interp.parts.graph import Edge
    from interp.scores.scores import Scores

#: Edges that are drawn, strongest first.
MOST_DRAWN: Final = 60


def features(record: Record) -> dict[str, Any] | None:
    """The sections of the page; None at another level."""
    if not record.scores or record.scores[0].provenance.level != "features":
        return None
    scores, study = record.scores[0], record.features
    found: dict[str, Any] = {
        "shares": _shares(scores),
        "dictionaries": list(scores.provenance.dictionaries),
        "counted": _counted(scores, record.evaluation),
        "facts": [],
        "without_errors": None,
        "beside": None,
        "looks": [],
        "graph": None,
        "edges_reason": "not scored in this run",
    }
    if study is not None:
        found |= {
            "facts": [vars(fact) for fact in study.dictionaries],
            "without_errors": faithfulness(study.without_errors),
            "beside": _beside(record.evaluation, study),
            "looks": [_look(look, scores, record.exact) for look in study.looks],
            "graph": edge_graph(record.feature_edges, study) if record.feature_edges is not None else None,
            "edges_reason": study.edges_reason,
        }
    return found


def _counted(scores: Scores, found: Evaluation | None) -> str:
    """How many features and errors there are to choose from, and to judge a circuit among."""
    parts = {replace(part, position=None) for part in scores.parts}
    errors = sum(part.kind.endswith(".error") for part in parts)
    n = len(parts) - errors
    said = f"{count(n)} features and {count(errors)} errors were scored."
    more = found.n_nodes - n if found is not None else 0
    if more <= 0:
        return said
    return (
        f"{said} The circuit is judged among {count(n + more)} features: with the {count(more)} that are active on none of the "
        "scored pairs, but on one of those that it is judged on."
    )


# ---------------------------------------------------------------- scores by site


def _shares(scores: Scores) -> dict[str, Any]:
    """Per site the sum of the sizes of the scores of its features, and of its error."""
    sums: dict[str, list[float]] = {}
    for part, mean in zip(scores.parts, scores.mean.tolist(), strict=True):
        own = sums.setdefault(place(part), [0.0, 0.0])
        own[part.kind.endswith(".error")] += abs(mean)
    total = sum(map(sum, sums.values()))
    rows = [
        {"site": site, "features": f, "error": e, "share": e / (f + e) if f + e else 0.0}
        for site, (f, e) in sums.items()
    ]
    errors = sum(e for _, e in sums.values())
    return {
        "rows": rows,
        "unit": scores.provenance.unit,
        "method": scores.provenance.method,
        "errors": errors / total if total else 0.0,
    }


def shares(data: dict[str, Any]) -> Markup:
    """A bar for each site, the first at the bottom: its features, then its error."""
    rows = data["rows"]
    limit = max((row["features"] + row["error"] for row in rows), default=0.0) or 1.0
    left, wide = svg.width_of(row["site"] for row in rows) + 16, 360.0
    parts = [line(left, 4, left, 12 + 22 * len(rows), "axis")]
    digits = share_digits(row["share"] for row in rows)
    for i, row in enumerate(reversed(rows)):
        y, split, end = 8.0 + 22 * i, left + row["features"] / limit * wide, 0.0
        end = split + row["error"] / limit * wide
        parts.append(label(left - 8, y + 12, row["site"], "end"))
        for kind, start, stop, what in (("k0", left, split, "features"), ("k1", split, end, "error")):
            said = f"{row['site']}, {what}: {number(row[what])} {data['unit']}"
            box: dict[str, str | float] = {"x": start, "y": y, "width": stop - start, "height": 16.0, "class": kind}
            parts.append(element("rect", box, element("title", {}, said)))
        total = f"{number(row['features'] + row['error'])}, error {percent(row['share'], digits)}"
        parts.append(label(end + 6, y + 12, total, "value"))
    name = f"sum of the sizes of the scores ({data['unit']})"
    parts.append(label(left + wide / 2, 30 + 22 * len(rows), name, "middle name"))
    return svg.drawing(left + wide + 150, 40 + 22 * len(rows), "Scores by site, features and errors", *parts)


# ---------------------------------------------------------------- circuits of the same size


def _beside(own: Evaluation | None, study: FeatureStudy) -> dict[str, Any] | None:
    """Faithfulness at each size of the curve: features with errors kept and removed, neurons, heads."""
    if own is None:
        return None
    columns = [_column("features, errors kept", own.curve)]
    if study.without_errors is not None:
        columns.append(_column("features, errors removed", study.without_errors.curve))
    columns += [_column(f"{other.level}, of {count(other.n_parts)}", other.points) for other in study.beside]
    rows = [
        {"size": p.size, "cells": [c["at"].get(p.size) for c in columns], "own": p.size == own.size} for p in own.curve
    ]
    return {
        "names": [c["name"] for c in columns],
        "rows": rows,
        "notes": [_note(other) for other in study.beside],
        "empty": own.empty,
        "full": own.full,
    }


def _column(name: str, points: Sequence[Point]) -> dict[str, Any]:
    known = {p.size: p.faithfulness for p in points}
    return {"name": name, "at": {size: {"value": f.value, "low": f.low, "high": f.high} for size, f in known.items()}}


def _note(other: Beside) -> str:
    if not other.points and other.reason:
        return f"{other.level}: not measured. {other.reason}"
    undefined = f"; undefined: {other.reason}" if other.reason else ""
    return (
        f"{other.level}: {count(other.n_parts)} ranked by {other.method}; the metric with all of them ablated is "
        f"{number(other.empty)}{undefined}"
    )


# ---------------------------------------------------------------- what features react to


def _look(look: Look, scores: Scores, exact: Scores | None) -> dict[str, Any]:
    d = look.dashboard
    effects = [t.effect for t in (*d.effects.top, *d.effects.bottom)]
    return {
        "name": look.name,
        "score": _mean(scores, look.name),
        "exact": None if exact is None else _mean(exact, look.name),
        "unit": scores.provenance.unit,
        "density": d.density,
        "maximum": d.maximum,
        "examples": [{"value": e.activations[e.peak], "text": text(e, d.maximum)} for e in d.top],
        "raises": [{"token": t.token, "effect": t.effect} for t in d.effects.top],
        "lowers": [{"token": t.token, "effect": t.effect} for t in d.effects.bottom],
        "limit": max(map(abs, effects), default=0.0),
        "digits": decimals(effects, 3),
        "reason": d.effects.reason,
    }


def _mean(scores: Scores, name: str) -> float | None:
    return next((float(m) for p, m in zip(scores.parts, scores.mean, strict=True) if p.name == name), None)


# ---------------------------------------------------------------- edges


def edge_graph(scores: Scores, study: FeatureStudy) -> dict[str, Any]:
    """The strongest edges as a drawing: a row for each site, from the first at the bottom to the metric at the top."""
    drawn = [scores.edges[i] for i in scores.rank()[:MOST_DRAWN]]
    rows = [fact.target for fact in study.dictionaries]
    links = _links(scores, drawn)
    sizes = [abs(link["importance"]) for link in links]
    return {
        **in_sites(feature_boxes(drawn, rows), rows),
        "links": links,
        "limit": max(sizes, default=0.0),
        "digits": decimals(sizes),
        "unit": scores.provenance.unit,
        "method": scores.provenance.method,
        "chosen": True,
        "scored": True,
        "mixed": False,
        "signed": has_sign(scores),
        "goal": goal(scores.provenance.metric),
        "title": "The first features as a graph",
        "rows_are": "sites, from the first at the bottom to the metric at the top",
        "n": len(scores.parts),
        "left": len(scores.parts) - len(drawn),
    }


def _links(scores: Scores, drawn: Sequence[Edge]) -> list[dict[str, Any]]:
    """Each edge with its score and its importance."""
    means, importances = (dict(zip(scores.parts, v.tolist(), strict=True)) for v in (scores.mean, scores.importance))
    return [
        {
            "name": edge.name, "sender": edge.sender.name, "receiver": edge.receiver.name, "channel": "",
            "score": means[edge], "importance": importances[edge],
        }
        for edge in drawn
    ]  # fmt: skip
