"""What a run may cost, told before it, against what the ledger says of it."""

from __future__ import annotations

from typing import Any

import pytest

from circuits.costs.bounds import one_forward, spent
from circuits.costs.run_bounds import before, bounds, within
from circuits.jobs.pipeline import run_comparison, run_discovery
from circuits.settings.prepared import Prepared, Settings, begin, prepare_run
from interp.attribution.auto.verified import VerifiedAttribution
from interp.errors import InterpError, LayoutError, SiteError, UnsupportedRuleError
from interp.ledger import Ledger, counting
from interp.model.loading.load import load
from interp.model.model import HookedModel
from interp.tasks.find import task as find_task
from interp.tasks.task import Task
from tests.interp.attribution.features.given_dictionaries import given, stub
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import answered, toy_task


@pytest.fixture(scope="module")
def demo() -> HookedModel:
    return load("demo")


@pytest.fixture(scope="module")
def gender(demo: HookedModel) -> Task:
    return find_task("gender", demo, n=8)


def _quiet(message: str) -> None:
    return None


def _ran(job: Prepared, command: str) -> Ledger:
    with counting() as found:
        (run_discovery if command == "discover" else run_comparison)(job, {"job": command}, _quiet)
    return found


def _check(model: HookedModel, task: Task, command: str, settings: Settings) -> None:
    """No phase costs more than was said, and every one that runs is in the plan; nor is the plan many times too large."""
    with counting() as ledger:
        begin(_quiet, "loading", "")
        job = prepare_run(model, task, settings)
        planned = bounds(job, command)
        (run_discovery if command == "discover" else run_comparison)(job, {"job": command}, _quiet)
    cost = spent(ledger, one_forward(model, job.request.pairs))
    found = cost["forwards_by_phase"]
    assert set(found) <= set(planned.phases)
    assert {phase: n for phase, n in found.items() if n > planned.phases[phase] + 0.005} == {}
    assert sum(found.values()) == pytest.approx(cost["forwards_total"], abs=0.1)
    assert cost["forwards_total"] <= planned.total < 3 * cost["forwards_total"]


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("discover", Settings(n_random=3)),
        ("discover", Settings(methods=("relp",), level="edges", n_random=2)),
        ("compare", Settings(methods=("atp-ig-sites", "atp-star"), level="qkv", hold_out=False)),
        # Checked by what `auto` patched.
        ("compare", Settings(methods=("auto", "relp"), hold_out=False)),
    ],
    ids=lambda x: x if isinstance(x, str) else f"{'-'.join(x.methods)} {x.level}",
)
def test_no_phase_costs_more_than_was_said(demo: HookedModel, gender: Task, command: str, settings: Settings) -> None:
    _check(demo, gender, command, settings)


#: With post-norms, norms over all heads, parallel blocks, experts, and one that runs whole forwards.
OTHERS = ("gemma2", "olmo2", "phi", "mixtral", "falcon")
SMALL = [
    ("discover", Settings(level="blocks", n_random=2)),
    ("discover", Settings(level="blocks", methods=("relp-ig-sites",), n=3, n_random=1, steps=3)),
    # A budget that does not pay for one part, which is patched all the same.
    ("discover", Settings(level="heads", ablation="mean", budget="1F", n_random=2)),
    ("discover", Settings(level="heads", methods=("deeplift",), ablation="resample", n_random=2)),
    ("discover", Settings(level="heads", methods=("atp-star",), n=3, n_random=1, max_memory="60MiB")),
    ("discover", Settings(level="neurons", budget="4F", n_random=2)),
    ("discover", Settings(level="edges", methods=("eap",), n_random=2)),
    ("discover", Settings(level="edges", methods=("eap",), positions="end", algorithm="greedy", n_random=2)),
    ("discover", Settings(level="edges", methods=("eap",), ablation="optimal", n_random=1)),
    ("discover", Settings(level="heads", ablation="optimal", budget="6F", n_random=1)),
    ("discover", Settings(level="edges", methods=("acdc",), direction="noise", n_random=1)),
    ("discover", Settings(level="edges", methods=("auto",), budget="6F", ablation="zero", n_random=1)),
    (
        "compare",
        Settings(level="resid", methods=("atp", "exact", "relp-ig", "deeplift"), positions="end", hold_out=False),
    ),
    ("discover", Settings(level="edges", methods=("learned",), start="iterated", rounds=3, n_random=1)),
    ("discover", Settings(level="edges", methods=("portfolio",), budget="60F", n_random=1)),
    ("discover", Settings(level="heads", methods=("learned",), budget="30F", n_random=1)),
    ("discover", Settings(level="edges", methods=("iterated",), kv="split", ablation="zero", n_random=1)),
    ("discover", Settings(level="edges", methods=("mask-ig",), steps=3, max_memory="400MiB", n_random=1)),
    ("discover", Settings(level="edges", methods=("learned",), start="exact", rounds=3, n_random=1)),
    ("discover", Settings(level="heads", methods=("learned",), start="exact", rounds=3, n_random=1)),
    ("discover", Settings(level="neurons", methods=("mask-ig",), ablation="mean", n_random=1)),
    ("discover", Settings(level="blocks", methods=("iterated",), ablation="optimal", rounds=3, n_random=1)),
    ("compare", Settings(level="heads", methods=("iterated", "mask-ig", "learned"), rounds=3, hold_out=False)),
    # Checked exactly though `auto` patched much; a path at every sender.
    ("compare", Settings(level="neurons", methods=("auto", "relp"), budget="10F", hold_out=False)),
    ("compare", Settings(level="edges", methods=("eap-ig-activations", "clean-corrupted"), hold_out=False, steps=3)),
]


