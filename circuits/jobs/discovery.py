"""`discover`, `compare` and `report`: check the input, open a run directory, work, write."""

from __future__ import annotations

import re
import shlex
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from circuits.bench.workload import resident_peak
from circuits.console import printing, run_results
from circuits.console.phases import telling
from circuits.costs.bounds import check_most, memory, one_forward, spent
from circuits.costs.default_method import decided
from circuits.costs.run_bounds import before, within
from circuits.jobs.inputs import (
    dictionaries_of,
    load_model,
    note_models,
    note_weights,
    said_doubts,
    stored_task,
    task_for,
)
from circuits.jobs.pipeline import phases, run_comparison, run_discovery
from circuits.report.pages import render, render_looked
from circuits.runs import directory
from circuits.runs.looked import is_look, load_looked
from circuits.runs.made_with import machine, packages, to_toml, versions
from circuits.runs.model_files import described
from circuits.runs.record import Record
from circuits.runs.record_files import load_record, save_record
from circuits.runs.rule_use import rules_used
from circuits.settings.prepared import Prepared, Say, Settings, begin, checked, prepare_run
from circuits.settings.run_options import Discovery, OutputOptions, ScoringRun
from interp.attribution.asking.checks import check
from interp.errors import InterpError
from interp.files import write_text
from interp.ledger import counting
from interp.option import options_of, plain, taken
from interp.tasks.metrics import check_wrong, get_metric


class RunFailed(InterpError):
    """The input was fine and the run was not; exit code 1."""

    exit_code = 1


def run(asked: ScoringRun) -> None:
    """One run from options to a written directory. Nothing is written before every option has been checked."""
    started, created = time.perf_counter(), directory.now()
    if asked.out is not None:
        directory.check_target(asked.out, asked.force)
    settings, known = settings_of(asked), stored_task(asked)
    if known is not None:
        check_wrong(get_metric(settings.metric), known)
    with telling(phases(asked.command, settings), asked.quiet) as say, counting() as ledger:
        job, loaded = _prepare(asked, settings, say), resident_peak()
        say.phases = phases(asked.command, job.settings)
        path = Path(asked.out or directory.free_name(_stem(asked, job)))
        manifest = _manifest(asked, job) | {"created": created}
        note_weights(manifest, say)
        forward = one_forward(job.model, job.request.pairs)
        ledger.most = None if asked.max_forwards is None else asked.max_forwards * forward
        with directory.open_run(path, manifest, force=asked.force) as folder:
            write_text(folder / "config.toml", to_toml(configuration(asked)))
            found = _work(asked.command, job, manifest, say)
            begin(say, "writing", "writing the report")
            took = {"seconds": round(time.perf_counter() - started, 2), **spent(ledger, forward), **memory(loaded)}
            say(f"the work took {took['memory_mib']['above']:,} MiB above what loading took")
            found = _write(folder, found, manifest | took)
    if asked.json:
        printing.as_json(run_results.record_json(found, str(path)))
    else:
        run_results.record(found, path)


def _work(command: str, job: Prepared, manifest: dict[str, Any], say: Say) -> Record:
    """What the run finds. Raises: RunFailed, as the input was checked before."""
    try:
        return (run_discovery if command == "discover" else run_comparison)(job, manifest, say)
    except InterpError as error:
        raise RunFailed(str(error)) from error


def _write(folder: Path, found: Record, manifest: dict[str, Any]) -> Record:
    """Every value of a run, its report, and last the manifest that says it is complete; and the run with that manifest."""
    conventions = {k: v for k, v in asdict(found.scores[0].provenance).items() if k != "pairs"}
    found = replace(found, manifest=directory.finished(manifest | {"conventions": conventions}))
    save_record(folder, found)
    write_text(folder / "report.html", render(found))
    directory.complete(folder, found.manifest)
    return found


