"""The main job as one function: scores, exact patching, agreement, circuit, evaluation, pictures' data."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from circuits.anatomy.closeups import look_closely
from circuits.anatomy.exact_check import check_exactly, checked_by_search
from circuits.anatomy.feature_study import study_features
from circuits.anatomy.overview import measure_accuracy, score_positions, show_prompts
from circuits.circuit.circuit import Circuit
from circuits.circuit.selection import discover, get_selection
from circuits.costs.run_bounds import pace
from circuits.evaluation.evaluation import Evaluation, Search
from circuits.evaluation.faithfulness import evaluate
from circuits.evaluation.running.runners import runner_for
from circuits.evaluation.smallest import find_smallest_on
from circuits.runs.record import Record
from circuits.settings.prepared import Prepared, Say, Settings, begin
from circuits.terms.words import kinds_in_words, pairs_in_words
from interp.attribution.auto.verified import VerifiedAttribution
from interp.attribution.methods import get_method
from interp.formatting.numbers import several
from interp.parts.nodes import CIRCUIT_LEVELS, FEATURES
from interp.scores.scores import Scores
from interp.tasks.metrics import get_metric

DEFAULT_SIZE: Final = 10
TARGET: Final = 0.9


def phases(command: str, settings: Settings) -> int:
    """How many phases (see `circuits.settings.prepared.begin`) a run of these options has: `circuits.jobs.discovery` begins the first and the last."""
    methods = [get_method(name) for name in settings.methods]
    searched = command == "discover" and methods[0].search
    found = 4 + (not searched and not any(m.exact for m in methods))
    if command == "compare":
        return found
    found += 2
    if settings.level not in CIRCUIT_LEVELS:
        return found
    chosen = settings.n is not None or settings.threshold is not None or methods[0].joint is not None
    return found + 2 + (not chosen) + (settings.level == FEATURES)


def run_discovery(job: Prepared, manifest: dict[str, Any], say: Say) -> Record:
    """Everything that `circuits discover` finds."""
    accuracy = _accuracy(job, "discover", say)
    scores = score(job, say)
    exact, agreements = checked_by_search(job, scores) or check_exactly(job, scores, say)
    circuit = search = evaluation = features = edges = anatomy = node_edges = None
    if job.settings.level in CIRCUIT_LEVELS:
        circuit, search = choose_circuit(job, scores[0], say)
        evaluation = judge(job, circuit, scores[0], say)
        if job.settings.level == FEATURES:
            begin(say, "features", "comparing with circuits of other nodes, and looking at features")
            features, edges = study_features(job, scores[0], circuit, evaluation, say)
        begin(say, "anatomy", "looking closely at the circuit")
        anatomy, node_edges = look_closely(job, scores[0], circuit, say)
    position_map, labels = score_positions(job, say)
    return Record(
        manifest,
        scores,
        exact,
        agreements,
        circuit,
        evaluation,
        position_map,
        labels.pop("", ()),
        show_prompts(job, say),
        accuracy,
        features,
        edges,
        anatomy,
        node_edges,
        search,
        labels,
    )


def run_comparison(job: Prepared, manifest: dict[str, Any], say: Say) -> Record:
    """Everything that `circuits compare` finds: several methods against exact patching, on all pairs."""
    accuracy = _accuracy(job, "compare", say)
    scores = score(job, say)
    exact, agreements = check_exactly(job, scores, say)
    return Record(manifest, scores, exact, agreements, accuracy=accuracy)


def _accuracy(job: Prepared, command: str, say: Say) -> dict[str, float]:
    begin(say, "accuracy", f"running the model on {several(len(job.task), 'pair')} of {job.task.name}")
    started = time.perf_counter()
    found = measure_accuracy(job.model, job.task, say, several=get_metric(job.settings.metric).several)
    say(pace(job, command, time.perf_counter() - started))
    return found


def score(job: Prepared, say: Say) -> tuple[Scores, ...]:
    """Scores by the methods of the run, the one that the circuit is chosen by first."""
    what, n = kinds_in_words(part.kind for part in job.request.space.parts([None])), len(job.scoring)
    begin(
        say,
        "scoring",
        f"scoring {what} with {', '.join(job.settings.methods)} on {several(n, 'pair')} ({job.request.memory})",
    )
    if job.learned is not None:
        say(str(job.learned.learned))
    if not isinstance(job.request, VerifiedAttribution) or len(job.settings.methods) > 1:
        found = tuple(job.request.score().values())
        for own in found:
            say(f"{own.provenance.method}: {own.provenance.masks}" if own.provenance.masks else "")
        return found
    found = tuple(job.request.score_tried().values())
    say(str(found[0].search.certificate) if found[0].search else "")
    return found


# ---------------------------------------------------------------- the circuit


def judge(job: Prepared, circuit: Circuit, scores: Scores, say: Say, sizes: Sequence[int] | None = None) -> Evaluation:
    """What the circuit is worth on the pairs for that, by default with the curve over all sizes."""
    begin(say, "evaluating", f"evaluating the circuit on {pairs_in_words(len(job.evaluation), job.held_out)}")
    return evaluate(
        job.model,
        job.evaluation,
        circuit,
        scores=scores,
        sizes=sizes,
        n_random=job.settings.n_random,
        held_out=job.held_out,
        other_ablation=job.settings.other_ablation,
        **job.judging,
    )


def choose_circuit(job: Prepared, scores: Scores, say: Say) -> tuple[Circuit, Search | None]:
    """The first `n` parts that the algorithm takes, or those that reach the threshold; without both the fewest found that are
    faithful on the pairs that were scored, and how they were looked for.

    After ACDC and with no `n`, the circuit that it leaves: every edge whose score is at least the threshold it used.
    """
    settings, n = job.settings, job.settings.n
    chosen: dict[str, Any] = {k: getattr(settings, k) for k in ("ranking", "algorithm", "prune")}
    if n is not None or settings.threshold is not None:
        return discover(scores, n=n, threshold=settings.threshold, **chosen), None
    if scores.provenance.tau is not None:
        return discover(scores, threshold=scores.provenance.tau, **chosen), None
    begin(say, "searching", f"looking for the smallest circuit with faithfulness {TARGET:.0%} on the scored pairs")
    ordered = _in_order(scores, get_selection(settings.algorithm).function(scores, settings.ranking))
    judging = job.judging
    ranking = judging.pop("ranking")
    runner = runner_for(job.model, job.scoring, scores, **judging)
    search = find_smallest_on(runner, ordered, target=TARGET, ranking=ranking, seed=settings.seed)
    search = replace(search, by=f"{scores.provenance.method} ({settings.ranking}, {settings.algorithm})")
    how = (
        f"the smallest found with faithfulness {TARGET:.0%} on the scored pairs"
        if search.size
        else "as no size was faithful"
    )
    circuit = discover(scores, n=search.size or min(DEFAULT_SIZE, len(ordered.parts)), **chosen)
    return replace(circuit, selection=f"{circuit.selection}, {how}"), search


def _in_order(scores: Scores, order: Sequence[int]) -> Scores:
    """The parts of a selection, scored by their place in it: the search for the smallest circuit follows scores."""
    places = scores.provenance.importance_sign * np.arange(len(order), 0, -1.0)
    return Scores(tuple(scores.parts[i] for i in order), places[None], scores.provenance)
