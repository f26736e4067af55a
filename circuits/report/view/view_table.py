"""The table of a circuit's nodes or edges as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from circuits.terms.words import kind_name
from interp.formatting.numbers import count, score

if TYPE_CHECKING:
    from circuits.circuit.circuit import Circuit
    from circuits.report.view.view_parts import Facts
    from interp.parts.graph import Part

MOST_LISTED: Final = 2000


def table(circuit: Circuit, facts: Facts) -> dict[str, Any]:
    """One row for each part of the circuit, in its own order."""
    from circuits.evaluation.faithfulness import counted

    what, limit = counted(circuit.level), facts.limit(circuit.parts)
    rows = [_row(i, part, facts, limit) for i, part in enumerate(circuit.parts[:MOST_LISTED], 1)]
    n = len(circuit)
    return {"rows": rows, "left": n - len(rows), "what": what, "words": f"{count(n)} {what[:-1] if n == 1 else what}"}


def _row(place: int, part: Part, facts: Facts, limit: float) -> dict[str, Any]:
    """What is known of a part; `limit`: the largest importance, of which its own is a share."""
    known = facts.of(part.name, limit)
    value = known["importance"]
    return {
        "place": place,
        "name": part.name,
        "kind": kind_name(part.kind, one=True),
        "layer": part.layer,
        **known,
        "weight": "" if value is None else score(value, facts.digits_of(value)),
        "of_largest": None if value is None else value / limit if limit else 0.0,
    }
