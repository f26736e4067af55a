"""How well approximations agree with exact patching, as plain data: the rows of the table, and the points of the scatters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from circuits.runs.agreeing import POOR
from circuits.runs.naming import of_edges
from circuits.terms.words import kind_name
from interp.formatting.numbers import number

if TYPE_CHECKING:
    from circuits.runs.record import Record
    from interp.scores.agreement import Agreement, Row
    from interp.scores.scores import Scores

MOST_POINTS: Final = 1000
MOST_OUTSIDE: Final = 4
#: The note of a row whose correlation is made by a few large scores, and what it says.
RANKS: Final = "ranks differ"
RANKS_MEAN: Final = "a few large scores make the correlation, and the order of the others is another"


def agreement(found: Agreement) -> dict[str, Any]:
    kinds = [row.kind for row in found.rows]
    features = any(kind.endswith(".feature") for kind in kinds)
    every = "all edges" if any("->" in kind for kind in kinds) else "all features" if features else kind_name("all")
    ordered = sorted(found.rows, key=lambda row: row.kind == "embed")
    rows = [_agreement_row(row, every, note(row, found)) for row in ordered]
    ranks = f"{RANKS.capitalize()}: {RANKS_MEAN}." if any(RANKS in row["note"] for row in rows) else ""
    return {
        "method": found.method,
        "n_pairs": found.n_pairs,
        "sampled": found.sampled,
        "order": found.order,
        "rows": rows,
        "ranks": ranks,
    }


def note(row: Row, found: Agreement) -> str:
    """What is to be doubted in a row of `found`; empty where nothing is."""
    if not row.headline:
        kinds = [other.kind for other in found.rows]
        features = any(kind.endswith(".feature") for kind in kinds)
        return f"few {'edges' if any('->' in kind for kind in kinds) else 'features' if features else 'nodes'}"
    ranks = RANKS if row.spearman is not None and row.spearman < POOR <= (row.pearson or 0.0) else ""
    return "; ".join(text for text in (carrier(row), ranks) if text)


def carrier(row: Row) -> str:
    """The node that makes the correlation what it is, and what it is without it; empty where none does."""
    return f"{row.largest} makes r, {number(row.pearson_without, 2)} without it" if row.carried else ""


def samples(agreements: Sequence[Agreement]) -> list[dict[str, Any]]:
    """How exact patching was sampled, said once for all methods that share it."""
    found: dict[tuple[int, str], list[str]] = {}
    for a in agreements:
        found.setdefault((a.n_pairs, a.sampled), []).append(a.method)
    return [{"n_pairs": n, "sampled": sampled, "methods": methods} for (n, sampled), methods in found.items()]


def _agreement_row(row: Row, every: str, doubt: str) -> dict[str, Any]:
    intervals = {"pearson_ci": _pair(row.pearson_ci), "spearman_ci": _pair(row.spearman_ci)}
    return {
        **asdict(row),
        **intervals,
        "kind": every if row.kind == "all" else kind_name(row.kind),
        "few": not row.headline,
        "note": doubt,
    }


def _pair(bounds: tuple[float, float] | None) -> list[float] | None:
    return None if bounds is None else list(bounds)


def scatters(record: Record) -> list[dict[str, Any]]:
    if record.exact is None:
        return []
    exact = {n.name: float(m) for n, m in zip(record.exact.parts, record.exact.mean, strict=True)}
    judged = {a.method for a in record.agreements}
    # What `auto` scored exactly says nothing about itself.
    own = [s for s in record.scores if s.search is None or s.provenance.method in judged]
    # Nor has an order of parts a place on an axis of effects.
    own = [s for s in own if not s.provenance.masks]
    drawn = [s for s in own if not s.provenance.exact and any(n.name in exact for n in s.parts)]
    # Edges are so many that several scatters share the points that one may have.
    most = MOST_POINTS // len(drawn) if drawn and of_edges(record) else MOST_POINTS
    return [{**_scatter(s, exact, most), "small": len(drawn) > 2} for s in drawn]


def _scatter(scores: Scores, exact: Mapping[str, float], most: int) -> dict[str, Any]:
    both = zip(scores.parts, scores.mean, strict=True)
    points: list[dict[str, Any]] = [
        {"name": n.name, "kind": _scatter_kind(n.kind), "exact": exact[n.name], "score": float(m)}
        for n, m in both
        if n.name in exact
    ]
    low, high = _range(points)
    outside = [p for p in points if not (low <= p["exact"] <= high and low <= p["score"] <= high)]
    return {
        "method": scores.provenance.method,
        "unit": scores.provenance.unit,
        "kinds": sorted(dict.fromkeys(p["kind"] for p in points), key=lambda kind: kind == kind_name("embed")),
        "points": _thinned(points, most),
        "n": len(points),
        "range": [low, high],
        "outside": outside[:MOST_OUTSIDE],
        "outside_left": max(0, len(outside) - MOST_OUTSIDE),
    }


def _scatter_kind(kind: str) -> str:
    """Edges are told apart by what reads them: pairs of kinds would be more than there are marks."""
    _, arrow, receiver = kind.partition("->")
    return f"into {kind_name(receiver)}" if arrow else kind_name(kind)


def _range(points: list[dict[str, Any]]) -> tuple[float, float]:
    """Both axes of a scatter. The embedding, often far larger than all others, does not stretch them."""
    inner = [p for p in points if p["name"].partition("@")[0] != "embed"] or points
    values = [0.0, *(p[key] for p in inner for key in ("exact", "score"))]
    margin = 0.06 * (max(values) - min(values)) or 1.0
    return min(values) - margin, max(values) + margin


def _thinned(points: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """The `most` largest points and as many of the rest, evenly, where there are too many to draw."""
    if len(points) <= 2 * most:
        return points
    ordered = sorted(points, key=lambda p: -max(abs(p["exact"]), abs(p["score"])))
    rest = ordered[most:]
    return ordered[:most] + rest[:: math.ceil(len(rest) / most)]
