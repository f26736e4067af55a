"""Which method a run takes where none is named, at level edges by its plan; and that the search keeps to what it may spend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from circuits.costs.default_method import decided
from circuits.costs.run_bounds import bounds, within
from circuits.costs.scoring import exactly, of_request, rounds_of
from circuits.jobs.resplitting import resplit
from circuits.settings.prepared import Settings, checked, prepare_run
from interp.attribution.asking.planning import plan
from interp.attribution.request import attribute
from interp.errors import InterpError, UnsupportedRuleError
from interp.model.loading.load import load
from interp.model.model import HookedModel
from interp.rules.rules import Rules
from interp.tasks.find import task as find_task
from interp.tasks.task import Task
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import answered, toy_task


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return hooked("llama")


@pytest.fixture(scope="module")
def task(model: HookedModel) -> Task:
    return answered(model, toy_task(12))


def _chosen(model: HookedModel, task: Task, **options: Any) -> tuple[Settings, str]:
    return decided(model, task, checked(Settings(**options)))


def test_edges_are_patched_exactly_where_that_costs_half_of_a_search() -> None:
    """On either side of twice what the plan says that patching all costs; with a budget of 150 forwards where none is given."""
    model = load("demo")
    task = find_task("gender", model, n=24)
    settings = checked(Settings(level="edges"))
    assert settings.methods == ("portfolio",) and settings.left_open
    cost = exactly(plan(model, task, settings.main()))
    search = {b: of_request(plan(model, task, replace(settings, budget=b).main())) for b in (None, 52, 100, 130)}
    assert search[52] < search[100] < 2 * cost < search[130] < search[None]
    for budget, method in ((None, "exact"), (130, "exact"), (100, "portfolio"), (52, "portfolio")):
        found, why = _chosen(model, task, level="edges", budget=budget)
        assert found.methods == (method,) and not found.left_open
        assert f"may cost {cost:.0f} forwards, a search {search[budget]:.0f}" in why
        assert found.budget == (budget if method == "portfolio" else None)
        assert prepare_run(model, task, found).request.methods[0].name == method


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"direction": "denoise"}, "direction='noise'"),
        ({"chance": 0.1}, "chance: for method auto only"),
        ({"budget": "60s"}, "budget='60s': searches on masks count forward equivalents"),
        ({"budget": "10F"}, "budget='10F': portfolio costs 52 forwards with one round"),
        ({"metric": "kl_base"}, "flat at the base run"),
    ],
)
def test_options_that_a_search_does_not_take_leave_auto_and_say_so(
    options: dict[str, Any], why: str, model: HookedModel, task: Task
) -> None:
    found, said = _chosen(model, task, level="edges", **options)
    assert found.methods == ("auto",) and not found.left_open and found.budget == options.get("budget")
    assert said.startswith("method: auto, as portfolio does not run here: ") and why in said


def test_nothing_is_decided_where_a_method_is_named_or_meant(model: HookedModel, task: Task) -> None:
    for options, method in (({"level": "heads"}, "auto"), ({"level": "edges", "methods": ("relp",)}, "relp")):
        found, why = _chosen(model, task, **options)
        assert found.methods == (method,) and why == ""


@pytest.mark.parametrize("options", [{"rounds": 2}, {"backward": "relp"}, {"rounds": 2, "backward": "relp"}])
def test_options_of_searches_alone_ask_for_a_search(options: dict[str, Any], model: HookedModel, task: Task) -> None:
    """Also where exact patching is cheap, which takes none of them."""
    found, why = _chosen(model, task, level="edges", **options)
    assert found.methods == ("portfolio",) and all(name in why for name in options)
    told = prepare_run(model, task, found).request.masks
    assert all(getattr(told, name) == value for name, value in options.items())


def test_auto_is_taken_where_exact_patching_does_not_fit_into_the_forwards() -> None:
    """It makes do with less; where it does not fit either, the plan that is refused is that of exact patching."""
    model = load("demo")
    task = find_task("gender", model, n=24)
    settings = checked(Settings(level="edges", n=6, n_random=1))
    plan = bounds(prepare_run(model, task, replace(settings, methods=("exact",))), "discover").total
    found, why = decided(model, task, settings, plan - 1)
    assert (
        found.methods == ("auto",)
        and why == f"method: auto, as a run with exact does not fit into {plan - 1:g} forwards"
    )
    assert within(prepare_run(model, task, found), "discover", plan - 1)[1].total <= plan - 1
    for other in (plan, 20):
        assert decided(model, task, settings, other)[0].methods == ("exact",)


def test_fewer_forwards_change_no_rounds_of_a_search_that_was_not_given_a_budget(
    model: HookedModel, task: Task
) -> None:
    settings = Settings(level="edges", methods=("portfolio", "iterated"), hold_out=False)
    job = prepare_run(model, task, checked(settings))
    with pytest.raises(InterpError, match="max-forwards"):
        within(job, "compare", bounds(job, "compare").total - 3)


def test_options_that_go_with_neither_are_refused(model: HookedModel) -> None:
    with pytest.raises(InterpError, match="budget='nothing'"):
        checked(Settings(level="edges", budget="nothing"))
    with pytest.raises(InterpError, match="positions"):
        checked(Settings(level="edges", positions="each"))


def test_a_model_without_the_rules_of_a_search_is_searched_by_auto(
    model: HookedModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: HookedModel, rules: Rules) -> Any:
        raise UnsupportedRuleError("h.0.mlp has no rule.")

    monkeypatch.setattr(HookedModel, "coverage", refused)
    found, why = _chosen(model, task, level="edges")
    assert found.methods == ("auto",)
    assert why == "method: auto, as portfolio does not run here: h.0.mlp has no rule."


@pytest.mark.parametrize("less", [3, 30, 90])
def test_a_search_makes_fewer_rounds_within_fewer_forwards(less: float, model: HookedModel, task: Task) -> None:
    job = prepare_run(model, task, checked(Settings(level="edges", methods=("portfolio",), n=6, n_random=1)))
    whole = bounds(job, "discover").total
    found, planned = within(job, "discover", whole - less)
    assert whole - less - 4 < planned.total <= whole - less
    rounds = found.request.masks.rounds
    assert rounds is not None and 1 <= rounds <= rounds_of(job.request, job.request.methods[0])
    assert within(job, "discover", whole + 1)[0] is job


def test_too_few_forwards_are_refused_before_any_work(model: HookedModel, task: Task) -> None:
    job = prepare_run(model, task, checked(Settings(level="edges", methods=("portfolio",), n=6, n_random=1)))
    with pytest.raises(InterpError, match="max-forwards"):
        within(job, "discover", 40)


@pytest.mark.parametrize("method", ["iterated", "learned", "portfolio"])
@pytest.mark.parametrize("budget", [52, 60, 77, 200])
def test_a_search_spends_its_budget_and_no_more(method: str, budget: int, model: HookedModel, task: Task) -> None:
    p = attribute(model, task, method=method, level="heads", budget=budget).provenance
    assert budget - 3 < p.forwards + 2 * p.backwards <= budget


def test_splits_in_the_library_choose_alike(model: HookedModel, task: Task) -> None:
    found = resplit(model, task, level="edges", splits=2, n=6, n_random=1)
    assert found.rows
