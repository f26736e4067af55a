"""The table of a circuit's nodes or edges as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from circuits.report.words import kind_name
from interp.display.numbers import count

if TYPE_CHECKING:
    from circuits.circuit import Circuit
    from circuits.report.view_parts import Facts

MOST_LISTED: Final = 2000


def table(circuit: Circuit, facts: Facts) -> dict[str, Any]:
    """One row for each part of the circuit, in its own order."""
    from circuits.faithfulness import counted

    what = counted(circuit.level)
    rows = [
        {
            "place": i,
            "name": part.name,
            "kind": kind_name(part.kind, one=True),
            "layer": part.layer,
            **facts.of(part.name, 0),
        }
        for i, part in enumerate(circuit.parts[:MOST_LISTED], 1)
    ]
    n = len(circuit)
    return {"rows": rows, "left": n - len(rows), "what": what, "words": f"{count(n)} {what[:-1] if n == 1 else what}"}
