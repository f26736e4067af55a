"""What every look inside a model is: the model loaded, the work, and a run directory, a page and what is printed at its end.

manifest.json, config.toml
looked.json, NAME.parquet for each table, report.html
"""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from circuits.console import printing
from circuits.console.phases import Telling, telling
from circuits.costs.bounds import spent
from circuits.jobs.inputs import load_model, note_weights, said_doubts
from circuits.report.looked.looked_page import written_rows
from circuits.report.pages import render_looked
from circuits.runs import directory
from circuits.runs.looked import Looked, save_looked
from circuits.runs.made_with import machine, packages, to_toml, versions
from circuits.runs.model_files import described
from circuits.settings.looking_options import LookOptions
from circuits.settings.prepared import begin, check_seed
from circuits.settings.run_options import OutputOptions
from interp.files import write_text
from interp.formatting.table import Table
from interp.ledger import Ledger, counting
from interp.model.model import HookedModel
from interp.option import options_of, plain

#: Loading, looking, writing.
PHASES: Final = 3
#: Rows of a section that are printed; the page has more, the tables have all.
MOST_PRINTED: Final = 12


@dataclass(frozen=True)
class Found:
    """What a look found: what the page says, and the values to keep, each a file of its name. lengths: tokens of each prompt, of which
    one forward is counted as one; none where a look runs no prompts. files: what writes each further file of the run, by its name."""

    looked: Looked
    tables: Mapping[str, Table] = field(default_factory=dict)
    lengths: Sequence[int] = ()
    files: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)


Work = Callable[[HookedModel, Telling], Found]


def look(asked: LookOptions, job: str, work: Work) -> None:
    """From options to a run directory, a page and what is printed. `job`: the command's name; `work` may begin phases of its own.

    Nothing is written before the work is done. Raises: InterpError for bad input, with nothing written.
    """
    started, created = time.perf_counter(), directory.now()
    path = asked.out or directory.free_name(_stem(job, asked.model))
    directory.check_target(path, asked.force)
    check_seed(getattr(asked, "seed", 0))
    with telling(PHASES, asked.quiet) as say:
        begin(say, "loading", f"loading {asked.model}")
        model = load_model(asked.model, asked.dtype, asked.device, asked.adapter, getattr(asked, "similar_to", None))
        with counting() as ledger, said_doubts(say):
            begin(say, "looking", f"looking: {job}")
            found = work(model, say)
            data = found.looked.to_dict()
            manifest = _manifest(asked, job, model) | _spent(ledger, model, found) | {"created": created}
            note_weights(manifest, say)
            begin(say, "writing", "writing the report")
        with directory.open_run(path, manifest, force=asked.force) as folder:
            _write(folder, asked, found)
            finished = directory.finished(manifest | {"seconds": round(time.perf_counter() - started, 2)})
            write_text(folder / "report.html", render_looked(found.looked, finished))
            directory.complete(folder, finished)
    if asked.json:
        numbers = {number.name: number.value for number in found.looked.numbers}
        files = {name: f"{name}.parquet" for name in found.tables} | {Path(name).stem: name for name in found.files}
        printing.as_json({"directory": str(path), **data, "numbers": numbers, "tables": files})
    else:
        _show(found.looked, path)


def _stem(job: str, model: str) -> str:
    """The first part of the name of a new run directory."""
    return f"{job}-{re.sub(r'[^A-Za-z0-9_.]+', '_', Path(model).name)[-40:].strip('_.') or 'x'}"


def _spent(ledger: Ledger, model: HookedModel, found: Found) -> dict[str, Any]:
    """Multiply-adds in all, and in plain forwards of the prompts where there are such."""
    forward = sum(model.prices.forward(1, length) for length in found.lengths)
    used = spent(ledger, forward) if forward else {}
    return {"multiply_adds": ledger.total} | {key: value for key, value in used.items() if key != "circuits_run"}


def _manifest(asked: LookOptions, job: str, model: HookedModel) -> dict[str, Any]:
    return {
        "command": shlex.join(["circuits", *sys.argv[1:]]),
        "job": job,
        "options": _options(asked),
        "model": described(model),
        "seeds": {"seed": getattr(asked, "seed", None)},
        "versions": versions(),
        **packages(),
        "machine": machine(),
    }


def _options(asked: LookOptions) -> dict[str, Any]:
    """The options that make the numbers, as plain data; names of files in full."""
    known = options_of(type(asked))
    kept = {name: value for name, value in plain(asked).items() if name not in options_of(OutputOptions)}
    return {name: known[name].whole(list(v) if isinstance(v, tuple) else v) for name, v in kept.items()}


def _write(folder: Path, asked: LookOptions, found: Found) -> None:
    write_text(folder / "config.toml", to_toml(_options(asked)))
    for name, table in found.tables.items():
        table.save(folder / f"{name}.parquet")
    for name, write in found.files.items():
        write(folder / name)
    save_looked(folder, found.looked)


def _show(looked: Looked, path: Path) -> None:
    for sentence in looked.sentences:
        printing.sentence(sentence)
    for section in looked.sections:
        if section.rows is not None:
            rows = written_rows(section.rows)
            printing.table(section.title, section.rows.columns, rows[:MOST_PRINTED])
            if section.rows.n > MOST_PRINTED:
                printing.sentence(f"{min(MOST_PRINTED, len(rows))} of {section.rows.n:,} rows; more are in the report")
    printing.lines(f"report: {path / 'report.html'}")
