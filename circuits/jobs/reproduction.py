"""`reproduce`: the table of a paper on some models, measured, printed and written to a folder."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from circuits.console import printing
from circuits.console.phases import Telling, telling
from circuits.costs.bounds import check_most, one_forward, spent
from circuits.costs.table_bounds import bounds
from circuits.jobs.discovery import RunFailed
from circuits.jobs.inputs import load_model, said_doubts
from circuits.report.pages import render_reproduction
from circuits.reproduction.measuring import Ready, check_wanted, measure, prepare
from circuits.reproduction.paper import Paper, Wanted
from circuits.reproduction.papers import get_paper
from circuits.reproduction.reproduced import (
    STAR,
    Failed,
    ModelTable,
    Reproduced,
    agreement_lines,
    basis_lines,
    markdown,
)
from circuits.reproduction.verdicts import facts, verdicts
from circuits.runs import directory
from circuits.runs.made_with import machine, packages, versions
from circuits.runs.model_files import described
from circuits.settings.prepared import begin, check_seed
from circuits.settings.reproduction_options import PaperOptions
from circuits.settings.run_options import OutputOptions, listed
from interp.errors import InterpError
from interp.files import write_text
from interp.formatting.numbers import several
from interp.ledger import counting
from interp.option import options_of, plain, taken
from interp.scores.scores import Scores

#: What makes a table cost less.
LESS: Final = "Fewer methods (--methods) or shorter prompts (--length) cost less."
BASIS: Final = "what these numbers rest on"


def run(asked: PaperOptions) -> None:
    """From options to a table and a folder. Every model is loaded and checked before the first is scored.

    Raises: InterpError for bad input, with nothing written; RunFailed naming the models whose scoring failed, after the tables of the
    others are written.
    """
    started, created = time.perf_counter(), directory.now()
    paper, wanted, models = _checked(asked)
    path = Path(asked.out or directory.free_name(f"reproduce-{paper.name}"))
    with telling(_phases(paper, len(models)), asked.quiet) as say:
        first = [_ready(name, paper, wanted, asked, say) for name in models[:1]]
        for name in models[1:]:
            _ready(name, paper, wanted, asked, say)
        manifest = _manifest(asked, paper, wanted, models) | {"created": created}
        with directory.open_run(path, manifest, force=asked.force) as folder:
            found, seen = _measured(asked, (paper, wanted), models, first, folder, say)
            begin(say, "writing", "writing the table")
            _write(folder, found, paper)
            seconds = round(time.perf_counter() - started, 2)
            directory.complete(folder, directory.finished(manifest | {"models": seen, "seconds": seconds}))
    if asked.json:
        printing.as_json(found.to_dict() | {"directory": str(path)})
    else:
        _show(found, paper, path)
    if found.failed:
        raise RunFailed(_failures(found.failed))


def _checked(asked: PaperOptions) -> tuple[Paper, Wanted, list[str]]:
    """Paper, what is wanted of it, and the models: all that needs no model to be wrong. Raises: InterpError."""
    paper, models = get_paper(asked.paper), asked.models or ["demo"]
    if repeated := [name for name in models if models.count(name) > 1]:
        raise InterpError(f"--model {repeated[0]} is given twice; expected each model once.")
    if asked.out is not None:
        directory.check_target(asked.out, asked.force)
    check_seed(asked.seed)
    check_most(asked.max_forwards, "model's")
    methods = (*paper.methods, *paper.others) if asked.methods is None else tuple(listed(asked.methods))
    wanted = taken(Wanted, asked, methods=methods)
    check_wanted(paper, wanted)
    return paper, wanted, models


def _phases(paper: Paper, n: int) -> int:
    """Each model is loaded and checked, later ones loaded again when their turn comes; run, and scored at each level; the end."""
    return 2 * n + n * (1 + len(paper.levels))


def _ready(name: str, paper: Paper, wanted: Wanted, asked: PaperOptions, say: Telling) -> Ready:
    """A model that has been checked. Raises: InterpError naming it."""
    begin(say, "loading", f"loading {name}")
    try:
        with said_doubts(say):
            found = prepare(name, paper, wanted, load_model(name, asked.dtype, asked.device), say)
        planned = bounds(found)
        planned.check(asked.max_forwards, "its table", LESS)
    except InterpError as error:
        raise InterpError(f"model {name!r}: {error}") from error
    say(f"plan of {name}: {planned}")
    return found


def _measured(
    asked: PaperOptions,
    of: tuple[Paper, Wanted],
    models: list[str],
    first: list[Ready],
    folder: Path,
    say: Telling,
) -> tuple[Reproduced, list[dict[str, Any]]]:
    """The tables of all models, each one's scores written when it is done; and what the manifest says of the models."""
    tables, failed, seen = list[ModelTable](), list[Failed](), list[dict[str, Any]]()
    for name in models:
        try:
            ready = first.pop() if first else _ready(name, *of, asked, say)
            table, scores = _one(ready, asked.max_forwards, seen, say)
        except (InterpError, RuntimeError, MemoryError) as error:
            failed.append(Failed(name, f"{type(error).__name__}: {error}"))
            say(f"WARNING: model {name!r} failed: {error}")
            continue
        _keep(folder / "scores" / f"{len(tables) + 1}-{_stem(table.name)}", scores)
        tables.append(table)
    if not tables:
        raise RunFailed(_failures(failed))
    paper, _ = of
    return Reproduced(paper.name, paper.title, paper.source, tuple(tables), tuple(failed)), seen


