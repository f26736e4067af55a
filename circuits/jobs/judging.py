"""`stability` and `truth`: how sure a top is, and how good methods are where the circuit is known; print a table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from circuits.circuit.circuit import CircuitError
from circuits.console import printing
from circuits.console.phases import telling
from circuits.runs import directory
from circuits.runs.record import Record
from circuits.runs.record_files import load_record
from circuits.settings.judging_options import KnownCircuits, Resampling
from interp.formatting.numbers import several
from interp.scores.scores import Scores

if TYPE_CHECKING:
    from circuits.evaluation.stability import Stability

SHOWN_BEYOND: Final = 10

# ---------------------------------------------------------------- stability


def stability(asked: Resampling) -> None:
    """How often each part is in the top `n` over resamples of the examples, as a table."""
    from circuits.evaluation.stability import selection_frequency

    record = load_record(asked.source) if directory.is_run(asked.source) else None
    if asked.splits is not None:
        from circuits.jobs.resplitting import stability_on_splits

        if record is None:
            raise CircuitError(f"--splits needs a run directory; {str(asked.source)!r} holds scores alone.")
        stability_on_splits(asked, asked.source, record)
        return
    scores = record.scores[0] if record is not None else Scores.load(asked.source)
    size = _size(asked.n, record, asked.source)
    if repeated := len(pairs := scores.provenance.pairs) - len(set(pairs)):
        printing.say(
            f"WARNING: {repeated} of {several(len(pairs), 'pair')} repeat others; intervals are then too narrow"
        )
    found = selection_frequency(scores, size, ranking=asked.ranking, resamples=asked.resamples, seed=asked.seed)
    if asked.json:
        printing.as_json(found.to_dict())
        return
    _print(found)


def _print(found: Stability) -> None:
    """The top, and of the others those that resamples put into it, as a table."""
    again = [p for p in found.parts[found.n :] if p.frequency > 0][:SHOWN_BEYOND]
    rows = [
        (p.part, str(p.score), "yes" if p.selected else "", f"{p.frequency:.0%}")
        for p in (*found.parts[: found.n], *again)
    ]
    printing.table(
        f"top {found.n} of {len(found.parts)} {found.counts} over {found.resamples} resamples of {found.n_pairs} pairs: "
        f"mean Jaccard index {found.overlap:.3f}{f', {found.chance}' if found.chance else ''}",
        (found.counts[:-1], f"score and 95 % interval ({found.unit})", "in the top", "selected in"),
        rows,
    )


def _size(n: int | None, record: Record | None, source: Path) -> int:
    """The size of the top: as given, or that of the run's circuit. Raises: CircuitError where neither is there."""
    if n is not None:
        return n
    if record is None or record.circuit is None:
        raise CircuitError(f"{str(source)!r} holds no circuit whose size could be taken; give --n.")
    return len(record.circuit)


# ---------------------------------------------------------------- known circuits


def truth(asked: KnownCircuits) -> bool:
    """A table of methods against known circuits; whether exact patching, where asked for, found every one."""
    from circuits.evaluation.known.programs import programs
    from circuits.evaluation.known.truth import judge, table

    programs(asked.folder)  # says so at once where there is none
    with telling(1, quiet=False) as say:
        say.phase(f"judging {', '.join(asked.names)} by the known circuits in {asked.folder}")
        rows = judge(asked.folder, asked.names, asked.ablation, asked.seed, limit=asked.limit)
    if asked.json:
        printing.as_json([asdict(row) for row in rows])
    else:
        printing.lines(table(rows))
    missed = [row.program for row in rows if row.method == "exact" and row.auroc != 1.0]
    if missed:
        printing.say(
            f"WARNING: exact patching does not tell the known circuit of {', '.join(missed)} from the other edges."
        )
    return not missed
