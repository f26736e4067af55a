"""What is judged: a circuit with the scores and the run that it comes from, and the model, prompts and options that these say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, cast, get_type_hints

from circuits.circuit.circuit import Circuit, CircuitError
from circuits.console.phases import Telling
from circuits.jobs.inputs import load_model, note_weights
from circuits.runs import directory
from circuits.runs.model_files import described
from circuits.runs.record_files import load_record
from circuits.settings.judging_options import Judgement
from circuits.settings.prepared import check_ranking
from circuits.settings.run_options import PromptOptions
from interp.formatting.guarded import reading
from interp.formatting.plain import rebuilt
from interp.model.model import HookedModel
from interp.scores.scores import Scores
from interp.tasks.ablations import ablations_beside, check_direction
from interp.tasks.metrics import get_metric

DEFAULTS: Final = {"ablation": "counterfactual", "metric": "logit_diff", "ranking": "absolute"}
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


def subject_of(asked: Judgement) -> Subject:
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


def judged_by(asked: Judgement, subject: Subject) -> dict[str, Any]:
    """What a circuit is judged by: as given, else as the run has it, else the default. Raises: InterpError for unknown names."""
    given = {name: getattr(asked, name) or subject.options.get(name) or DEFAULTS[name] for name in DEFAULTS}
    get_metric(given["metric"])
    check_direction(given["ablation"], "noise")
    check_ranking(given["ranking"])
    ablations_beside(given["ablation"], asked.other_ablation)
    return given


def name_of(asked: Judgement, subject: Subject) -> str:
    """The model's name. Raises: CircuitError where nothing says it."""
    if name := asked.model or subject.options.get("model"):
        return str(name)
    missing = "--model and --task" if asked.task is None else f"--model, for example --model {subject.circuit.model}"
    raise CircuitError(
        f"{str(asked.circuit)!r} is a circuit alone, which names no model to load and no prompts; give {missing}."
    )


def model_of(name: str, asked: Judgement, subject: Subject, say: Telling) -> HookedModel:
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


def prompts_of(asked: Judgement, subject: Subject) -> PromptOptions:
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
