"""`evaluate`: read the circuit that is to be judged and what it came from, judge it, print and write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.console import printing
from circuits.console.phases import Telling, telling
from circuits.costs.bounds import check_most, one_forward, spent
from circuits.evaluation.evaluation import CURVE, Spent
from circuits.evaluation.faithfulness import counted
from circuits.jobs.inputs import dictionaries_of, note_models, said_doubts, stored_task, task_for
from circuits.jobs.subjects import Subject, judged_by, model_of, name_of, prompts_of, subject_of
from circuits.settings.held_out import Halves, repeated_in_words
from circuits.settings.judging_options import Judgement
from circuits.settings.run_options import PromptOptions
from interp.dictionaries.dictionary import Dictionary
from interp.files import write_text
from interp.formatting.numbers import several
from interp.ledger import Ledger, counting, enter
from interp.model.model import HookedModel
from interp.parts.sites import Site
from interp.tasks.ablations import ABLATIONS
from interp.tasks.lengths import check_length, of_length
from interp.tasks.metrics import check_wrong, get_metric
from interp.tasks.pairs.token_pairs import digest
from interp.tasks.replacements import Ablation
from interp.tasks.task import Task
from interp.whole_numbers import count

if TYPE_CHECKING:
    from circuits.evaluation.assessment import Assessment

#: Loading, evaluating.
PHASES: Final = 2
#: What makes it cost less.
LESS: Final = "Fewer random circuits (--random, --tests) or pairs (--limit) cost less."


def evaluate(asked: Judgement) -> None:
    """Judge a circuit in every way that there is; print the result and write it to `out` where that is given."""
    check_file(asked.out, asked.force)
    check_most(asked.max_forwards, "judged")
    _check_numbers(asked)
    subject = subject_of(asked)
    given = judged_by(asked, subject)
    name, prompts = name_of(asked, subject), prompts_of(asked, subject)
    if (known := stored_task(prompts)) is not None:
        check_wrong(get_metric(given["metric"]), known)
    dictionaries = dictionaries_of(subject.circuit.level, asked.dictionaries or subject.options.get("dictionaries"))
    with telling(PHASES, asked.quiet) as say, counting() as ledger:
        model = model_of(name, asked, subject, say)
        read = get_metric(given["metric"]).several
        task = _held_out(asked, subject.circuit, _task(asked, subject, prompts, model, read, say), model, say, read)
        if model.name != subject.circuit.model:
            say(f"NOTE: the circuit was found on model {subject.circuit.model!r}; it is run on {model.name!r}")
        note_models(model, (dictionaries or {}).values(), say)
        scored = _scored(subject.circuit, given["ablation"], prompts, model, read, say)
        found = _judged(asked, subject, model, task, given, dictionaries, ledger, say, scored)
    _tell(found, subject.circuit, asked.out, asked.json)


def _judged(
    asked: Judgement,
    subject: Subject,
    model: HookedModel,
    task: Task,
    given: Mapping[str, Any],
    dictionaries: Mapping[Site, Dictionary] | None,
    ledger: Ledger,
    say: Telling,
    scored: Task | None,
) -> Assessment:
    """What is measured, after the plan of it. scored: what the ablation is learned on, where it is. Raises: InterpError where that is more than may be spent."""
    from circuits.costs.assessment_bounds import asked_of, bounds
    from circuits.evaluation.assessment import assess

    circuit, scores = subject.circuit, subject.scores
    how = {name: getattr(asked, name) or subject.options.get(name) for name in ("batch_size", "max_memory")}
    runs = asked_of(model, task, circuit, given["ablation"], given["metric"], dictionaries=dictionaries, **how)
    numbers = {name: getattr(asked, name) for name in ("n_random", "n_tests", "other_ablation")}
    planned = bounds(runs, circuit, scores, scored=scored, **numbers)
    planned.check(asked.max_forwards, "this evaluation", LESS)
    forward = one_forward(model, runs.pairs)
    ledger.most = None if asked.max_forwards is None else asked.max_forwards * forward
    say(f"plan: {planned}")
    say.phase(f"evaluating {len(circuit)} {counted(circuit.level)} on {several(len(task), 'pair')}")
    options: Any = {**numbers, "seed": asked.seed, **how, **given}
    if scored is not None:
        enter(CURVE)
        options["ablation"] = _learned(model, scored, circuit, given["ablation"], subject, how["batch_size"])
        say(str(options["ablation"].learned))
    found = assess(model, task, circuit, scores, dictionaries=dictionaries, **options)
    return replace(found, spent=Spent(**spent(ledger, forward)))


def _scored(
    circuit: Circuit, ablation: str, prompts: PromptOptions, model: HookedModel, read: bool, say: Telling
) -> Task | None:
    """The pairs that the circuit was chosen by, where the ablation is learned on them. Raises: CircuitError where some are missing."""
    if ABLATIONS[ablation].learn is None or not circuit.scored_pairs:
        return None
    task = task_for(circuit.positions, prompts, model, say)
    hashes = digest(task.tokenize(model.tokenizer, model.outputs, several=read))
    missing = len(set(circuit.scored_pairs) - set(hashes))
    if missing:
        raise CircuitError(
            f"{ablation} ablation is learned on the pairs that the circuit was chosen by; {missing} of {len(circuit.scored_pairs)} are not "
            "among these: give --task and --limit as they were, or another --ablation."
        )
    pairs = tuple(pair for pair, h in zip(task.pairs, hashes, strict=True) if h in circuit.scored_pairs)
    return replace(task, pairs=pairs)


def _learned(
    model: HookedModel, scored: Task, circuit: Circuit, kind: str, subject: Subject, batch_size: int | None
) -> Ablation:
    """The ablation as the run learned it."""
    from interp.attribution.request import learned_ablation

    graph: Any = {"kv": circuit.kv, "split_positions": circuit.split_positions}
    seed = int(subject.options.get("seed", 0))
    return learned_ablation(model, scored, kind, level=circuit.level, seed=seed, batch_size=batch_size, **graph)


def _check_numbers(asked: Judgement) -> None:
    """Raises: CircuitError for a number that is no number of circuits or prompts."""
    for name, value in (("random", asked.n_random), ("tests", asked.n_tests), ("batch_size", asked.batch_size)):
        if value is not None:
            count(value, name, CircuitError)
    if asked.limit is not None:
        count(asked.limit, "limit", CircuitError, expected="one pair or more")
    check_length(asked.length)


def check_file(out: Path | None, force: bool) -> None:
    """Raises: CircuitError where the file may not be written."""
    if out is None:
        return
    if out.is_dir():
        raise CircuitError(f"{str(out)!r} is a folder; choose a file for --out.")
    if out.exists() and not force:
        raise CircuitError(f"{str(out)!r} exists; choose another --out, or --force to replace the file.")
    if not out.parent.is_dir():
        raise CircuitError(f"folder {str(out.parent)!r} does not exist; make it first.")


def _task(
    asked: Judgement, subject: Subject, prompts: PromptOptions, model: HookedModel, read: bool, say: Telling
) -> Task:
    """The task by name; of a run the pairs that its evaluation used. read: answers may be several tokens. Raises: TaskError."""
    task = task_for(subject.circuit.positions, prompts, model, say)
    if asked.task is not None:
        return task
    if subject.manifest["task"]["held_out"]:
        tokens = task.tokenize(model.tokenizer, model.outputs, several=read)
        task = Halves.of(task, tokens, subject.options["seed"], wanted=True).evaluation
    return of_length(task, model.tokenizer, asked.length, whole=model.reads_whole).limit(asked.limit)


def _held_out(asked: Judgement, circuit: Circuit, task: Task, model: HookedModel, say: Telling, read: bool) -> Task:
    """The pairs that the circuit was not chosen by, where it says which they were, some are others, and no one asked for all."""
    with said_doubts(say):
        tokens = task.tokenize(model.tokenizer, model.outputs, several=read)
    if repeats := task.repeats(tokens):
        say(f"WARNING: {repeated_in_words(repeats, len(task))}")
    if not circuit.scored_pairs:
        say("NOTE: the circuit does not say which pairs it was chosen by; they may be among those that it is judged on")
        return task
    hashes = digest(tokens)
    used = sum(h in circuit.scored_pairs for h in hashes)
    if not used:
        return task
    if used == len(task) or not asked.hold_out:
        say(f"WARNING: the circuit was chosen by {used} of the {several(len(task), 'pair')} that it is judged on")
        return task
    say(f"NOTE: the circuit was chosen by {used} of the {several(len(task), 'pair')}; it is judged on the others")
    return replace(
        task, pairs=tuple(p for p, h in zip(task.pairs, hashes, strict=True) if h not in circuit.scored_pairs)
    )


def _tell(found: Assessment, circuit: Circuit, out: Path | None, json: bool) -> None:
    from circuits.report.pages import render_assessment

    if out is not None:
        page = out.suffix.lower() in (".html", ".htm")
        try:
            write_text(out, render_assessment(found, circuit) if page else dumps(found.to_dict(), indent=1))
        except OSError as error:
            raise CircuitError(f"cannot write {str(out)!r}: {error.strerror or error}.") from error
    if json:
        printing.as_json(found.to_dict())
    else:
        printing.lines(str(found))
        if out is not None:
            printing.lines(f"{'page' if page else 'written'}: {out}")
