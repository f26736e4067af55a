"""A circuit found again on other splits: each as a run of that seed finds it, overlaps by hand, costs within their plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from circuits.circuit.chance import shared_by_chance
from circuits.circuit.circuit import CircuitError
from circuits.circuit.selection import discover
from circuits.comparison.resplits import Resplit
from circuits.costs.run_bounds import bounds_of_finding
from circuits.evaluation.faithfulness import evaluate
from circuits.jobs.resplitting import resplit
from circuits.settings.prepared import Settings, prepare_run
from interp.attribution.request import attribute
from interp.errors import InterpError
from interp.model.loading.load import load
from interp.model.model import HookedModel
from interp.parts.graph import Part
from interp.tasks.find import task as find_task
from interp.tasks.task import Task


@pytest.fixture(scope="module")
def demo() -> HookedModel:
    return load("demo")


@pytest.fixture(scope="module")
def gender(demo: HookedModel) -> Task:
    return find_task("gender", demo, n=12)


def test_each_is_the_circuit_of_its_half_and_overlaps_are_those_of_the_sets(
    demo: HookedModel, gender: Task, tmp_path: Path
) -> None:
    found = resplit(demo, gender, method="atp", level="heads", n=4, splits=3, seed=5, n_random=2)
    circuits: list[tuple[Part, ...]] = []
    for one, seed in zip(found.found, (5, 6, 7), strict=True):
        half, other = gender.split(seed=seed)
        scores = attribute(demo, half, method="atp", level="heads")
        own = discover(scores, n=4)
        judged = evaluate(demo, other, own, sizes=[4], n_random=2, seed=seed)
        assert (one.seed, one.parts) == (seed, tuple(part.name for part in own.parts)) and one.size == 4
        assert one.held_out and one.n_pairs == len(other) and one.other == judged.other
        assert one.faithfulness == judged.faithfulness and one.random == judged.curve[0].random
        circuits.append(own.parts)
    known = [part for part in scores.parts if part.kind != "embed"]
    assert [one.seeds for one in found.overlaps] == [(5, 6), (5, 7), (6, 7)]
    for one, (a, b) in zip(found.overlaps, ((0, 1), (0, 2), (1, 2)), strict=True):
        both = set(circuits[a]) & set(circuits[b])
        assert one.shared == len(both) and one.jaccard == pytest.approx(len(both) / (8 - len(both)))
        assert one.chance == shared_by_chance(circuits[a], circuits[b], known)
    assert found.n_parts == len(known) and f"{found.by_chance:.3f}" in found.headline
    found.save(tmp_path / "r.json")
    assert Resplit.load(tmp_path / "r.json") == found
    assert "seed 6: 4 of 20 nodes, held-out f " in str(found)


@pytest.mark.parametrize(
    "options", [{"level": "edges", "methods": ("relp",)}, {"methods": ("auto",), "budget": "20F", "ablation": "mean"}]
)
def test_finding_costs_no_more_than_its_plan(demo: HookedModel, gender: Task, options: Any) -> None:
    settings = Settings(n_random=1, direction="noise", **options)
    jobs = [prepare_run(demo, gender, replace(settings, seed=seed)) for seed in (0, 1)]
    planned = bounds_of_finding(jobs)
    how = {name: value for name, value in options.items() if name != "methods"}
    found = resplit(demo, gender, method=options["methods"][0], n_random=1, splits=2, direction="noise", **how)
    finding = sum(planned.phases[phase] for phase in ("loading", "scoring", "searching"))
    costs = [one.cost or 0.0 for one in found.found]
    assert 0 < sum(costs) <= finding + 0.01 and min(costs) > 2


def test_what_has_no_circuit_or_no_other_split_is_refused(demo: HookedModel, gender: Task) -> None:
    with pytest.raises(CircuitError, match="2 or more"):
        resplit(demo, gender, splits=1)
    with pytest.raises(CircuitError, match="is a map"):
        resplit(demo, gender, method="relp", level="qkv")
    with pytest.raises(InterpError, match="Valid"):
        resplit(demo, gender, method="relpp")
