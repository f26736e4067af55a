"""`diff`: read two runs or circuits, print how they compare, write the page."""

from __future__ import annotations

from circuits.circuit.circuit import CircuitError
from circuits.comparison.matching import side_by_side
from circuits.comparison.sides import SideBySide
from circuits.console import printing
from circuits.jobs.assessing import check_file
from circuits.report.pages import render_side_by_side
from circuits.settings.exchange_options import SideBySideOptions
from circuits.terms.words import kind_name
from interp.files import write_text
from interp.formatting.numbers import column_digits, percent_interval, score

LISTED = 15


def diff(asked: SideBySideOptions) -> None:
    """Two runs or circuits side by side, as tables or JSON, and as a page where `out` is given."""
    out = asked.out
    check_file(out, asked.force)
    found = side_by_side(asked.a, asked.b)
    if out is not None:
        try:
            write_text(out, render_side_by_side(found))
        except OSError as error:
            raise CircuitError(f"cannot write {str(out)!r}: {error.strerror or error}.") from error
    if asked.json:
        printing.as_json(found.to_dict() | {"page": str(out) if out else None})
        return
    _show(found)
    if out is not None:
        printing.lines(f"side by side: {out}")


def _show(found: SideBySide) -> None:
    printing.lines(f"A {found.a.name}: {found.a.finding}\nB {found.b.name}: {found.b.finding}")
    for warning in found.warnings:
        printing.say(f"WARNING: {warning}")
    different = [(f.name, f.a, f.b) for f in found.facts if f.differs]
    if different:
        printing.table("what differs", ("convention", "A", "B"), different)
    if found.comparison is not None:
        rows = [*found.comparison.kinds, found.comparison.parts]
        counts = [
            (kind_name(o.name) if o.name != "all" else "all", o.both, o.only_a, o.only_b, f"{o.jaccard:.3f}")
            for o in rows
        ]
        chance = f"; Jaccard {found.comparison.chance}" if found.comparison.chance else ""
        printing.table(f"parts of the circuits{chance}", ("kind", "both", "only A", "only B", "Jaccard"), counts)
    printing.lines(found.correlation)
    _ranking(found)
    _curves(found)


def _ranking(found: SideBySide) -> None:
    """The first places of either ranking."""
    scored = [row for row in found.rows if row.place_a is not None or row.place_b is not None]
    if not scored:
        return
    rows = [
        (
            r.part, r.place_a, r.place_b, "" if r.rise is None else score(r.rise, 0), score(r.score_a), score(r.score_b),
            " ".join(letter for letter, held in (("A", r.in_a), ("B", r.in_b)) if held),
        )
        for r in scored[:LISTED]
    ]  # fmt: skip
    columns = ("part", "place A", "place B", "change", "score A", "score B", "in circuit")
    printing.table(f"the first of {len(scored)} parts, by the better place", columns, rows)


def _curves(found: SideBySide) -> None:
    sides = (("A", found.a.evaluation), ("B", found.b.evaluation))
    digits = column_digits(e.faithfulness for _, e in sides if e is not None)
    rows = []
    for letter, e in sides:
        if e is None:
            rows.append((letter, "", "", "not measured", ""))
            continue
        f = e.faithfulness
        value = percent_interval(f.value, f.low, f.high, digits) if f.value is not None else f"undefined: {e.reason}"
        rows.append(
            (
                letter,
                f"{e.size:,} of {e.n_nodes:,} {e.counts}",
                f"{e.n_pairs}{' held-out' if e.held_out else ''}",
                value,
                e.ablation,
            )
        )
    printing.table("faithfulness", ("", "circuit", "pairs", "faithfulness", "ablation"), rows)