def _prepare(asked: ScoringRun, settings: Settings, say: Say) -> Prepared:
    """Model and task, and the options against both: the rest has been checked without them."""
    begin(say, "loading", f"loading {asked.model}")
    model = load_model(asked.model, asked.dtype, asked.device, asked.adapter, asked.similar_to)
    task = task_for(check(settings.main()).positions, asked, model, say)
    note_models(model, (settings.dictionaries or {}).values(), say)
    with said_doubts(say):
        settings, why = decided(model, task, settings, asked.max_forwards)
        before(model, task, settings, asked.max_forwards)
        job = prepare_run(model, task, settings)
    for note in (*job.halves.notes(), *([why] if why else [])):
        say(note)
    job, planned = within(job, asked.command, asked.max_forwards)
    say(f"plan: {planned}")
    return job


def settings_of(asked: ScoringRun) -> Settings:
    """The options as settings, checked as far as they can be without model and task. Raises: InterpError."""
    if asked.command == "discover" and asked.level == "resid":
        raise InterpError(
            "level 'resid' is a map by position; it is part of every report. Choose blocks, heads, neurons, edges, features or qkv."
        )
    if isinstance(asked, Discovery) and asked.positions not in (None, "all") and asked.level != "edges":
        raise InterpError(
            f"positions={asked.positions!r} with level {asked.level!r}: circuits at positions are those of edges. Use --level edges, or "
            "circuits compare for scores at positions."
        )
    check_most(asked.max_forwards)
    own: dict[str, Any] = {"hold_out": False} if asked.command == "compare" else {}
    given = dictionaries_of(asked.level, asked.dictionaries)
    return checked(taken(Settings, asked, methods=asked.names, dictionaries=given, **own))


def _stem(asked: ScoringRun, job: Prepared) -> str:
    method = job.settings.methods[0] if asked.command == "discover" else "compare"
    parts = (job.model.name, job.task.name, method, job.settings.level)
    return "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", part)[:40].strip("_") or "x" for part in parts)


def configuration(asked: ScoringRun) -> dict[str, Any]:
    """The options as `circuits discover config.toml` or `compare config.toml` takes them, with whole paths."""
    known = options_of(type(asked))
    return {name: known[name].whole(value) for name, value in _plain(asked).items()}


def _plain(asked: ScoringRun) -> dict[str, Any]:
    """The options of the run as plain data, with all of its methods."""
    found = {name: value for name, value in plain(asked).items() if name not in options_of(OutputOptions)}
    found["pair"] = list(asked.pair) if asked.pair else None
    return found | ({"methods": ",".join(asked.names)} if asked.command == "compare" else {})


def _options(asked: ScoringRun, settings: Settings) -> dict[str, Any]:
    """The options as the manifest has them: of either command with a list of methods, which is the one of the run where none was named."""
    found = _plain(asked)
    for name in ("dictionaries", "adapter"):
        if found[name] is not None:
            found[name] = str(Path(str(found[name])).resolve())
    found.pop("method", None)
    return found | {"methods": list(settings.methods), "budget": settings.budget}


def _manifest(asked: ScoringRun, job: Prepared) -> dict[str, Any]:
    rules = rules_used(job.model, {m.name: job.request.rules_of(m) for m in job.request.methods if m.uses_gradients})
    return {
        "command": shlex.join(["circuits", *sys.argv[1:]]),
        "job": asked.command,
        "options": _options(asked, job.settings),
        "model": described(job.model),
        "task": {
            "name": job.task.name,
            "source": job.task.source,
            "pairs": len(job.task),
            "scored": len(job.scoring),
            "evaluated": len(job.evaluation),
            "held_out": job.held_out,
            **({"repeated": len(job.halves.repeats)} if job.halves.repeats else {}),
        },
        "seeds": {"seed": job.settings.seed},
        **({"rules": rules} if rules else {}),
        "versions": versions(),
        **packages(),
        "machine": machine(),
    }


def render_again(folder: Path) -> Path:
    """report.html of a complete run, or of a look inside a model, from its files alone."""
    page = render_looked(*load_looked(folder)) if is_look(folder) else render(load_record(folder))
    write_text(folder / "report.html", page)
    return folder / "report.html"
