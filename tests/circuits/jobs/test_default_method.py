"""Which method a run takes where none is named, at level edges by its plan; and that the search keeps to what it may spend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from circuits.costs.default_method import decided
from circuits.costs.run_bounds import bounds, within
from circuits.costs.scoring import exactly, of_request, rounds_of
from circuits.jobs.resplitting import resplit
from circuits.runs.directory import load_record
from circuits.settings.prepared import Settings, checked, prepare_run
from interp.attribution.request import attribute, plan
from interp.errors import InterpError, UnsupportedRuleError
from interp.model.loading.load import load
from interp.model.model import HookedModel
from interp.rules.rules import Rules
from interp.tasks.find import task as find_task
from interp.tasks.task import Task
from tests.circuits.cli.called import Run, calling
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import answered, toy_task


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return hooked("llama")


@pytest.fixture(scope="module")
def task(model: HookedModel) -> Task:
    return answered(model, toy_task(12))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    return calling(monkeypatch, capsys)


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
    ("options", "method"),
    [
        ({"level": "heads"}, "auto"),
        ({"level": "edges", "direction": "denoise"}, "auto"),
        ({"level": "edges", "chance": 0.1}, "auto"),
        ({"level": "edges", "budget": "60s"}, "auto"),
        ({"level": "edges", "metric": "kl_base"}, "auto"),
        ({"level": "edges", "methods": ("relp",)}, "relp"),
    ],
)
def test_options_that_a_search_does_not_take_leave_auto(
    options: dict[str, Any], method: str, model: HookedModel, task: Task
) -> None:
    found, why = _chosen(model, task, **options)
    assert found.methods == (method,) and why == ""


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


def test_the_choice_is_said_and_kept(run: Run, tmp_path: Path) -> None:
    """In the words of the run, in its manifest with the method that ran, and in splits that are found as it was."""
    small = ("--task", "gender", "--limit", "8", "--random", "2", "--n", "6")
    code, _, err = run("discover", "--level", "edges", "--out", "e", *small)
    assert code == 0 and "method: exact, as exact patching of all 479 edges may cost" in err
    record = load_record(tmp_path / "e")
    assert record.manifest["options"]["methods"] == ["exact"] and record.scores[0].provenance.exact
    code, _, err = run("discover", "--level", "edges", "--budget", "52F", "--out", "p", *small)
    assert code == 0 and "method: portfolio, as exact patching of all 479 edges may cost" in err
    assert "portfolio: " in err and "|1 - f| of circuits of 1, 2, 5, 10, 20, 50 % of the parts" in err
    record = load_record(tmp_path / "p")
    assert record.manifest["options"]["methods"] == ["portfolio"]
    assert record.scores[0].provenance.masks in (tmp_path / "p" / "report.html").read_text(encoding="utf-8")
    code, out, err = run("stability", "p", "--splits", "1", "--json")
    assert code == 0 and err == "" and "portfolio" in out


def test_splits_in_the_library_choose_alike(model: HookedModel, task: Task) -> None:
    found = resplit(model, task, level="edges", splits=2, n=6, n_random=1)
    assert found.rows
