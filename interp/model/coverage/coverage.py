"""Which module a rule set has a rule for: every module of the forward pass is named, none is skipped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from interp.errors import UnsupportedRuleError
from interp.formatting.table import Table, rows_of
from interp.formatting.text import printed
from interp.model.coverage.operations import Operations
from interp.model.coverage.treatments import Row, treatments
from interp.parts.layout import Layout
from interp.rules.rules import Rules


@dataclass(frozen=True, repr=False)
class Coverage(Table):
    """How a rule set treats each operation of a model. plot(): how many of each kind have a rule, the plain gradient, or neither."""

    rules: Rules
    rows: tuple[Row, ...]

    @property
    def unsupported(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.treatment == "unsupported")

    def to_pandas(self) -> Any:
        """The table: path, operation, treatment, rule."""
        names = ("path", "operation", "treatment", "rule")
        return rows_of({name: [getattr(row, name) for row in self.rows] for name in names})

    def check(self) -> None:
        """Raises: UnsupportedRuleError with the paths that have no rule."""
        if rows := self.unsupported:
            places = _by_operation(rows)
            named = "; ".join(places[:8])
            more = f" and {len(places) - 8} more" if len(places) > 8 else ""
            raise UnsupportedRuleError(
                f"rules ({self.rules.describe()}) have no meaning for: {named}{more}. "
                "Choose other rules; interp.attribute and model.run take allow_unsupported=True for the plain gradient there."
            )

    def __str__(self) -> str:
        return printed(f"{self.rules.describe()}\n{self.to_pandas().to_string(index=False)}")

    def __repr__(self) -> str:
        found = [row.treatment for row in self.rows]
        counts = ", ".join(f"{found.count(name)} {name}" for name in ("unsupported", "rule", "plain gradient"))
        return f"Coverage({self.rules.describe()}: {counts})"


def _by_operation(rows: Iterable[Row]) -> list[str]:
    """Of each operation the first path, and how many others there are."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.operation, []).append(row.path)
    return [
        f"{own[0] or '(model)'} ({name})" + (f" and {len(own) - 1} like it" if own[1:] else "")
        for name, own in found.items()
    ]


def coverage(layout: Layout, operations: Operations, rules: Rules) -> Coverage:
    """The table for `rules`."""
    return Coverage(rules, treatments(layout, operations, rules))