def _one(
    ready: Ready, most: float | None, seen: list[dict[str, Any]], say: Telling
) -> tuple[ModelTable, dict[str, dict[str, Scores]]]:
    """The table of one model, which is then let go of; `seen` gets what the manifest says of it, with what was spent. most: the
    most forwards of its pairs."""
    seen.append({"given": ready.given, **described(ready.model)})
    weights = {file: sha for file, sha in seen[-1]["files"].items() if file.endswith(".safetensors")}
    forward = one_forward(ready.model, next(iter(ready.requests.values())).pairs)
    with counting() as ledger:
        ledger.most = None if most is None else most * forward
        found = measure(ready, say, weights)
    seen[-1] |= spent(ledger, forward)
    return found


def _stem(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:40].strip("._") or "x"


def _keep(folder: Path, found: Mapping[str, Mapping[str, Scores]]) -> None:
    """Every score of a model, exact ones too: what the table is made of."""
    folder.mkdir(parents=True)
    for level, scores in found.items():
        for method, one in scores.items():
            one.save(folder / f"{level}-{method}.parquet")


def _write(folder: Path, found: Reproduced, paper: Paper) -> None:
    """The table as JSON, CSV, Markdown and a page."""
    write_text(folder / "table.json", json.dumps(found.to_dict(), indent=1))
    rows, text = found.rows(), io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "table.csv", text.getvalue())
    write_text(folder / "table.md", "\n".join(_pieces(found, paper)))
    write_text(folder / "report.html", render_reproduction(found, paper))


def _pieces(found: Reproduced, paper: Paper) -> Iterator[str]:
    """The tables and what is said of them in Markdown, model by model."""
    for table in found.tables:
        yield f"**{_title(table)}**\n"
        yield markdown(*agreement_lines(table))
        yield f"**{table.name}: {BASIS}**\n"
        yield markdown(*basis_lines(table))
        starred = [f"\\{STAR}."] if table.carried else []
        yield "".join(f"* {said}\n" for said in (*starred, *facts(table, paper), *verdicts(table, paper)))


def _title(table: ModelTable) -> str:
    return f"{table.name}: Pearson with exact patching [95 %], {several(table.n_pairs, 'pair')}"


def _show(found: Reproduced, paper: Paper, path: Path) -> None:
    printing.sentence(f"{found.source}: {paper.says}.")
    for table in found.tables:
        printing.table(_title(table), *agreement_lines(table))
        printing.table(f"{table.name}: {BASIS}", *basis_lines(table))
        if table.carried:
            printing.sentence(f"{STAR}.")
        for said in (*facts(table, paper), *verdicts(table, paper)):
            printing.sentence(said)
    printing.lines(f"table: {path / 'table.json'}, .csv, .md\nreport: {path / 'report.html'}")


def _failures(failed: Sequence[Failed]) -> str:
    return "; ".join(f"model {one.given!r} failed: {one.reason}" for one in failed)


def _manifest(asked: PaperOptions, paper: Paper, wanted: Wanted, models: list[str]) -> dict[str, Any]:
    options = {name: value for name, value in plain(asked).items() if name not in options_of(OutputOptions)}
    return {
        "command": shlex.join(["circuits", *sys.argv[1:]]),
        "job": directory.REPRODUCE,
        "paper": {"name": paper.name, "title": paper.title, "source": paper.source},
        "options": options | {"model": models, "methods": list(wanted.methods)},
        "seeds": {"seed": asked.seed},
        "versions": versions(),
        **packages(),
        "machine": machine(),
    }
