"""The table of a paper on one model: checked first, then every node patched exactly and every method held beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from circuits.anatomy.overview import measure_accuracy
from circuits.reproduction.paper import Paper, Printed, Wanted
from circuits.reproduction.reproduced import COLUMNS, Cell, ModelTable
from circuits.settings.prepared import Say, begin
from interp.attribution.asking.checks import check
from interp.attribution.asking.planning import plan
from interp.attribution.asking.request_options import Request
from interp.attribution.scoring.driver import Attribution
from interp.errors import InterpError
from interp.formatting.numbers import several
from interp.option import taken
from interp.parts.nodes import model_groups
from interp.scores.agreement import agreement
from interp.scores.scores import Scores
from interp.tasks.find import alike, stored
from interp.tasks.find import task as find_task
from interp.tasks.task import Task

EXACT = "exact"
#: The phase of a model's own answers, for who counts what is spent.
ACCURACY = "accuracy"


@dataclass(frozen=True)
class Ready:
    """A model on which everything has been checked, and nothing scored. requests: level -> what is scored there."""

    given: str
    paper: Paper
    wanted: Wanted
    model: Any
    task: Task
    requests: Mapping[str, Attribution]
    printed: Printed | None


def phase_of(level: str) -> str:
    """The phase of the scores of a level."""
    return f"scoring {level}"


def check_wanted(paper: Paper, wanted: Wanted) -> None:
    """Refuse what has no meaning on any model. Raises: InterpError."""
    if EXACT in wanted.methods:
        raise InterpError("methods: 'exact' is what the others are held beside; it always runs. Leave it out.")
    stored(paper.task, wanted.limit, wanted.length)
    for level in paper.levels:
        check(_request(paper, level, wanted))


def prepare(given: str, paper: Paper, wanted: Wanted, model: Any, say: Say) -> Ready:
    """Make the prompts, and check every option against them and the model. Raises: InterpError."""
    check_wanted(paper, wanted)
    return on_task(given, paper, wanted, model, _prompts(paper, wanted, model, say))


def on_task(given: str, paper: Paper, wanted: Wanted, model: Any, task: Task) -> Ready:
    """The same for prompts that are there, all of one length. Raises: InterpError."""
    requests = {}
    for level, kinds in paper.levels.items():
        parts = [g.node(0).name for g in model_groups(model, level) if g.kind in kinds]
        requests[level] = plan(model, task, replace(_request(paper, level, wanted), parts=parts))
    return Ready(given, paper, wanted, model, task, requests, paper.of_model(model.name, model.hf, model.layout))


def _prompts(paper: Paper, wanted: Wanted, model: Any, say: Say) -> Task:
    """Pairs of one length, as each position is scored; what is said of that where nobody asked for the length. Raises: TaskError."""
    if wanted.length is not None:
        return find_task(paper.task, model, n=wanted.limit, seed=wanted.seed, length=wanted.length)
    task, said = alike(paper.task, model, n=wanted.limit, seed=wanted.seed)
    if said:
        say(f"NOTE: {said}")
    return task


def _request(paper: Paper, level: str, wanted: Wanted) -> Request:
    convention = {"positions": paper.positions, "direction": paper.direction, "metric": paper.metric}
    return taken(Request, wanted, methods=(EXACT, *wanted.methods), level=level, **convention)


def measure(
    ready: Ready, say: Say, weights: Mapping[str, str] | None = None
) -> tuple[ModelTable, dict[str, dict[str, Scores]]]:
    """The table of a model, and the scores that it is made of: level -> method -> scores. `weights`: what the table says of them,
    file -> SHA-256. Raises: ScoreError."""
    name, n = ready.model.name, several(len(ready.task), "pair")
    begin(say, ACCURACY, f"running {name} on {n} of {ready.task.name}")
    right = measure_accuracy(ready.model, ready.task, say)
    found = {}
    for level, request in ready.requests.items():
        words = ", ".join(COLUMNS.get(kind, kind) for kind in ready.paper.levels[level])
        what = f"{several(_nodes(request), 'node')} ({words})"
        methods = ", ".join(m.name for m in request.methods)
        begin(say, phase_of(level), f"scoring {what} of {name} with {methods} on {n} ({request.memory})")
        found[level] = request.score()
    return replace(_table(ready, right, found), weights=weights or {}), found


def _nodes(request: Attribution) -> int:
    """How many nodes are scored: those asked for, at every position."""
    return len(request.only or ()) * len(request.positions.labels)


def _table(ready: Ready, right: Mapping[str, float], found: Mapping[str, Mapping[str, Scores]]) -> ModelTable:
    methods = ready.wanted.methods
    cells = {}
    for level, scores in found.items():
        for method in methods:
            seen = agreement(scores[method], scores[EXACT], seed=ready.wanted.seed)
            for kind in ready.paper.levels[level]:
                cells[kind, method] = Cell(kind, method, seen[kind], _printed(ready.printed, kind, method))
    passes = {
        m: tuple(sum(getattr(s[m].provenance, way) for s in found.values()) for way in ("forwards", "backwards"))
        for m in (EXACT, *methods)
    }
    pairs = next(iter(ready.requests.values())).pairs
    return ModelTable(
        name=ready.model.name,
        given=ready.given,
        n_pairs=len(pairs),
        tokens=pairs[0].length,
        task=f"{ready.task.name}: {ready.task.source}",
        dtype=str(ready.model.dtype).removeprefix("torch."),
        right=right,
        passes=passes,
        printed=ready.printed.model if ready.printed else "",
        cells=tuple(cells[kind, method] for kind in ready.paper.kinds for method in methods),
    )


def _printed(known: Printed | None, kind: str, method: str) -> float | None:
    return None if known is None else known.figures.get((kind, method))
