"""What a run may cost, told before it, against what the ledger says of it."""

from __future__ import annotations

import pytest

from circuits.costs.bounds import one_forward, spent
from circuits.costs.run_bounds import bounds, within
from circuits.jobs.pipeline import run_comparison, run_discovery
from circuits.settings.prepared import Prepared, Settings, begin, prepare_run
from interp.attribution.auto.verified import VerifiedAttribution
from interp.errors import InterpError
from interp.ledger import Ledger, counting
from interp.model.loading.load import load
from interp.model.model import HookedModel
from interp.tasks.find import task as find_task
from interp.tasks.task import Task


@pytest.fixture(scope="module")
def demo() -> HookedModel:
    return load("demo")


@pytest.fixture(scope="module")
def gender(demo: HookedModel) -> Task:
    return find_task("gender", demo, n=8)


def _quiet(message: str) -> None:
    return None


def _ran(job: Prepared, command: str) -> Ledger:
    with counting() as ledger:
        (run_discovery if command == "discover" else run_comparison)(job, {"job": command}, _quiet)
    return ledger


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("discover", Settings(n_random=3)),
        ("discover", Settings(level="neurons", budget="10F", n_random=2)),
        ("discover", Settings(methods=("relp",), level="edges", n_random=2)),
        ("discover", Settings(methods=("atp-ig",), level="blocks", n=3, n_random=2)),
        ("compare", Settings(methods=("atp", "relp-ig", "deeplift"), hold_out=False)),
        ("compare", Settings(methods=("atp-ig-sites", "atp-star"), level="qkv", hold_out=False)),
        # Checked exactly though `auto` patched much; a map along a path at every site; a path at every sender.
        ("compare", Settings(methods=("auto", "relp"), level="neurons", budget="10F", hold_out=False)),
        ("discover", Settings(methods=("relp-ig-sites",), level="blocks", n=3, n_random=1, steps=3)),
        ("discover", Settings(methods=("atp-star",), n=3, n_random=1)),
        (
            "compare",
            Settings(methods=("eap-ig-activations", "clean-corrupted"), level="edges", hold_out=False, steps=3),
        ),
    ],
    ids=lambda x: x if isinstance(x, str) else f"{'-'.join(x.methods)} {x.level}",
)
def test_no_phase_costs_more_than_was_said(demo: HookedModel, gender: Task, command: str, settings: Settings) -> None:
    job = prepare_run(demo, gender, settings)
    planned, cost = bounds(job, command), spent(_ran(job, command), one_forward(demo, job.request.pairs))
    found = cost["forwards_by_phase"]
    assert set(found) <= set(planned.phases)
    assert {phase: n for phase, n in found.items() if n > planned.phases[phase]} == {}
    assert (
        sum(found.values()) == pytest.approx(cost["forwards_total"], abs=0.1)
        and cost["forwards_total"] <= planned.total
    )


def test_auto_gets_what_the_other_phases_leave(demo: HookedModel, gender: Task) -> None:
    """The bound of the whole run is kept, and so is the budget that follows from it."""
    job = prepare_run(demo, gender, Settings(level="neurons", n=5, n_random=2))
    assert isinstance(job.request, VerifiedAttribution)
    most = bounds(job, "discover").total - job.request.plan.budget.limit + 12
    bounded, planned = within(job, "discover", most)
    assert planned is not None and planned.total == pytest.approx(most)
    assert isinstance(bounded.request, VerifiedAttribution) and bounded.request.plan.budget.limit == pytest.approx(12)
    ledger = _ran(bounded, "discover")
    assert ledger.total <= most * one_forward(demo, job.request.pairs)


def test_a_bound_that_cannot_be_kept_is_refused(demo: HookedModel, gender: Task) -> None:
    auto = prepare_run(demo, gender, Settings(n_random=3))
    plain = prepare_run(demo, gender, Settings(methods=("relp",), n_random=3))
    for job in (auto, plain):
        with pytest.raises(InterpError, match=r"max-forwards=5: this run may need \d+ .*scoring"):
            within(job, "discover", 5)
        assert within(job, "discover", None)[0] is job
    seconds = prepare_run(demo, gender, Settings(level="neurons", budget="3s"))
    with pytest.raises(InterpError, match="give the budget in forwards"):
        within(seconds, "discover", 100)


def test_a_phase_is_not_begun_beyond_the_bound(demo: HookedModel, gender: Task) -> None:
    with counting() as ledger:
        begin(_quiet, "scoring", "")
        ledger.spent["scoring"], ledger.most = 11, 10
        begin(_quiet, "writing", "")
        with pytest.raises(InterpError, match="110% of it is spent before the phase evaluating"):
            begin(_quiet, "evaluating", "")


def test_a_forward_is_that_of_the_scored_pairs(demo: HookedModel, gender: Task) -> None:
    job = prepare_run(demo, gender, Settings(methods=("relp",)))
    lengths = [pair.length for pair in job.request.pairs]
    assert len(lengths) < len(gender) and one_forward(demo, job.request.pairs) == sum(
        demo.prices.forward(1, n) for n in lengths
    )
