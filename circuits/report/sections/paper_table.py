"""The table of a paper as it was measured here, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from circuits.reproduction.reproduced import STAR, agreement_lines, basis_lines
from circuits.reproduction.verdicts import facts, verdicts

if TYPE_CHECKING:
    from circuits.reproduction.paper import Paper
    from circuits.reproduction.reproduced import ModelTable, Reproduced


def payload(found: Reproduced, paper: Paper) -> dict[str, Any]:
    """Everything that the page shows, model by model."""
    return {
        "title": found.title,
        "source": found.source,
        "says": paper.says,
        "tables": [_of_model(table, paper) for table in found.tables],
        "failed": [{"given": one.given, "reason": one.reason} for one in found.failed],
    }


def _of_model(table: ModelTable, paper: Paper) -> dict[str, Any]:
    shown = {"agreement": agreement_lines(table), "basis": basis_lines(table)}
    return {
        "name": table.name,
        "facts": facts(table, paper),
        "verdicts": verdicts(table, paper),
        "star": f"{STAR}." if table.carried else "",
        **{name: {"columns": columns, "lines": lines} for name, (columns, lines) in shown.items()},
    }
