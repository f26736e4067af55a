"""`discover`, `compare` and `report`: check the input, open a run directory, work, write."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from circuits.console import printing
from circuits.console.phases import telling
from circuits.jobs.inputs import dictionaries_of, load_model, note_models, ranking_of, stored_task, task_of
from circuits.jobs.pipeline import phases, run_comparison, run_discovery
from circuits.report.pages import render
from circuits.runs import directory
from circuits.runs.record import Record
from circuits.settings.option import whole
from circuits.settings.prepared import Prepared, Say, Settings, begin, checked, prepare_run
from interp.errors import InterpError
from interp.files import write_text
from interp.tasks.task import Task


class RunFailed(InterpError):
    """The input was fine and the run was not; exit code 1."""

    exit_code = 1


def run(command: str, options: dict[str, Any], *, methods: Sequence[str], json: bool, quiet: bool) -> None:
    """One run from options to a written directory. Nothing is written before every option has been checked."""
    started, created = time.perf_counter(), directory.now()
    if options["out"] is not None:
        directory.check_target(options["out"], options["force"])
    settings, known = _settings(command, options, methods), stored_task(options)
    with telling(phases(command, settings), quiet) as say:
        job = _prepare(options, settings, known, say)
        path = Path(options["out"] or directory.free_name(_stem(command, job)))
        manifest = _manifest(command, options, methods, job) | {"created": created}
        with directory.open_run(path, manifest, force=options["force"]) as folder:
            write_text(folder / "config.toml", directory.to_toml(configuration(command, options, methods)))
            found = _work(command, job, manifest, say)
            begin(say, "writing the report")
            _write(folder, found, manifest | {"seconds": round(time.perf_counter() - started, 2)})
    if json:
        printing.as_json(printing.record_json(found, str(path)))
    else:
        printing.record(found, path)


def _work(command: str, job: Prepared, manifest: dict[str, Any], say: Say) -> Record:
    """What the run finds. Raises: RunFailed, as the input was checked before."""
    try:
        return (run_discovery if command == "discover" else run_comparison)(job, manifest, say)
    except InterpError as error:
        raise RunFailed(str(error)) from error


def _write(folder: Path, found: Record, manifest: dict[str, Any]) -> None:
    """Every value of a run, its report, and last the manifest that says it is complete."""
    conventions = {k: v for k, v in asdict(found.scores[0].provenance).items() if k != "pairs"}
    found = replace(found, manifest=directory.finished(manifest | {"conventions": conventions}))
    directory.save_record(folder, found)
    write_text(folder / "report.html", render(found))
    directory.complete(folder, found.manifest)


def _prepare(options: Mapping[str, Any], settings: Settings, known: Task | None, say: Say) -> Prepared:
    """Model and task, and the options against both: the rest has been checked without them."""
    begin(say, f"loading {options['model']}")
    model = load_model(options["model"], options["dtype"], options["device"])
    task = known or task_of(options, model)
    note_models(model, (settings.dictionaries or {}).values(), say)
    return prepare_run(model, task, settings)


def _settings(command: str, options: Mapping[str, Any], methods: Sequence[str]) -> Settings:
    """The options as settings, checked as far as they can be without model and task. Raises: InterpError."""
    if command == "discover" and options["level"] == "resid":
        raise InterpError(
            "level 'resid' is a map by position; it is part of every report. Choose blocks, heads, neurons, edges, features or qkv."
        )
    names = ["level", "direction", "ablation", "metric", "steps", "quadrature", "batch_size", "seed"]
    names += ["kv", "split_positions", "tau", "max_memory", "budget", "chance"]
    given = {k: options[k] for k in names} | {
        "dictionaries": dictionaries_of(options["level"], options["dictionaries"])
    }
    if command == "compare":
        return checked(Settings(methods=tuple(methods), hold_out=False, positions=options["positions"], **given))
    given |= {k: options[k] for k in ("n", "threshold", "hold_out", "algorithm", "prune")}
    ranking = ranking_of(options["ranking"])
    return checked(Settings(methods=tuple(methods), n_random=options["random"], ranking=ranking, **given))


def _stem(command: str, job: Prepared) -> str:
    method = job.settings.methods[0] if command == "discover" else "compare"
    parts = (job.model.name, job.task.name, method, job.settings.level)
    return "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", part)[:40].strip("_") or "x" for part in parts)


def configuration(command: str, options: Mapping[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """The options as `circuits discover config.toml` or `compare config.toml` takes them, with whole paths."""
    found = _config(options, methods)
    del found["methods"]
    found |= {"method": methods[0]} if command == "discover" else {"methods": ",".join(methods)}
    return {key: whole(key, value) for key, value in found.items()}


def _config(options: Mapping[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    plain = {k: v for k, v in options.items() if k not in ("out", "force")}
    if plain["dictionaries"] is not None:
        plain["dictionaries"] = str(Path(plain["dictionaries"]).resolve())
    return {**plain, "methods": list(methods), "pair": list(plain["pair"]) if plain["pair"] else None}


def _manifest(command: str, options: dict[str, Any], methods: Sequence[str], job: Prepared) -> dict[str, Any]:

    model = job.model
    folder = Path(model.folder) if model.folder else None
    return {
        "command": shlex.join(["circuits", *sys.argv[1:]]),
        "job": command,
        "options": _config(options, methods),
        "model": {
            "name": model.name,
            "architecture": type(model.hf).__name__,
            "dtype": str(model.dtype),
            "device": str(model.device),
            "attention": str(model.hf.config._attn_implementation),
            "commit": getattr(model.hf.config, "_commit_hash", None),
            "files": directory.file_hashes(folder) if folder else {},
        },
        "task": {
            "name": job.task.name,
            "source": job.task.source,
            "pairs": len(job.task),
            "scored": len(job.scoring),
            "evaluated": len(job.evaluation),
            "held_out": job.held_out,
        },
        "seeds": {"seed": job.settings.seed},
        "versions": directory.versions(),
        **directory.packages(),
        "machine": directory.machine(),
    }


def render_again(folder: Path) -> Path:
    """report.html of a complete run, from its files alone."""
    found = directory.load_record(folder)
    write_text(folder / "report.html", render(found))
    return folder / "report.html"
