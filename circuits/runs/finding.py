"""The sentence at the top of a report: what was found and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from circuits.runs.agreeing import agreement_words, compared_words
from circuits.runs.worth import cost_of_finding, hardly_worth
from circuits.terms.words import GIVEN, metric_name, task_name
from interp.formatting.numbers import count, count_word, percent_interval, percent_range
from interp.formatting.text import visible

if TYPE_CHECKING:
    from circuits.circuit.circuit import Circuit
    from circuits.evaluation.evaluation import Evaluation
    from circuits.runs.record import Record

#: Above this share of random circuits that did as well, a circuit is not clearly better than chance.
CHANCE: Final = 0.05
_LEVELS: Final = {
    "heads": "heads and MLPs",
    "blocks": "attention outputs and MLPs",
    "neurons": "neurons",
    "edges": "edges",
    "features": "features",
}
#: What mixes positions, of models without MLPs.
_MIXING: Final = {"head": "heads", "attn_out": "attention outputs"}


def finding(record: Record) -> str:
    """What was found and how sure it is, in one or two plain sentences that are safe to show anywhere."""
    if not record.scores and record.circuit is None:
        return "Nothing was measured in this run."
    parts = [
        _circuit(record),
        cost_of_finding(record),
        compared_words(record) if record.circuit is None else agreement_words(record),
    ]
    text = "; ".join(part for part in (*parts, _smallest(record), hardly_worth(record), _repeated(record)) if part)
    return visible(text[0].upper() + text[1:] + ".")


def _scored(record: Record, level: str) -> str:
    """What the parts of a level are on this model, in words."""
    kinds = {part.kind for scores in record.scores for part in scores.parts}
    if level not in ("heads", "blocks") or not kinds or "mlp" in kinds:
        return _LEVELS.get(level, level)
    return " and ".join(word for kind, word in _MIXING.items() if kind in kinds) or _LEVELS[level]


def _circuit(record: Record) -> str:
    circuit, found = record.circuit, record.evaluation
    if circuit is None:
        return ""
    of = f" of {count(found.n_nodes)}" if found else ""
    subject = f"{count_word(len(circuit))}{of} {_scored(record, circuit.level)}"
    if found is None:
        be = "was" if len(circuit) == 1 else "were"
        return f"{subject} {be} chosen for {task_name(circuit.task)} ({circuit.selection}), but what they carry was not measured in this run"
    if found.faithfulness.value is None:
        why = found.reason.rstrip(". ") or "the model's metric does not differ from that of the empty circuit"
        be = "was" if len(circuit) == 1 else "were"
        return f"{subject} {be} chosen for {task_name(circuit.task)}, but how much of the {metric_name(found.metric)} they carry is undefined: {why}"
    if found.size >= found.n_nodes:
        return (
            f"all {count(found.n_nodes)} {_scored(record, circuit.level)} were chosen for {task_name(circuit.task)}: "
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
