"""What a run is prepared from: pairs apart, and bad settings refused before any work."""

from __future__ import annotations

from typing import Any

import pytest

from circuits.settings.prepared import Settings, prepare_run
from interp.errors import InterpError
from interp.model.loading.load import load
from interp.model.model import HookedModel
from interp.tasks.find import task as find_task
from interp.tasks.task import Task


@pytest.fixture(scope="module")
def gender(demo: HookedModel) -> Task:
    return find_task("gender", demo, n=16)


@pytest.fixture(scope="module")
def demo() -> HookedModel:
    return load("demo")


def test_scored_and_evaluated_pairs_are_disjoint_and_together_all(demo: HookedModel, gender: Task) -> None:
    job = prepare_run(demo, gender, Settings())
    scored, evaluated = set(job.scoring.pairs), set(job.evaluation.pairs)
    assert job.held_out and not scored & evaluated and scored | evaluated == set(gender.pairs)
    other = prepare_run(demo, gender, Settings(seed=1))
    assert set(other.scoring.pairs) != scored
    same = prepare_run(demo, gender, Settings(hold_out=False))
    assert same.scoring == same.evaluation == gender and not same.held_out


@pytest.mark.parametrize(
    "settings",
    [
        Settings(kv="shared"),
        Settings(budget="a minute"),
        Settings(chance=1.5),
        Settings(methods=("relp",), budget="60s"),
        Settings(prune=True),
        Settings(algorithm="greedy"),
        Settings(n=10_000),
        Settings(n_random=0),
        Settings(level="resid"),
        Settings(metric="kl_source", ablation="zero"),
    ],
)
def test_bad_settings_are_refused_before_any_work(settings: Any, demo: HookedModel, gender: Task) -> None:
    with pytest.raises(InterpError):
        prepare_run(demo, gender, settings)


def test_a_search_beside_the_run_is_told_what_that_of_the_run_is() -> None:
    """Of nodes that are compared with features: the rounds and the preset are theirs too; other methods get none of it."""
    told = {"rounds": 2, "start": "atp", "backward": "relp"}
    beside = Settings(methods=("learned",), level="features", n=5, **told).beside("neurons")
    assert {name: getattr(beside, name) for name in told} == told and beside.n is None
    assert Settings(methods=("iterated",), level="features", budget="30F").beside("heads").budget == "30F"
