"""What a run at level `features` shows besides scores and circuit: its dictionaries, what the errors carry, circuits of other
nodes of the same size, edges between the first features, and what these react to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from circuits.circuit.circuit import Circuit, is_error
from circuits.circuit.saved import Saved
from circuits.circuit.selection import ranked
from circuits.evaluation.evaluation import Evaluation, Point
from circuits.evaluation.faithfulness import evaluate
from circuits.evaluation.ratio import measure
from circuits.evaluation.running.runners import make_runner
from circuits.settings.prepared import Prepared, Say
from interp.attribution.asking.planning import plan
from interp.attribution.asking.request_options import MemoryOptions, PatchOptions
from interp.attribution.batching.batch_sizes import survey_batch
from interp.attribution.feature_edges import feature_edges
from interp.attribution.methods import get_method
from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.evaluation.dashboard_stream import seen
from interp.dictionaries.evaluation.dashboard_values import Dashboard
from interp.dictionaries.evaluation.dashboards import make_dashboards
from interp.dictionaries.evaluation.fidelity import Fidelity
from interp.errors import InterpError
from interp.option import keywords
from interp.parts.named_inputs import Inputs
from interp.parts.nodes import Node
from interp.parts.sites import order
from interp.scores.scores import Scores
from interp.tasks.ablations import NONE
from interp.tasks.lengths import by_length
from interp.tasks.pairs.token_pairs import run_of

#: The first features of the circuit, whose edges are scored and whose reactions are shown.
LOOKED_AT: Final = 16
#: Prompts that are looked through for what a feature reacts to.
PROMPTS: Final = 256
BESIDE: Final = ("neurons", "heads")


@dataclass(frozen=True)
class DictionaryFacts:
    """One dictionary on the prompts of the task (no BOS): active features per token, explained variance (None where what it
    makes up does not vary), features scored. `described`: its line in the provenance."""

    site: str
    target: str
    name: str
    activation: str
    n_features: int
    scored: int
    l0: float
    explained_variance: float | None
    described: str


@dataclass(frozen=True)
class Beside:
    """Circuits of other nodes, from the top of the same method's ranking, on the same pairs with the same ablation.

    `n_parts`: how many nodes there are; sizes beyond are left out. `empty`: the metric with all of them ablated. `reason`:
    why there is nothing, or why f is undefined.
    """

    level: str
    method: str
    n_parts: int
    full: float
    empty: float
    points: tuple[Point, ...]
    reason: str = ""


@dataclass(frozen=True)
class Look:
    """What one feature reacts to on prompts of the task, and the logits that it writes to."""

    name: str
    dashboard: Dashboard


@dataclass(frozen=True)
class FeatureStudy(Saved):
    """`without_errors`: the circuit judged with the errors removed. `edges_reason`: why there are no edges."""

    dictionaries: tuple[DictionaryFacts, ...]
    without_errors: Evaluation | None
    beside: tuple[Beside, ...]
    looks: tuple[Look, ...]
    edges_method: str = ""
    edges_reason: str = ""


def study_features(
    job: Prepared, scores: Scores, circuit: Circuit, evaluation: Evaluation, say: Say
) -> tuple[FeatureStudy, Scores | None]:
    """Everything that is shown of a circuit of features, and the edges between the first of them."""
    without = evaluate(
        job.model, job.evaluation, circuit, scores=scores, n_random=job.settings.n_random, errors="removed",
        held_out=job.held_out, other_ablation=NONE, **job.judging,
    )  # fmt: skip
    sizes = [point.size for point in evaluation.curve]
    beside = tuple(_beside(job, level, sizes, say) for level in BESIDE)
    first = [part for part in circuit.parts if isinstance(part, Node)][:LOOKED_AT]
    errors = [part.name for part in scores.parts if is_error(part)]
    say(f"looking at the first {len(first)} features and the edges between them")
    edges, method, reason = _edges(job, [part.name for part in first] + errors)
    facts = tuple(_facts(job, scores))
    return FeatureStudy(facts, without, beside, tuple(_looks(job, first)), method, reason), edges


# ---------------------------------------------------------------- circuits of other nodes


def _beside(job: Prepared, level: str, sizes: Sequence[int], say: Say) -> Beside:
    """The top of a ranking of other nodes at every size that it has."""
    settings, method = job.settings, job.settings.methods[0]
    say(f"circuits of {level} to compare with")
    # The search of auto looks for a top of its own here: there may be fewer nodes than features in the circuit.
    try:
        scores = plan(job.model, job.scoring, settings.beside(level)).score()[method]
    except InterpError as error:
        return Beside(level, method, 0, 0.0, 0.0, (), str(error))
    runner = make_runner(
        job.model, job.evaluation, level, ablation=settings.ablation, metric=settings.metric, seed=settings.seed,
        batch_size=settings.batch_size, max_memory=settings.max_memory,
    )  # fmt: skip
    nodes = [scores.parts[i] for i in ranked(scores, settings.ranking)]
    tops = {size: frozenset(nodes[:size]) for size in sizes if size <= len(nodes)}
    found = measure(runner, tops.values(), seed=settings.seed)
    points = tuple(Point(size, found.estimate(top), ()) for size, top in tops.items())
    return Beside(level, method, len(nodes), *found.ends, points, found.reason)


# ---------------------------------------------------------------- edges


def _edges(job: Prepared, names: Sequence[str]) -> tuple[Scores | None, str, str]:
    """Edges between these nodes, the method that scored them, and why there are none."""
    method = job.leading if get_method(job.leading).base_point else "relp"
    options = keywords(job.settings, PatchOptions, MemoryOptions)
    try:
        found = feature_edges(
            job.model, job.scoring, names, method=method, dictionaries=job.settings.dictionaries or {}, **options
        )
        return found, method, ""
    except InterpError as error:
        return None, method, str(error)


# ---------------------------------------------------------------- what they are


def prompts_of(job: Prepared) -> list[Tensor | Inputs]:
    """The first prompts of the task, each once, clean and corrupt, in batches of one length."""
    pairs = job.tokens(job.task)
    rows = list(dict.fromkeys(side for pair in pairs for side in (pair.clean, pair.corrupt)))[:PROMPTS]
    settings, longest = job.settings, max(map(len, rows))
    size = survey_batch(job.model, longest, settings.batch_size, settings.max_memory)
    return [run_of([rows[i] for i in index]) for index in by_length([len(row) for row in rows], size)]


def _working(job: Prepared) -> Iterable[Dictionary]:
    """The dictionaries in forward order, where the model is."""
    given = sorted((job.settings.dictionaries or {}).values(), key=lambda d: order(d.target))
    return (d.to(device=job.model.device) for d in given)


def _facts(job: Prepared, scores: Scores) -> Iterable[DictionaryFacts]:
    lines = {line.partition(":")[0]: line for line in scores.provenance.dictionaries}
    for d in _working(job):
        fit, where = Fidelity(d, whole=False), f"{d.site} -> {d.target}" if d.transcoder else str(d.site)
        kind = f"{d.target.kind}.feature"
        own = [part for part in scores.parts if (part.kind, part.layer) == (kind, d.target.layer)]
        for ids in prompts_of(job):
            for batch in seen(job.model, d, [ids]):
                with torch.no_grad():
                    made = job.model.run(ids, reads=[d.target], logits_to_keep=1)[d.target].flatten(2)
                x, y = batch.x[batch.keep], made[batch.keep]
                fit.add(x, y, torch.zeros(len(x), dtype=torch.bool, device=x.device))
        yield DictionaryFacts(
            str(d.site), str(d.target), d.name, type(d.activation).__name__, d.n_features, len(own), fit.mean_l0,
            _explained(fit), lines[where],
        )  # fmt: skip


def _explained(fit: Fidelity) -> float | None:
    try:
        return fit.explained_variance
    except DictionaryError:
        return None


def _looks(job: Prepared, nodes: Sequence[Node]) -> list[Look]:
    """A dashboard of each node, in their order."""
    found: dict[str, Look] = {}
    prompts = prompts_of(job)
    for d in _working(job):
        own = [n for n in nodes if n.kind == f"{d.target.kind}.feature" and n.layer == d.target.layer]
        if own:
            options: dict[str, Any] = {"n_examples": 3, "n_drawn": 1, "n_logits": 6, "n_nearest": 0}
            boards = make_dashboards(
                job.model, d, prompts, features=[n.unit or 0 for n in own], show_progress=False, **options
            )
            found |= {n.name: Look(n.name, replace(b, bands=())) for n, b in zip(own, boards, strict=True)}
    return [found[n.name] for n in nodes]
