"""What method `auto` tried, as plain data: its certificate, the estimates it judged, the steps it took, and their picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from circuits.terms.words import kind_name
from interp.formatting.numbers import decimals, number
from interp.scores.wording import neither

if TYPE_CHECKING:
    from circuits.runs.record import Record
    from interp.scores.scores import Scores
    from interp.scores.trail import Fit, Point, Search

#: What the picture calls the reason why a part was scored exactly.
_ROLES: Final = {
    "top": "top of a ranking",
    "random": "random, of each kind and depth",
    "check": "random check of what was left",
    "all": "everything else",
}
#: A longer table is folded.
MOST_OPEN: Final = 24


def search_of(record: Record) -> Search | None:
    """What the method tried that comes first; None where that is not `auto`."""
    return record.scores[0].search if record.scores else None


def search(record: Record) -> dict[str, Any] | None:
    """The section of the page; None where there was no search."""
    found = search_of(record)
    if found is None:
        return None
    rows = [_fit(fit) for fit in found.fits]
    return {
        "certificate": str(found.certificate),
        "state": found.certificate.state,
        "rows": rows,
        "digits": decimals([row["error"] for row in rows], 3),
        "folded": len(rows) > MOST_OPEN,
        "unit": record.scores[0].provenance.unit,
        "left_out": [{"method": method, "why": why} for method, why in found.left_out],
        "rounds": [{"what": r.what, "parts": r.parts, "cost": r.cost, "seconds": r.seconds} for r in found.rounds],
        "facts": _facts(found),
        "picture": _picture(found, record.scores[0].provenance.unit),
    }


def _fit(fit: Fit) -> dict[str, Any]:
    return {
        "kind": kind_name(fit.kind),
        "method": fit.method,
        "n": fit.n,
        "pearson": fit.pearson,
        "error": fit.error if fit.n else None,
        "slope": fit.slope,
        "chosen": fit.chosen,
        "weights": fit.weights or ((fit.slope, fit.slope) if fit.chosen else (0.0, 0.0)),
    }


def _facts(found: Search) -> list[dict[str, str]]:
    spent = f"{number(found.spent, 1)} forward equivalents"
    if found.budget.endswith(" s"):
        spent = f"{number(sum(r.seconds for r in found.rounds), 2)} s ({spent})"
    facts = {
        "estimates tried": ", ".join(found.tried),
        "cost of the cheap estimates, outside the budget": f"{number(found.estimates_cost, 1)} forward equivalents",
        "budget": found.budget,
        "spent of the budget": spent,
        "top by": "importance" if found.ranking == "signed" else "size",
    }
    if found.radius is not None and found.radius_chance is not None and found.certificate.outside:
        facts["error of an estimate"] = (
            f"one drawn at random is off by more than {number(found.radius)} with a chance of at most "
            f"{number(100 * found.radius_chance, 1)} %"
        )
    return [{"name": name, "value": value} for name, value in facts.items()]


def _picture(found: Search, unit: str) -> dict[str, Any] | None:
    """The sample as a scatter: estimates of before the random check against exact scores, one mark for each reason to be in the sample."""
    shown = [p for p in found.points if p.kind != "embed"]
    if not shown:
        return None
    # Where the budget reached all parts there was nothing else.
    roles = _ROLES | ({"all": "all, scored exactly"} if {p.role for p in shown} == {"all"} else {})
    values = [0.0, *(v for p in shown for v in (p.estimate, p.exact))]
    margin = 0.06 * (max(values) - min(values)) or 1.0
    return {
        "method": "estimate",
        "unit": unit,
        "kinds": [name for role, name in roles.items() if any(p.role == role for p in shown)],
        "points": [_point(p, roles[p.role]) for p in shown],
        "range": [min(values) - margin, max(values) + margin],
        "small": False,
    }


def _point(point: Point, kind: str) -> dict[str, Any]:
    return {"name": point.name, "kind": kind, "exact": point.exact, "score": point.estimate}


def how_known(scores: Scores, place: int) -> str | None:
    """Whether a score is exact or estimated, and how far off it may be; None where that is not recorded."""
    if (other := neither(scores.provenance)) is not None:
        return other
    if scores.search is None or scores.exact is None:
        return None
    if scores.exact[place]:
        return "exact"
    part = "edge" if scores.provenance.level == "edges" else "node"
    return (
        "estimated"
        if scores.error is None
        else f"estimated, ± {number(float(scores.error[place]))} for a {part} drawn at random"
    )
