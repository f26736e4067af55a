"""A circuit found again on other splits of the same pairs, with other seeds: the same search, judged on what each split holds out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circuits.circuit.circuit import Circuit, CircuitError, listable
from circuits.comparison.resplits import Again, Resplit, again, overlaps
from circuits.console import printing
from circuits.console.phases import telling
from circuits.costs.bounds import one_forward
from circuits.costs.default_method import decided
from circuits.costs.run_bounds import bounds_of_finding
from circuits.evaluation.faithfulness import counted
from circuits.jobs.discovery import settings_of
from circuits.jobs.inputs import load_model, said_doubts, task_for
from circuits.jobs.pipeline import choose_circuit, judge, score
from circuits.jobs.subjects import check_manifest, check_weights
from circuits.runs import directory
from circuits.runs.record import Record
from circuits.runs.worth import forwards_of_finding
from circuits.settings.judging_options import Resampling
from circuits.settings.prepared import Prepared, Settings, begin, checked, prepare_run
from circuits.settings.run_options import Discovery
from circuits.terms.kinds import kinds_checked
from interp.attribution.asking.checks import check
from interp.formatting.numbers import several
from interp.ledger import counting
from interp.option import options_of
from interp.parts.graph import Part
from interp.parts.nodes import CIRCUIT_LEVELS
from interp.tasks.find import task as find_task
from interp.tasks.task import Task
from interp.whole_numbers import count


@kinds_checked
def resplit(
    model: Any,
    task: Task | str | Path,
    *,
    method: str | None = None,
    level: str = "heads",
    splits: int = 3,
    seed: int = 0,
    **options: Any,
) -> Resplit:
    """Find a circuit on `splits` random halves of the pairs, judge each on its other half, and compare every two.

    The same as `circuits discover` does with these `options` (`n`, `ranking`, `ablation`, `metric`, `n_random`, ...), with seeds
    seed, seed + 1, ...: of the halves, and of all that is drawn in methods and random circuits. Halves of the same pairs share about
    half of these. Overlaps stand beside those of random circuits with as many parts of each kind.

    Cost: for each split what the method takes, the search for a size where no `n` is given, and n_random + 10 forwards of the other
    half. Raises: InterpError.
    """
    count(splits, "splits", CircuitError, least=2, expected="2 or more, to compare")
    settings = checked(Settings(methods=() if method is None else (method,), level=level, **options))
    _check_level(settings)
    task = find_task(task, model)
    settings, _ = decided(model, task, settings)
    made = _splits(model, task, settings, range(seed, seed + splits))
    return _compared(made[0].job, [_found(split) for split in made])


def stability_on_splits(asked: Resampling, source: Path, record: Record) -> None:
    """The circuit of a run beside those of other splits of its pairs, as tables. Raises: InterpError."""
    count(asked.splits, "splits", CircuitError, expected="1 or more")
    if asked.n is not None:
        raise CircuitError("--n belongs to resampling; with --splits the circuit is found as the run found its own.")
    if record.circuit is None or record.evaluation is None:
        raise CircuitError(f"run {str(source)!r} has no circuit; expected a run of discover.")
    check_manifest(record.manifest, source)
    given = _options(record, source)
    settings = settings_of(given)
    with telling(2, quiet=asked.json) as say:
        begin(say, "loading", f"loading {given.model}")
        model = load_model(given.model, given.dtype, given.device, given.adapter, given.similar_to)
        check_weights(model, given.model, record.manifest, "run discover again")
        task = task_for(check(settings.main()).positions, given, model, say)
        with said_doubts(say):
            made = _splits(model, task, settings, range(given.seed + 1, given.seed + 1 + (asked.splits or 0)))
        say(f"plan: {bounds_of_finding([split.job for split in made])}")
        begin(say, "splits", f"finding the circuit again on {several(len(made), 'split')}")
        others = [_found(split) for split in made]
    own = (
        record.circuit,
        again(given.seed, record.circuit, record.evaluation, forwards_of_finding(record)),
        _parts(record),
    )
    _tell(_compared(made[0].job, [own, *others]), asked.json)


Found = tuple[Circuit, Again, Sequence[Part]]


@dataclass(frozen=True)
class _Split:
    """A checked job, and the multiply-adds that making it took."""

    job: Prepared
    loading: int


def _options(record: Record, source: Path) -> Discovery:
    """The options of a run of discover, from its manifest. Raises: InterpError for one that is none."""
    written, where = record.manifest.get("options"), repr(str(source / "manifest.json"))
    if not isinstance(written, dict) or record.manifest.get("job") != "discover":
        raise CircuitError(f"run {str(source)!r} does not say how its circuit was found; expected a run of discover.")
    methods = written.get("methods")
    if not isinstance(methods, list) or not methods or not isinstance(methods[0], str):
        raise directory.RunError(f"{where}: methods = {methods!r:.80}: expected a list of one name.")
    known = {name: option for name, option in options_of(Discovery).items() if written.get(name) is not None}
    kept = {option.field: option.accept(written[name], where) for name, option in known.items()}
    return Discovery(**kept | {"method": methods[0]})


def _check_level(settings: Settings) -> None:
    """Raises: CircuitError for a level that has no circuits."""
    if settings.level not in CIRCUIT_LEVELS:
        raise CircuitError(f"level {settings.level!r} is a map; expected {', '.join(CIRCUIT_LEVELS)}.")


def _splits(model: Any, task: Task, settings: Settings, seeds: Sequence[int]) -> list[_Split]:
    """Each checked before any work, with what that took: fixed values, and active features, are looked for."""
    found = []
    for seed in seeds:
        with counting() as ledger:
            job = prepare_run(model, task, replace(settings, seed=seed))
        found.append(_Split(job, ledger.total))
    return found


def _found(split: _Split) -> Found:
    """The circuit of a split, what it is worth and what it cost, and all parts that it was chosen from."""
    job = split.job
    with counting() as ledger:
        scores = score(job, _silent)[0]
        circuit, _ = choose_circuit(job, scores, _silent)
    cost = (split.loading + ledger.total) / one_forward(job.model, job.request.pairs)
    found = judge(job, circuit, scores, _silent, sizes=[len(circuit)])
    return circuit, again(job.settings.seed, circuit, found, round(cost, 2)), list(filter(listable, scores.parts))


def _compared(job: Prepared, found: Sequence[Found]) -> Resplit:
    parts = frozenset(part for _, _, some in found for part in some)
    settings = job.settings
    return Resplit(
        tuple(one for _, one, _ in found),
        overlaps([(one.seed, circuit) for circuit, one, _ in found], parts),
        counted(settings.level),
        len(parts),
        settings.methods[0],
        job.task.name,
        settings.ablation,
    )


def _parts(record: Record) -> list[Part]:
    return [part for scores in record.scores[:1] for part in scores.parts if listable(part)]


def _tell(found: Resplit, json: bool) -> None:
    if json:
        printing.as_json(found.to_dict())
        return
    printing.sentence(f"{found.headline}.")
    columns = ("seed", "circuit", "held-out f", "under another ablation", "random circuits", "cost in F")
    printing.table("the circuit of each split (F: a forward of its scored pairs)", columns, found.rows())
    title = "what every two share (p: the chance that random ones share as many)"
    printing.table(title, ("seeds", "shared", "Jaccard", "by chance", "p"), found.overlap_rows())


def _silent(message: str) -> None:
    return None
