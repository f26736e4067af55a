"""Two runs or circuits side by side as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from circuits.report.drawing import edge_drawing
from circuits.report.sections.faithfulness_section import faithfulness
from circuits.report.side import side_figures
from circuits.report.side.side_graph import graphs
from circuits.terms.words import kind_name
from interp.formatting.numbers import decimals

if TYPE_CHECKING:
    from circuits.comparison.sides import Side, SideBySide

MOST_RANKED: Final = 40
MOST_POINTS: Final = 1500
MOST_LISTED: Final = 60
_GROUPS: Final = {
    (True, True): "both circuits",
    (True, False): "circuit A only",
    (False, True): "circuit B only",
    (False, False): "neither circuit",
}


def payload(found: SideBySide) -> dict[str, Any]:
    """Everything that the page shows, section by section."""
    return {
        "title": f"{found.a.name} and {found.b.name}",
        "sides": [{"letter": letter, **_side(side)} for letter, side in (("A", found.a), ("B", found.b))],
        "warnings": found.warnings,
        "facts": [{"name": f.name, "a": f.a, "b": f.b, "differs": f.differs} for f in found.facts],
        "unmatched": found.unmatched,
        "unmixed": found.unmixed,
        "scatter": _scatter(found),
        "overlap": _overlap(found),
        "graphs": _graphs(found),
        "ranking": _ranking(found),
        "faithfulness": _faithfulness(found),
    }


def _side(side: Side) -> dict[str, Any]:
    return {"name": side.name, "finding": side.finding, "command": side.manifest.get("command")}


# ---------------------------------------------------------------- scores


def _scatter(found: SideBySide) -> dict[str, Any] | None:
    if not found.common:
        return None
    held = {row.part: (bool(row.in_a), bool(row.in_b)) for row in found.rows}
    points: list[dict[str, Any]] = [{"name": n, "a": a, "b": b, "where": _GROUPS[held[n]]} for n, a, b in found.common]
    points.sort(key=lambda p: -max(abs(p["a"]), abs(p["b"])))
    shown = points[:MOST_POINTS]
    groups = [group for group in _GROUPS.values() if any(p["where"] == group for p in shown)]
    values = [0.0, *(p[key] for p in shown for key in ("a", "b"))]
    margin = 0.06 * (max(values) - min(values)) or 1.0
    data = {
        "points": shown,
        "groups": groups,
        "range": [min(values) - margin, max(values) + margin],
        "quantity": found.quantity,
        "unit": found.unit,
    }
    return {
        "drawing": side_figures.scatter(data),
        "groups": groups if found.comparison else [],
        "quantity": found.quantity,
        "n": found.n_common,
        "left": len(points) - len(shown),
        "pearson": found.pearson,
        "spearman": found.spearman,
    }


# ---------------------------------------------------------------- circuits


def _overlap(found: SideBySide) -> dict[str, Any] | None:
    compared = found.comparison
    if compared is None:
        return None
    both, a, b = found.held("both"), found.held("a"), found.held("b")
    lists = [
        {"where": w, "parts": p[:MOST_LISTED], "left": len(p[MOST_LISTED:])}
        for w, p in zip(_GROUPS.values(), (both, a, b), strict=False)
    ]
    return {
        "jaccard": compared.jaccard,
        "chance": str(compared.chance) if compared.chance else None,
        "sizes": [compared.size_a, compared.size_b],
        "lists": lists,
        "kinds": [{"name": kind_name(o.name), **_counts(o)} for o in compared.kinds],
        "counts": _counts(compared.parts),
    }


def _counts(overlap: Any) -> dict[str, Any]:
    return {"both": overlap.both, "a": overlap.only_a, "b": overlap.only_b, "jaccard": overlap.jaccard}


def _graphs(found: SideBySide) -> dict[str, Any] | None:
    made = graphs(found)
    if made is None:
        return None
    return {**made, "drawings": [edge_drawing.drawing(picture) for picture in made["pictures"]]}


# ---------------------------------------------------------------- ranking


def _ranking(found: SideBySide) -> dict[str, Any] | None:
    rows = [row for row in found.rows if row.place_a is not None or row.place_b is not None]
    if not rows:
        return None
    shown = rows[:MOST_RANKED]
    return {
        "rows": [{**vars(row), "rise": row.rise, "where": _where(row.in_a, row.in_b)} for row in shown],
        "left": len(rows) - len(shown),
        "units": [s.scores.provenance.unit if s.scores else "" for s in (found.a, found.b)],
        "digits": [decimals([row.score_a for row in shown]), decimals([row.score_b for row in shown])],
    }


def _where(in_a: bool | None, in_b: bool | None) -> str:
    held = [letter for letter, inside in (("A", in_a), ("B", in_b)) if inside]
    return " and ".join(held) or "neither"


# ---------------------------------------------------------------- faithfulness


def _faithfulness(found: SideBySide) -> dict[str, Any]:
    sides = (found.a.evaluation, found.b.evaluation)
    known = [faithfulness(e) for e in sides]
    same = all(sides) and len({(e.n_nodes, e.counts) for e in sides if e}) == 1
    curves = [_points(k, e.n_nodes, same) if k and e else [] for k, e in zip(known, sides, strict=True)]
    ranges = [k["range"] for k in known if k]
    drawn = any(len(points) > 1 for points in curves)
    data: dict[str, Any] = {
        "a": curves[0],
        "b": curves[1],
        "range": [min(r[0] for r in ranges), max(r[1] for r in ranges)] if ranges else [0.0, 1.0],
        "shares": not same,
        "x_name": f"{known[0]['parts']} in the circuit" if same and known[0] else "share of all parts in the circuit",
    }
    return {
        "drawing": side_figures.curves(data) if drawn else None,
        "samples": [(side_figures.line_sample(s), side_figures.band_sample(s)) for s in side_figures.SIDES],
        "missing": [letter for letter, k in zip("AB", known, strict=True) if k is None],
        "undefined": [f"{letter}: {k['reason']}" for letter, k in zip("AB", known, strict=True) if k and k["reason"]],
        "clipped": any(k["clipped"] for k in known if k),
        "rows": _rows(curves) if same else [],
        "parts": known[0]["parts"] if same and known[0] else "",
        "facts": [k["facts"] if k else [] for k in known],
    }


def _points(found: dict[str, Any], total: int, same: bool) -> list[dict[str, Any]]:
    """The points of a curve with their place on the common axis: a size, or a share in per cent."""
    sized: list[dict[str, Any]] = found["points"]
    return [
        {
            **p,
            "x": float(p["size"]) if same else 100 * p["size"] / total,
            "parts": found["parts"],
            "chosen": p["size"] == found["size"],
        }
        for p in sized
    ]


def _rows(curves: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row per size that either curve has."""
    at = [{p["size"]: p for p in points} for points in curves]
    return [{"size": size, "a": at[0].get(size), "b": at[1].get(size)} for size in sorted({*at[0], *at[1]})]
