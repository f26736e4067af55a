"""The order in which parts enter a drawn circuit, and the sizes at which its faithfulness was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from circuits.report.sections.faithfulness_section import faithfulness
from interp.formatting.numbers import count, percent_interval, percent_range

if TYPE_CHECKING:
    from circuits.circuit.circuit import Circuit
    from circuits.evaluation.evaluation import Evaluation
    from interp.scores.scores import Scores


def stops(
    circuit: Circuit, scores: Scores | None, found: Evaluation | None, notes: Sequence[tuple[int, str]]
) -> list[dict[str, Any]]:
    """Where the slider stops: each size of the curve and the circuit itself, with what was measured there in words.

    `notes`: what is said of circuits larger than a size.
    """
    from circuits.circuit.selection import is_top
    from circuits.evaluation.faithfulness import counted

    own, prefix, what = len(circuit), is_top(circuit, scores), counted(circuit.level)
    curve = faithfulness(found)
    points = {p["size"]: p for p in (curve or {"points": []})["points"]}
    sizes = sorted({own, *points})
    return [
        {
            "size": size,
            "chosen": size == own,
            "words": _words(size, own, prefix, what),
            "faithful": _faithful(size, own, points, found),
            "random": _random(points.get(size)),
            "gauge": _gauge(size, own, points, found),
            "note": " ".join(text for above, text in notes if size > above),
        }
        for size in sizes
    ]


def _words(size: int, own: int, prefix: bool, what: str) -> str:
    parts = what[:-1] if size == 1 else what
    if size == own:
        return f"the chosen circuit: {count(size)} {parts}"
    first = f"the first {parts}" if size == 1 else f"the first {count(size)} {parts}"
    if prefix:
        return f"{first} of the ranking"
    if size < own:
        return f"{first} of the chosen circuit, in its own order"
    more = f"next {what[:-1]}" if size - own == 1 else f"next {count(size - own)} {what}"
    return f"the chosen circuit and the {more} of the ranking"


def _faithful(size: int, own: int, points: dict[int, dict[str, Any]], found: Evaluation | None) -> str:
    if found is None:
        return "not measured in this run"
    if size == own:
        f = found.faithfulness
        value, low, high = f.value, f.low, f.high
    else:
        value, low, high = (points[size][key] for key in ("faithfulness", "low", "high"))
    return "undefined" if value is None else percent_interval(value, low, high)


def _gauge(size: int, own: int, points: dict[int, dict[str, Any]], found: Evaluation | None) -> list[float | None]:
    """Faithfulness, its interval, and the range of the random circuits, for a drawing."""
    if found is None:
        return [None] * 5
    point = points.get(size, {"random_low": None, "random_high": None})
    f = found.faithfulness
    own_values = (f.value, f.low, f.high) if size == own else tuple(point[k] for k in ("faithfulness", "low", "high"))
    return [None if v is None else round(v, 4) for v in (*own_values, point["random_low"], point["random_high"])]


def _random(point: dict[str, Any] | None) -> str:
    if point is None or point["faithfulness"] is None:
        return "not measured in this run"
    if not point["n_random"]:
        return "none: no other circuit of this size and kinds exists"
    low, high, n = point["random_low"], point["random_high"], point["n_random"]
    return f"{percent_range(low, high)} ({count(n)} {'circuit' if n == 1 else 'circuits'})"


def chosen_stop(all_stops: Sequence[dict[str, Any]]) -> int:
    """The place of the chosen circuit among the stops."""
    return next(i for i, stop in enumerate(all_stops) if stop["chosen"])
