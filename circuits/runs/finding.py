"""The sentence at the top of a report: what was found and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from circuits.runs.naming import of_edges, of_features, words
from circuits.runs.worth import cost_of_finding, hardly_worth
from circuits.terms.words import GIVEN, edges_of_kind, enumerated, kind_name, metric_name, task_name
from interp.formatting.numbers import count, count_word, number, percent_interval, percent_range
from interp.formatting.text import visible

if TYPE_CHECKING:
    from circuits.circuit.circuit import Circuit
    from circuits.evaluation.evaluation import Evaluation
    from circuits.runs.record import Record
    from interp.scores.agreement import Agreement, Row
    from interp.scores.scores import Scores

POOR: Final = 0.7
CHANCE: Final = 0.05
_LEVELS: Final = {
    "heads": "heads and MLPs",
    "blocks": "attention outputs and MLPs",
    "neurons": "neurons",
    "edges": "edges",
    "features": "features",
}
MOST_POOR: Final = 3
#: What the scores of searches on masks are.
ORDER: Final = "scores are an order of parts and estimate no effects"


def finding(record: Record) -> str:
    """What was found and how sure it is, in one or two plain sentences that are safe to show anywhere."""
    if not record.scores and record.circuit is None:
        return "Nothing was measured in this run."
    parts = [
        _circuit(record),
        cost_of_finding(record),
        _compared(record) if record.circuit is None else _agreement(record),
    ]
    text = "; ".join(part for part in (*parts, _smallest(record), hardly_worth(record), _repeated(record)) if part)
    return visible(text[0].upper() + text[1:] + ".")


def _circuit(record: Record) -> str:
    circuit, found = record.circuit, record.evaluation
    if circuit is None:
        return ""
    of = f" of {count(found.n_nodes)}" if found else ""
    subject = f"{count_word(len(circuit))}{of} {_LEVELS.get(circuit.level, circuit.level)}"
    if found is None:
        be = "was" if len(circuit) == 1 else "were"
        return f"{subject} {be} chosen for {task_name(circuit.task)} ({circuit.selection}), but what they carry was not measured in this run"
    if found.faithfulness.value is None:
        why = found.reason.rstrip(". ") or "the model's metric does not differ from that of the empty circuit"
        be = "was" if len(circuit) == 1 else "were"
        return f"{subject} {be} chosen for {task_name(circuit.task)}, but how much of the {metric_name(found.metric)} they carry is undefined: {why}"
    if found.size >= found.n_nodes:
        return (
            f"all {count(found.n_nodes)} {_LEVELS.get(circuit.level, circuit.level)} were chosen for {task_name(circuit.task)}: "
            "nothing is left out, so there is no smaller circuit to speak of"
        )
    errors = _errors(record, found)
    return f"{subject} {_carry(circuit, found)}{errors} on {_pairs(record, circuit, found)} ({_random(found)}{_by_errors(found)}){_elsewhere(found)}"


def _elsewhere(found: Evaluation) -> str:
    """That a circuit is made for its ablation, where it falls short under another."""
    if found.other is None or not found.other.falls_short:
        return ""
    own, there = found.faithfulness, found.other.faithfulness
    return (
        f", but made for that ablation: f = {percent_interval(own.value, own.low, own.high)} under {found.ablation}, "
        f"{percent_interval(there.value, there.low, there.high)} under {found.other.ablation} ablation"
    )


def _smallest(record: Record) -> str:
    """How the size was found."""
    found, circuit = record.size_search, record.circuit
    if found is None or circuit is None or found.size not in (None, len(circuit)):
        return ""
    # Here, so that a page of plain data needs no torch.
    from circuits.evaluation.none_smaller import none_smaller

    none = none_smaller([found])
    if found.size is None:
        return str(none or "")
    return (
        f"the size is {found.how()}" if none is None or found.exhaustive else f"the size is the smallest found: {none}"
    )


def _repeated(record: Record) -> str:
    """How many pairs of the task have the prompts of another: they count as often as they stand there."""
    task = _task(record)
    repeated, pairs = task.get("repeated"), task.get("pairs")
    if not isinstance(repeated, int) or not isinstance(pairs, int) or not repeated:
        return ""
    be = "is a duplicate" if repeated == 1 else "are duplicates"
    return f"{count(repeated)} of the {count(pairs)} pairs {be}, so intervals are too narrow"


def _task(record: Record) -> Mapping[str, Any]:
    """What the manifest says of the pairs; nothing in a record without one."""
    found = record.manifest.get("task")
    return found if isinstance(found, Mapping) else {}


def _errors(record: Record, found: Evaluation) -> str:
    """What the errors of dictionaries do for a circuit of features."""
    if not found.errors:
        return ""
    own = record.features.without_errors if record.features is not None else None
    if own is None or own.faithfulness.value is None:
        return f" with errors {found.errors}"
    f = own.faithfulness
    return f" with errors kept ({percent_interval(f.value, f.low, f.high)} with errors removed)"


def _by_errors(found: Evaluation) -> str:
    """What random circuits carry where the errors are kept: that much is due to the errors, not to the features chosen."""
    own = [value for p in found.curve if p.size == found.size for value in p.random if value is not None]
    if found.errors != "kept" or not own:
        return ""
    return f"; with the errors kept too, those carry {percent_range(min(own), max(own))}"


def _carry(circuit: Circuit, found: Evaluation) -> str:
    f = found.faithfulness
    value = f.value or 0.0
    verb = "carries" if len(circuit) == 1 else "carry"
    share = percent_interval(f.value, f.low, f.high)
    only = "only " if 0 < value < 0.5 else ""
    against = " (less than nothing: they push against the answer)" if f.high is not None and f.high < 0 else ""
    nothing = (
        " (not told apart from nothing)" if f.low is not None and f.high is not None and f.low <= 0 <= f.high else ""
    )
    more = " (more than the whole model: other parts push against it)" if f.low is not None and f.low > 1 else ""
    return f"{verb} {only}{share} of the {metric_name(found.metric)}{against}{nothing}{more}"


def _pairs(record: Record, circuit: Circuit, found: Evaluation) -> str:
    """The pairs that it was measured on, and whether they also chose it."""
    one, task = found.n_pairs == 1, task_name(circuit.task)
    if found.held_out:
        return f"{count(found.n_pairs)} held-out {'pair' if one else 'pairs'} of {task}"
    them = "it" if found.size == 1 else "them"
    if _task(record).get("held_out") is True:
        # Of a version that put the same pair into both halves.
        return f"{count(found.n_pairs)} {'pair' if one else 'pairs'} of {task}, of which some also chose {them}"
    if circuit.task == GIVEN:
        return f"{task}, also used to choose {them}"
    return f"the {'pair' if one else f'{count(found.n_pairs)} pairs'} also used to choose {them} of {task}"


def _random(found: Evaluation) -> str:
    """How random circuits of the same size did."""
    n, above = found.n_twins, found.random_above
    if not n:
        return "no other circuit of the same size and kinds exists to compare with"
    if above is None:
        return "no random circuits were measured to compare with"
    as_good, all_there_are = round(above * n), n < found.n_random
    if not as_good and all_there_are:
        return f"no other circuit of the same size and kinds did as well, n = {n}, all there are"
    if not as_good:
        return f"no random circuit of the same size did as well, n = {n}"
    others = "random circuits of the same size"
    if all_there_are:
        others = f"other {'circuit' if n == 1 else 'circuits'} of the same size and kinds, all there are,"
    these = f"{count(as_good)} of {count(n)} {others} did as well"
    return these if above <= CHANCE else f"but {these}: this is not clearly better than chance"


def _agreement(record: Record) -> str:
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
    return f"{text}, but poorly for {_listed(poor, scores)}" if poor else text


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
    return f", but poorly for {enumerated(listed)}"


def _compared(record: Record) -> str:
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
