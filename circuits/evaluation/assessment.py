"""Everything that is measured of one circuit, in one value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from circuits.circuit.circuit import Circuit
from circuits.circuit.saved import Saved
from circuits.evaluation.area_values import Areas
from circuits.evaluation.areas import ranking_areas_on
from circuits.evaluation.evaluation import AREAS, CURVE, MINIMALITY, TESTS, Evaluation, Spent
from circuits.evaluation.faithfulness import evaluate_on
from circuits.evaluation.hypotheses import HypothesisTest, hypothesis_on
from circuits.evaluation.minimality import Minimality, leave_one_out_on
from circuits.evaluation.other_ablation import other_runners
from circuits.evaluation.running.feature_runner import FeatureRunner
from circuits.evaluation.running.runners import runner_for
from circuits.terms.kinds import kinds_checked
from interp.attribution.features.hosts import Dictionaries
from interp.formatting.showing import card
from interp.formatting.text import printed
from interp.ledger import enter
from interp.scores.scores import Ranking, Scores
from interp.tasks.ablations import ablations_beside
from interp.tasks.metric import Metric
from interp.tasks.replacements import Ablation, kind_of
from interp.tasks.task import Task

MINIMALITY_LIMIT: Final = 200


@dataclass(frozen=True)
class Assessment(Saved):
    """The evaluation of a circuit, the tests of sufficient and necessary, minimality, and the areas of its scores.

    `left_out`: what was not measured and why, a sentence each. `without_errors`: of a circuit of features the evaluation
    with the errors removed; everything else keeps them. `spent`: what it took, where that was counted, as `circuits evaluate` does.
    """

    evaluation: Evaluation
    sufficient: HypothesisTest
    necessary: HypothesisTest
    minimality: Minimality | None
    areas: Areas | None
    left_out: tuple[str, ...] = ()
    without_errors: Evaluation | None = None
    spent: Spent | None = None

    def __str__(self) -> str:
        return printed("\n".join(self._lines()))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return str(card(self))

    def _lines(self) -> Iterator[str]:
        e = self.evaluation
        yield str(e)
        if self.without_errors is not None:
            yield str(self.without_errors)
        for under in (e, e.other):
            if under is not None and None not in (under.full, under.circuit, under.empty):
                yield f"{e.metric} ({e.unit}), {under.ablation} ablation: whole model {under.full:.4g}, circuit {under.circuit:.4g}, empty {under.empty:.4g}"
        yield from (str(self.sufficient), str(self.necessary))
        yield from (str(found) for found in (self.minimality, self.areas) if found is not None)
        yield from (f"not measured: {reason}" for reason in self.left_out)
        if self.spent is not None:
            yield str(self.spent)


@kinds_checked
def assess(
    model: Any,
    task: Task | str | Path,
    circuit: Circuit,
    scores: Scores | None = None,
    *,
    ablation: str | Ablation = "counterfactual",
    metric: str | Metric | None = None,
    sizes: Sequence[int] | None = None,
    n_random: int = 20,
    n_tests: int = 100,
    alpha: float = 0.05,
    ranking: Ranking = "absolute",
    minimality_limit: int = MINIMALITY_LIMIT,
    held_out: bool | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    max_memory: int | str | None = None,
    show_progress: bool | None = None,
    dictionaries: Dictionaries | None = None,
    other_ablation: str | None = None,
) -> Assessment:
    """Evaluate a circuit in every way that there is; areas need `scores`, the ranking that the circuit comes from.

    `n_random`: random circuits of its size, of which other sizes of the curve have at most 5; `n_tests`: those of each test.
    Minimality is left out, and said to be, for circuits of more than `minimality_limit` parts. `other_ablation`: as in `evaluate`.
    Cost: at most about n_random + 70 + 2 n_tests + size forwards, and with scores 140 for the areas. Raises: CircuitError, TaskError.
    """
    enter(CURVE)
    beside = ablations_beside(kind_of(ablation), other_ablation)
    how: Any = {
        "metric": metric, "seed": seed, "batch_size": batch_size, "max_memory": max_memory, "dictionaries": dictionaries,
    }  # fmt: skip
    runner = runner_for(model, task, circuit, scores, ablation=ablation, **how)
    others = other_runners(runner, model, task, circuit, beside, **how)
    common: Any = {"held_out": held_out, "seed": seed, "show_progress": show_progress}
    curve: Any = {"scores": scores, "sizes": sizes, "n_random": n_random, "ranking": ranking, **common}
    evaluation, without_errors = evaluate_on(runner, circuit, others=others, **curve), None
    if isinstance(runner, FeatureRunner):
        without_errors = evaluate_on(runner.with_errors("removed"), circuit, **curve)
    enter(TESTS)
    sufficient = hypothesis_on(runner, circuit, "sufficient", n_random=n_tests, alpha=alpha, **common)
    necessary = hypothesis_on(runner, circuit, "necessary", n_random=n_tests, alpha=alpha, **common)
    left_out, minimality, areas = [], None, None
    if 1 <= len(circuit) <= minimality_limit:
        enter(MINIMALITY)
        minimality = leave_one_out_on(runner, circuit, **common)
    else:
        left_out.append(
            f"minimality, as the circuit has {len(circuit)} parts and the limits are 1 and {minimality_limit}"
        )
    why = why_no_areas(scores)
    if scores is None or why:
        left_out.append(f"areas (CPR, CMD), as {why}")
    else:
        enter(AREAS)
        areas = ranking_areas_on(runner, scores, **common)
    return Assessment(evaluation, sufficient, necessary, minimality, areas, tuple(left_out), without_errors)


def why_no_areas(scores: Scores | None) -> str:
    """Why areas cannot be measured; empty where they can."""
    if scores is None:
        return "no scores were given"
    unsigned = scores.provenance.unsigned
    return f"scores of {scores.provenance.method} have no sign and CPR ranks by it" if unsigned else ""
