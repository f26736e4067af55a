"""How well methods agree with exact patching, in the words of the sentence at the top of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from circuits.runs.naming import of_edges, of_features, words
from circuits.terms.words import edges_of_kind, enumerated, kind_name
from interp.formatting.numbers import count, number

if TYPE_CHECKING:
    from circuits.runs.record import Record
    from interp.scores.agreement import Agreement, Row
    from interp.scores.scores import Scores

POOR: Final = 0.7
MOST_POOR: Final = 3
#: What the scores of searches on masks are.
ORDER: Final = "scores are an order of parts and estimate no effects"


def agreement_words(record: Record) -> str:
    """How well the method that chose the circuit agrees with exact patching."""
    if not record.scores:
        return ""
    chosen = record.scores[0].provenance
    if chosen.exact:
        return "it was chosen by exact patching itself, not by an approximation"
    if (search := record.scores[0].search) is not None:
        return search.certificate.headline
    if chosen.masks:
        return f"{chosen.method} is a search on masks, whose {ORDER}"
    own = [a for a in record.agreements if a.method == chosen.method]
    if not own:
        return f"how well {chosen.method} agrees with exact patching was not measured in this run"
    scores = record.scores[0]
    return _edges_agree(own[0], len(scores.parts)) if of_edges(record) else _agrees(own[0], scores)


def _agrees(own: Agreement, scores: Scores) -> str:
    rows = _quotable(own)
    if not rows:
        n = max((row.n for row in own.rows), default=0)
        return f"there are too few nodes ({n}) to quote a correlation of {own.method} with exact patching: look at the points"
    poor = [row for row in rows if (row.pearson or 0.0) < POOR]
    good = [row for row in rows if row not in poor]
    if not good:
        return f"{own.method} agrees poorly with exact patching: {_listed(poor, scores)}"
    text = f"{own.method} agrees with exact patching with {_listed(good, scores)}"
    return f"{text}, but poorly, with {_listed(poor, scores)}" if poor else text


def _edges_agree(own: Agreement, total: int) -> str:
    """Agreement over edges: all of them together, and the worst kinds where those agree poorly; kinds are too many to list."""
    over = _over_all(own)
    if not over:
        n = max((row.n for row in own.rows), default=0)
        return f"there are too few edges ({n}) to quote a correlation of {own.method} with exact patching: look at the points"
    row = over[0]
    of = f" of {count(total)}" if row.n < total else ""
    value = f"r = {number(row.pearson, 2)}{bounds(row)} over {count(row.n)}{of} edges{_doubts(row)}"
    if (row.pearson or 0.0) < POOR:
        return f"{own.method} agrees poorly with exact patching: {value}"
    return f"{own.method} agrees with exact patching with {value}{_poor_kinds(own)}"


def _poor_kinds(own: Agreement) -> str:
    quotable = [row for row in own.rows if row.kind != "all" and row.headline and row.pearson is not None]
    poor = sorted((row for row in quotable if (row.pearson or 0.0) < POOR), key=lambda row: row.pearson or 0.0)
    if not poor:
        return ""
    shown = [
        f"r = {number(row.pearson, 2)}{bounds(row)} over {count(row.n)} {edges_of_kind(row.kind)}"
        for row in poor[:MOST_POOR]
    ]
    rest = [f"{count(len(poor) - MOST_POOR)} more of {count(len(quotable))} kinds"] if len(poor) > MOST_POOR else []
    listed = [*shown, *rest]
    return f", but poorly, with {enumerated(listed)}"


def compared_words(record: Record) -> str:
    """The sentence of a run that compares methods and chooses no circuit: over all nodes, which hide no kind."""
    first = record.scores[0].provenance
    names = ", ".join(scores.provenance.method for scores in record.scores)
    head = f"no circuit was chosen in this run: {names} scored {count(first.n_pairs)} pairs of {first.task} ({first.direction})"
    # The errors of dictionaries are not in that row.
    many = "features" if of_features(record) else words(record)["many"]
    found = [(row, a.method) for a in record.agreements for row in _over_all(a)]
    if not found:
        alone = all(scores.provenance.masks or scores.provenance.exact for scores in record.scores)
        why = f"; how well they agree with exact patching was not measured, or on too few {many} to quote"
        return f"{head}{'' if alone else why}{_searches(record)}"
    found.sort(key=lambda pair: -(pair[0].pearson or 0.0))
    shown = ", ".join(f"{method} {number(row.pearson, 2)}{bounds(row)}{_doubts(row)}" for row, method in found)
    poor = " (all of them poor)" if (found[0][0].pearson or 0.0) < POOR else ""
    over = f"correlation with exact patching over {_over(found[0][0], record.scores[0])} {many}"
    return f"{head}; {over}, best first: {shown}{poor}{_searches(record)}"


def _searches(record: Record) -> str:
    """What is said of searches on masks beside estimates: they are judged by circuits, which a run that compares has none of."""
    found = [(s.provenance.method, s.provenance.unit) for s in record.scores if s.provenance.masks]
    if not found:
        return ""
    named = enumerated([f"{method} (in {unit})" for method, unit in found])
    be = "is a search" if len(found) == 1 else "are searches"
    return f"; {named} {be} on masks, whose {ORDER}: circuits discover --method {found[0][0]} judges what it finds by its circuit"


def _over_all(found: Agreement) -> list[Row]:
    return [row for row in found.rows if row.kind == "all" and row.headline and row.pearson is not None]


def _quotable(found: Agreement) -> list[Row]:
    """The kinds with enough nodes for a correlation, most nodes first, and all nodes together where no kind has enough
    or where they agree poorly though the kinds quoted agree well: a kind of few nodes must not hide."""
    rows = [row for row in found.rows if row.headline and row.pearson is not None]
    kinds = sorted((row for row in rows if row.kind not in ("all", "embed")), key=lambda row: -row.n)
    well = all((row.pearson or 0.0) >= POOR for row in kinds)
    return kinds + [row for row in _over_all(found) if not kinds or (well and (row.pearson or 0.0) < POOR)]


def _listed(rows: list[Row], scores: Scores) -> str:
    return " and ".join(
        f"r = {number(row.pearson, 2)}{bounds(row)} over {_over(row, scores)} "
        f"{'nodes of all kinds' if row.kind == 'all' else kind_name(row.kind)}{_doubts(row)}"
        for row in rows
    )


def _over(row: Row, scores: Scores) -> str:
    """How many parts a correlation is over, and of how many they are a sample."""
    # Late, so that this package imports no torch.
    from interp.parts.nodes import competes

    total = sum(competes(part.kind) if row.kind == "all" else part.kind == row.kind for part in scores.parts)
    return f"a sample of {count(row.n)} of {count(total)}" if row.n < total else count(row.n)


def _doubts(row: Row) -> str:
    """A word of warning where one node, or a few large ones, make the correlation."""
    doubts = []
    if row.carried:
        doubts.append(f"{number(row.pearson_without, 2)} without {row.largest}, which carries it")
    if row.spearman is not None and row.spearman < POOR <= (row.pearson or 0.0):
        doubts.append(f"rank correlation only {number(row.spearman, 2)}")
    return f" ({'; '.join(doubts)})" if doubts else ""


def bounds(row: Row) -> str:
    """The interval of Pearson r as it stands behind the number; empty where there is none."""
    return f" [{number(row.pearson_ci[0], 2)}, {number(row.pearson_ci[1], 2)}]" if row.pearson_ci else ""
