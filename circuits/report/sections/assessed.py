"""Everything that was measured of one circuit, `circuits evaluate`, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from circuits.report.sections.area_curves import areas_measured
from circuits.report.sections.faithfulness_section import faithfulness
from interp.formatting.numbers import column_digits, percent_interval

if TYPE_CHECKING:
    from circuits.circuit.circuit import Circuit
    from circuits.evaluation.assessment import Assessment

#: Of pairs that are not held out. Which they were is known of the circuit, and not kept with the evaluation.
SOME: Final = "some or all of them gave the scores"
UNKNOWN: Final = "whether they gave the scores is not known"


def payload(found: Assessment, circuit: Circuit) -> dict[str, Any]:
    """Everything that the page shows, section by section."""
    small = found.minimality
    digits = column_digits(r.drop for r in small.removals) if small else 0
    return {
        "title": f"{circuit.task} on {circuit.model}",
        "circuit": str(circuit),
        "faithfulness": faithfulness(found.evaluation, SOME if circuit.scored_pairs else UNKNOWN),
        "curve_order": "the parts of the circuit in their own order, then the rest of the ranking",
        "areas": areas_measured(found.areas) if found.areas else None,
        "tests": [str(found.sufficient), str(found.necessary)],
        "without_errors": str(found.without_errors) if found.without_errors else None,
        "removals": [] if small is None else [
            {"part": r.part, "kind": r.kind, "drop": percent_interval(r.drop.value, r.drop.low, r.drop.high, digits)}
            for r in small.removals
        ],
        "harmless": list(small.harmless) if small else [],
        "unclear": list(small.unclear) if small else [],
        "left_out": list(found.left_out),
        "spent": str(found.spent) if found.spent else None,
    }  # fmt: skip
