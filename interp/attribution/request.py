"""What is called for scores: of one method or several, at once or to be done later; and what an ablation has learned on their prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from interp.attribution.asking.keywords import takes
from interp.attribution.asking.planning import plan
from interp.attribution.asking.request_options import Request, ShownRequest, ShownRequestOfOne
from interp.attribution.scoring.driver import Attribution
from interp.errors import MethodError
from interp.given import kinds_checked
from interp.option import taken
from interp.parts.graph import KeyValue
from interp.scores.scores import Scores
from interp.tasks.ablations import ABLATIONS
from interp.tasks.replacements import Ablation
from interp.tasks.task import Task


@takes(ShownRequestOfOne)
def attribute(model: Any, task: Task | str | Path, asked: ShownRequestOfOne) -> Scores:
    """Scores of every node of `level` by one method. See `prepare` for what each option means."""
    request = taken(Request, asked, methods=[asked.method])
    return plan(model, task, request).score(asked.show_progress)[asked.method]


@takes(ShownRequest)
def attribute_all(model: Any, task: Task | str | Path, asked: ShownRequest) -> dict[str, Scores]:
    """Scores of every node of `level` by several methods, which share the runs on clean and corrupt prompts.

    See `prepare` for what each option means. Returns: method -> `Scores` in the metric's unit: metric(patched) -
    metric(base) or its estimate. Raises: what `prepare` raises, and ScoreError for a score that is not finite.
    """
    return Compared(plan(model, task, asked).score(asked.show_progress))


class Compared(dict[str, Scores]):
    """Scores by method: a dictionary that shows itself in a line for each, or as their tables."""

    def __repr__(self) -> str:
        return "\n".join(
            [f"scores of {len(self)} methods, by name:", *(str(s).partition("\n")[0] for s in self.values())]
        )

    def _repr_html_(self) -> str:
        return "".join(scores._repr_html_() for scores in self.values())


@takes(Request)
def prepare(model: Any, task: Task | str | Path, asked: Request) -> Attribution:
    """Check every option against the model and the task; `.score()` then does the work.

    task: a `Task`, the name of a built-in one, or a task file.
    level: `resid`, `blocks`, `heads`, `qkv`, `neurons`, `edges` or `features`; of nets without blocks `modules` or `channels`. positions: `all` patches all positions of a node together;
    `each`, `end` and `spans` score positions apart (the default of `resid` is `each`, which refuses `all`).
    direction: `denoise` (clean values into the corrupt run; the default for counterfactual) or `noise`.
    steps, quadrature: for IG methods, 8 midpoints by default. parts: score only these nodes or edges, by name.
    allow_unsupported: take the plain gradient where a rule set has no rule, instead of an error.
    kv, split_positions: at level `edges`, whether K/V readers are `shared` by their group (the default) or `split` per query head, and
    whether the position embedding is a writer of its own. tau: the threshold of ACDC, in the metric's unit.
    rounds, start, backward: of searches on masks (`iterated`, `learned`, `portfolio`): how many masked runs; the method whose order
    `learned` begins with (`relp`); the rule preset in the place of the gradient. In the place of rounds they take a `budget` in
    forward equivalents, such as '150F', of all that they cost.
    max_memory: bytes, or text such as '2GiB', that scoring may take above the model; batches are made to fit.
    n, chance, budget, ranking: of method `auto`: look for the top `n` (10) of this ranking (`absolute`), to which a part
    outside belongs with `chance` (0.01) at most, on average over draws; spend '60s', or '200F' or 200 forward equivalents
    (100) after the presets, or what it costs to score one part where that is more.
    dictionaries: of level `features`, {site that one makes up: `Dictionary`}, or a folder of them. Its nodes are the features that
    are active in some run, and each site's error.

    Raises: MethodError, MetricError, TaskError, SiteError, UnsupportedRuleError, DictionaryError.
    """
    return plan(model, task, asked)


@kinds_checked
def learned_ablation(
    model: Any,
    task: Task | str | Path,
    kind: str = "optimal",
    *,
    level: str,
    seed: int = 0,
    batch_size: int | None = None,
    kv: KeyValue = "shared",
    split_positions: bool = False,
) -> Ablation:
    """Optimal ablation for the parts of a level, learned on these prompts, to give to `circuits.evaluate` for others.

    level: any but features. Scores of the same prompts, seed and batch size have the same values. Cost: see
    `interp.learning.optimal.FORWARDS`. Raises: MethodError for a kind that learns nothing, TaskError, SiteError.
    """
    if ABLATIONS[kind].learn is None:
        raise MethodError(f"ablation {kind!r} learns nothing: give its name where an ablation is asked for.")
    asked = Request(methods=["atp"], level=level, ablation=kind, seed=seed, batch_size=batch_size)
    graph = {"kv": kv, "split_positions": split_positions} if level == "edges" else {}
    return plan(model, task, replace(asked, **graph)).ablation  # type: ignore[arg-type]