@pytest.mark.parametrize(
    ("command", "settings"),
    SMALL,
    ids=lambda x: x if isinstance(x, str) else f"{'-'.join(x.methods)} {x.level} {x.ablation}",
)
@pytest.mark.parametrize("name", ["llama", *(pytest.param(n, marks=pytest.mark.broad) for n in OTHERS)])
def test_it_does_not_on_any_architecture_at_any_level(name: str, command: str, settings: Settings) -> None:
    model = hooked(name)
    task = answered(model, toy_task(8, (6, 7)))
    try:
        prepare_run(model, task, settings)
    except (UnsupportedRuleError, SiteError, LayoutError) as error:
        pytest.skip(str(error))
    _check(model, task, command, settings)


@pytest.mark.parametrize(
    ("command", "given_settings"),
    [
        ("discover", {"n_random": 2}),
        ("discover", {"budget": "5F", "n_random": 1}),
        ("discover", {"methods": ("atp",), "ablation": "mean", "n_random": 2}),
        ("discover", {"methods": ("exact",), "ablation": "zero", "n": 3, "n_random": 1}),
        ("discover", {"methods": ("atp-ig-sites",), "n": 3, "n_random": 1, "steps": 2}),
        ("compare", {"methods": ("auto", "relp", "deeplift"), "budget": "9F", "hold_out": False}),
        ("compare", {"methods": ("atp", "exact"), "positions": "end", "hold_out": False}),
        ("discover", {"methods": ("learned",), "rounds": 3, "n_random": 1}),
        ("compare", {"methods": ("mask-ig", "learned"), "ablation": "zero", "rounds": 2, "hold_out": False}),
    ],
    ids=str,
)
def test_it_does_not_at_level_features(command: str, given_settings: dict[str, Any]) -> None:
    """Dictionaries of each architecture, a transcoder and one of z among them."""
    model, _ = stub()
    task = answered(model, toy_task(8, (6, 7)))
    found = {d.target: d for d in given(model).values()}
    _check(model, task, command, Settings(level="features", dictionaries=found, **given_settings))


def test_a_run_of_features_is_refused_before_its_first_run_and_after_it() -> None:
    """What finding the active features takes is known before it is done; the rest when they are known."""
    model, _ = stub()
    task = answered(model, toy_task(8, (6, 7)))
    found = {d.target: d for d in given(model).values()}
    settings = Settings(level="features", dictionaries=found, n=3, n_random=1, methods=("relp",))
    with counting() as ledger:
        with pytest.raises(InterpError, match="finding the active features alone may need"):
            before(model, task, settings, 1)
        before(model, task, settings, 5)
        assert ledger.total == 0
        job = prepare_run(model, task, settings)
    assert ledger.total <= 5 * one_forward(model, job.request.pairs)
    with pytest.raises(InterpError, match=r"max-forwards=5: this run may need \d+ .*features \d+"):
        within(job, "discover", 5)


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
