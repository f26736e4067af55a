"""Two runs or circuits side by side as a notebook shows them: what makes them hard to compare, and the first parts of either."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from circuits.circuit.algebra import Comparison
from circuits.comparison.sides import SideBySide
from circuits.report.pages import render_side_by_side
from circuits.terms.words import kind_name
from interp.formatting import showing
from interp.formatting.html import MOST_ROWS, block, caption, facts, joined, table, text
from interp.formatting.numbers import MISSING, count, score
from interp.parts.nodes import Node


@showing.card.register
def side_card(found: SideBySide) -> str:
    """Warnings, the parts in common, and the table of the first parts, as a piece of HTML."""
    said = f"A: {found.a.name} · B: {found.b.name}"
    warnings = [caption(f"Compare with care: {warning}") for warning in found.warnings]
    return str(block("Side by side", said, *warnings, *_overlap(found), *_ranking(found), caption(found.correlation)))


def _overlap(found: SideBySide) -> list[Markup]:
    return [] if found.comparison is None else [_kinds(found.comparison)]


def _kinds(found: Comparison) -> Markup:
    rows = [
        (
            "all" if o.name == "all" else kind_name(o.name),
            count(o.both),
            count(o.only_a),
            count(o.only_b),
            f"{o.jaccard:.2f}",
        )
        for o in (*found.kinds, found.parts)
    ]
    return table(("parts in", "both", "A only", "B only", "Jaccard"), rows, numeric=(1, 2, 3, 4))


@showing.card.register
def comparison_card(found: Comparison) -> str:
    """How many parts of each kind two circuits share, and the nodes that they hold."""
    what = "edges" if found.level == "edges" else f"nodes of level {found.level}"
    said = joined(
        f"{count(found.size_a)} and {count(found.size_b)} {what}",
        f"Jaccard {found.jaccard:.2f}",
        str(found.chance or ""),
    )
    sides = (("nodes in both", found.both), ("nodes in A only", found.only_a), ("nodes in B only", found.only_b))
    nodes = facts((name, _named(held)) for name, held in sides)
    return str(block("Comparison", said, _kinds(found), nodes))


def _named(nodes: Sequence[Node]) -> Markup:
    more = f"and {count(len(nodes) - MOST_ROWS)} more" if len(nodes) > MOST_ROWS else ""
    return joined(*(text(node.name) for node in nodes[:MOST_ROWS]), more, by=", ")


def _ranking(found: SideBySide) -> list[Markup]:
    rows = [
        (r.part, _place(r.place_a), _place(r.place_b), score(r.score_a), score(r.score_b), _held(r.in_a, r.in_b))
        for r in found.rows[:MOST_ROWS]
    ]
    left = f"{count(len(found.rows) - len(rows))} more parts." if len(found.rows) > len(rows) else ""
    columns = ("part", "place in A", "place in B", "score in A", "score in B", "in circuit")
    return [table(columns, rows, numeric=(1, 2, 3, 4), left=left)] if rows else []


def _place(value: int | None) -> str:
    return MISSING if value is None else count(value)


def _held(in_a: bool | None, in_b: bool | None) -> str:
    return " and ".join(letter for letter, held in (("A", in_a), ("B", in_b)) if held)


showing.page.register(SideBySide, render_side_by_side)
