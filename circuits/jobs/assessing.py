"""`evaluate`: read the circuit that is to be judged and what it came from, judge it, print and write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, get_type_hints

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.console import printing
from circuits.console.phases import Telling, telling
from circuits.costs.bounds import check_most, one_forward, spent
from circuits.evaluation.evaluation import CURVE, Spent
from circuits.evaluation.faithfulness import counted
from circuits.jobs.inputs import (
    dictionaries_of,
    load_model,
    note_models,
    note_weights,
    said_doubts,
    stored_task,
    task_for,
)
from circuits.runs import directory
from circuits.runs.model_files import described
from circuits.runs.record_files import load_record
from circuits.settings.held_out import Halves, repeated_in_words
from circuits.settings.judging_options import Judgement
from circuits.settings.prepared import check_ranking
from circuits.settings.run_options import PromptOptions
from interp.dictionaries.dictionary import Dictionary
from interp.files import write_text
from interp.formatting.guarded import reading
from interp.formatting.numbers import several
from interp.formatting.plain import rebuilt
from interp.ledger import Ledger, counting, enter
from interp.model.model import HookedModel
from interp.parts.sites import Site
from interp.scores.scores import Scores
from interp.tasks.ablations import ABLATIONS, ablations_beside, check_direction
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
DEFAULTS: Final = {"ablation": "counterfactual", "metric": "logit_diff", "ranking": "absolute"}


@dataclass(frozen=True)
class Subject:
    """A circuit with the scores that rank all parts, and the run that it comes from."""

    circuit: Circuit
    scores: Scores | None
    manifest: Mapping[str, Any]

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the run; none for a circuit.json."""
        return cast(Mapping[str, Any], self.manifest.get("options", {}))


# ---------------------------------------------------------------- evaluate


def evaluate(asked: Judgement) -> None:
    """Judge a circuit in every way that there is; print the result and write it to `out` where that is given."""
    check_file(asked.out, asked.force)
    check_most(asked.max_forwards, "judged")
    _check_numbers(asked)
    subject = _subject(asked)
    given = _given(asked, subject)
    named, prompts = _named(asked, subject), _prompts(asked, subject)
    if (known := stored_task(prompts)) is not None:
        check_wrong(get_metric(given["metric"]), known)
    dictionaries = dictionaries_of(subject.circuit.level, asked.dictionaries or subject.options.get("dictionaries"))
    with telling(PHASES, asked.quiet) as say, counting() as ledger:
        model = _model(named, asked, subject, say)
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


def _given(asked: Judgement, subject: Subject) -> dict[str, Any]:
    """What a circuit is judged by: as given, else as the run has it, else the default. Raises: InterpError for unknown names."""
    given = {name: getattr(asked, name) or subject.options.get(name) or DEFAULTS[name] for name in DEFAULTS}
    get_metric(given["metric"])
    check_direction(given["ablation"], "noise")
    check_ranking(given["ranking"])
    ablations_beside(given["ablation"], asked.other_ablation)
    return given


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


def _subject(asked: Judgement) -> Subject:
    """The circuit, its scores and its run. Raises: InterpError where something is missing."""
    own = Scores.load(asked.scores) if asked.scores is not None else None
    if not directory.is_run(asked.circuit):
        return Subject(Circuit.load(asked.circuit), own, {})
    record = load_record(asked.circuit)
    if record.circuit is None:
        raise CircuitError(
            f"run {str(asked.circuit)!r} has no circuit (it is a {record.manifest.get('job')}); expected a run of discover."
        )
    check_manifest(record.manifest, asked.circuit)
    return Subject(record.circuit, own or record.scores[0], record.manifest)


#: The options of a run that `evaluate` goes on with, and what else it asks of a manifest.
_OPTIONS: Final[Mapping[str, Any]] = {
    **get_type_hints(PromptOptions),
    **dict.fromkeys(("model", "ablation", "metric", "ranking"), str),
    **dict.fromkeys(("dtype", "device", "dictionaries", "adapter"), str | None),
    "batch_size": int | None,
}
#: Options that came later: a run that says nothing of one was made without it.
_LATER: Final = ("chat", "length", "similar_to")
_NEEDED: Final = (*(one.name for one in fields(PromptOptions) if one.name not in _LATER), "model")


def check_manifest(manifest: Mapping[str, Any], folder: Path) -> None:
    """Raises: RunError where a manifest does not say how its circuit was judged; one without options says nothing of it."""
    if "options" not in manifest:
        return
    with reading(f"{str(folder / 'manifest.json')!r}", directory.RunError):
        given = manifest["options"]
        for name in (*_NEEDED, *(name for name in _OPTIONS if name in given)):
            rebuilt(_OPTIONS[name], given[name])
        rebuilt(bool, manifest["task"]["held_out"])
        rebuilt(Mapping[str, str], manifest["model"]["files"])


def _named(asked: Judgement, subject: Subject) -> str:
    """The model's name. Raises: CircuitError where nothing says it."""
    if name := asked.model or subject.options.get("model"):
        return str(name)
    missing = "--model and --task" if asked.task is None else f"--model, for example --model {subject.circuit.model}"
    raise CircuitError(
        f"{str(asked.circuit)!r} is a circuit alone, which names no model to load and no prompts; give {missing}."
    )


def _model(name: str, asked: Judgement, subject: Subject, say: Telling) -> HookedModel:
    """The model; that of a run must still have the weights of the run. Raises: CircuitError, LoadError."""
    options = subject.options
    say.phase(f"loading {name}")
    machine = asked.dtype or options.get("dtype"), asked.device or options.get("device")
    model = load_model(name, *machine, _adapter(asked, options), options.get("similar_to"))
    note_weights({"model": described(model)}, say)
    if asked.model is None:
        check_weights(model, name, subject.manifest, f"give --model {name} to evaluate on it all the same")
    return model


def check_weights(model: HookedModel, name: str, manifest: Mapping[str, Any], instead: str) -> None:
    """Raises: CircuitError where a run had other weights; `instead`: what to do then."""
    known = manifest.get("model", {}).get("files")
    if known and described(model)["files"] != known:
        raise CircuitError(f"the files of model {name!r} are not those of the run any more; {instead}.")


def _adapter(asked: Judgement, options: Mapping[str, Any]) -> str | Path | None:
    """The folder of adapters: as given, else that of the run, unless another model is asked for."""
    return asked.adapter or (options.get("adapter") if asked.model is None else None)


def _prompts(asked: Judgement, subject: Subject) -> PromptOptions:
    """Which prompts: as given, else those of the run. Raises: CircuitError where nothing says it."""
    if asked.task is not None:
        return PromptOptions(task=asked.task, limit=asked.limit, length=asked.length, seed=asked.seed, chat=asked.chat)
    if asked.chat and not subject.options.get("chat"):
        raise CircuitError("--chat belongs to --task; without it the prompts are those of the run, which are no chats.")
    if not subject.options:
        raise CircuitError(f"{str(asked.circuit)!r} does not say which prompts to use; give --task.")
    return PromptOptions(
        **{one.name: subject.options[one.name] for one in fields(PromptOptions) if one.name in subject.options}
    )


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
