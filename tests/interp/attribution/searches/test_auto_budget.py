"""Method `auto` keeps its budget: the price of every call is known before it, and is counted a second time by its arithmetic.

And what it says of its result holds: against exhaustive exact patching.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from interp.attribution.auto.prices import price_of
from interp.attribution.auto.search import LEAST_PATCH
from interp.attribution.auto.verified import VerifiedAttribution
from interp.attribution.features.feature_space import FeatureSpace
from interp.attribution.methods import get_method
from interp.attribution.request import attribute, attribute_all, prepare
from interp.attribution.scoring.driver import Attribution
from interp.model.loading.load import load
from interp.model.model import HookedModel
from interp.scores.scores import Scores
from interp.tasks.builtin import TASKS
from interp.tasks.find import task as find_task
from interp.tasks.task import Task
from tests.interp.attribution.auto.test_auto_coverage import Table, _holds, run
from tests.interp.attribution.features.feature_twin import dictionaries
from tests.interp.model.tiny import OWN_ATTENTION, hooked
from tests.interp.tasks.toy import toy_task

LEVELS = ("blocks", "heads", "qkv", "neurons", "edges", "features")
BUDGETS = (3.0, 10.0, 30.0, 100.0)
ROUNDING = 1 + 1e-9
RUN = ("counterfactual", "resample")
_LAYERS = {"gpt2": "n_layer", "gptj": "n_layer", "bloom": "n_layer"}
DEEP = ("gpt2", "gptj", "gpt_neox", "llama", "gemma2", "phi", "bloom", "falcon", "cohere", "mixtral")


def deep(name: str, layers: int) -> HookedModel:
    return hooked(name, **{_LAYERS.get(name, "num_hidden_layers"): layers})


def level_of(name: str, level: str) -> bool:
    """Whether a model has a level."""
    own_attention = name in OWN_ATTENTION and level in ("qkv", "edges")
    return not (own_attention or (name == "mixtral" and level == "neurons"))


def asked(model: HookedModel, task: Task, level: str, **options: Any) -> VerifiedAttribution:
    """A request for auto; of features those of random dictionaries at the places that a model of two layers has."""
    if level == "features":
        found = dictionaries(model.name, scaled=False, dtype=torch.float32)
        options["dictionaries"] = {at: d for at, d in found.items() if at.startswith("resid_p") or "z" in at}
    request = prepare(model, task, methods=["auto"], level=level, **options)
    assert isinstance(request, VerifiedAttribution)
    return request


def exact(request: VerifiedAttribution, parts: frozenset[str] | None = None) -> Attribution:
    return request._only([get_method("exact")], parts)


def kept(scores: Scores, budget: float) -> None:
    """Within the budget; or one call was made, of the one part that is always scored."""
    assert scores.search is not None
    rounds = scores.search.rounds
    assert scores.search.spent == pytest.approx(sum(r.cost for r in rounds))
    if [r.what for r in rounds] == [LEAST_PATCH]:
        assert rounds[0].parts == 1 and rounds[0].cost > budget / ROUNDING - 1
        assert not scores.search.certificate.certified
    else:
        assert scores.search.spent <= budget * ROUNDING


# ---------------------------------------------------------------- prices


def draw(seed: int) -> tuple[VerifiedAttribution, random.Random, dict[str, Any]]:
    """A random request: model, depth, level, pairs, ablation, direction, metric, batches."""
    rng = random.Random(seed)
    level = rng.choice(LEVELS)
    name = rng.choice([name for name in DEEP if level_of(name, level)])
    ablation = rng.choice(["counterfactual", "counterfactual", "zero", "mean", "resample"])
    options: dict[str, Any] = {
        "ablation": ablation,
        "direction": rng.choice(["denoise", "noise"]) if ablation == "counterfactual" else "noise",
        "metric": rng.choice(["logit_diff", "log_prob", *(["projection"] if ablation in RUN else [])]),
        "batch_size": rng.choice([None, 2]),
    }
    if level == "edges":
        options |= {"kv": rng.choice(["shared", "split"]), "split_positions": name == "gpt2" and rng.random() < 0.5}
    model = deep(name, 2 if level == "features" else rng.randint(1, 6))
    task = toy_task(6, rng.choice([(7,), (9, 5)]), seed, rng.randint(1, 3))
    return asked(model, task, level, **options), rng, {"name": name, "level": level, **options}


@pytest.mark.broad
@pytest.mark.parametrize("seed", range(64))
def test_no_call_costs_more_than_its_price(seed: int) -> None:
    """Of random parts of random models of one to six layers. The price is met where all that it takes for granted is so: every
    value differs at all positions, as without a run on other prompts."""
    request, rng, options = draw(seed)
    parts, price = request.space.parts([None]), price_of(exact(request))
    if isinstance(request.space, FeatureSpace):
        request.space.spent()  # as the presets, which come first, pay for it
    for share in (0.02, 0.3, 1.0):
        places = np.array(sorted(rng.sample(range(len(parts)), max(1, int(share * len(parts))))))
        found = exact(request, frozenset(parts[i].name for i in places)).score(False)["exact"]
        bound = price(places)
        assert found.provenance.forwards <= bound * ROUNDING, options
        if options["ablation"] not in RUN and options["level"] != "features":
            assert found.provenance.forwards == pytest.approx(bound)


def test_prices_follow_the_depth() -> None:
    """A neuron of layer l costs the layers behind it: the difference of two neighbours is one layer."""
    request = asked(deep("llama", 5), toy_task(2, (9,)), "neurons", ablation="zero")
    price = price_of(exact(request))
    size = len(request.space.parts([None])) // 5
    each = [price(np.array([layer * size])) for layer in range(5)]
    steps = -np.diff(each)
    assert (steps > 0).all() and steps[:3] == pytest.approx(steps[0])
    assert price(np.arange(size)) - price(np.arange(size - 1)) == pytest.approx(each[0] - price(np.arange(0)))


def test_a_model_that_cannot_be_restarted_pays_whole_forwards() -> None:
    """Counted by the hook that is the reason."""
    model, runs = hooked("llama"), list[int]()
    handle = model.hf.model.layers[0].mlp.register_forward_hook(lambda module, args, output: runs.append(len(output)))
    try:
        request = asked(model, toy_task(4), "neurons", budget=30)
        assert exact(request).restart.machine is None
        model.check_gradients()  # looks at a hooked module once, before any run that counts
        runs.clear()
        presets = replace(request, methods=request.methods).score_tried(False)
    finally:
        handle.remove()
    auto = presets["auto"]
    kept(auto, 30)
    assert auto.search is not None and not auto.search.certificate.certified
    assert sum(runs) / 4 == auto.provenance.forwards


# ---------------------------------------------------------------- budgets


@pytest.fixture(scope="module")
def demo() -> HookedModel:
    return load("demo")


@pytest.mark.broad
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("level", LEVELS[:-1])
@pytest.mark.parametrize("name", TASKS.names())
def test_the_budget_is_kept_on_every_task_and_level(demo: HookedModel, name: str, level: str, budget: float) -> None:
    task = find_task(name, demo, n=4)
    kept(attribute(demo, task, method="auto", level=level, budget=budget, show_progress=False), budget)


@pytest.mark.broad
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("level", LEVELS[:-1])
@pytest.mark.parametrize("name", ["stories260K", "babyllama-tok361"])
def test_the_budget_is_kept_on_trained_models(assets: Path, name: str, level: str, budget: float) -> None:
    folder = assets / "models" / name
    tasks = sorted(path for path in (folder / "tasks").glob("*.json") if path.name.count(".") == 1)
    if not tasks:
        pytest.skip(f"no model with tasks at {folder}")
    model = load(folder)
    for path in tasks[:2]:
        task = find_task(path, model, n=4)
        kept(attribute(model, task, method="auto", level=level, budget=budget, show_progress=False), budget)


@pytest.mark.broad
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("seed", range(100, 124))
def test_the_budget_is_kept_on_random_requests(seed: int, budget: float) -> None:
    request, rng, _ = draw(seed)
    plan = replace(request.plan, budget=replace(request.plan.budget, limit=budget), n=rng.randint(1, 5))
    kept(replace(request, plan=plan).score(False)["auto"], budget)


@pytest.mark.broad
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("level", ["heads", "qkv", "neurons", "edges"])
def test_the_arithmetic_of_a_search_is_within_its_budget(level: str, budget: float) -> None:
    """Multiply-adds of everything but the presets, by a counter of its own, in forwards. What is left out of forwards:
    projections of one head alone, of which edges have two each."""
    model = hooked("llama", num_hidden_layers=4, hidden_size=64, num_attention_heads=8, intermediate_size=128)
    task = toy_task(2, (9,))
    request = asked(model, task, level, budget=budget)
    ids = torch.tensor([pair.clean for pair in request.pairs])
    with torch.no_grad():
        one = flops(lambda: model.hf(ids, use_cache=False))
    presets = flops(lambda: request._only(request.methods).score(False))
    found: dict[str, Scores] = {}
    spent = (flops(lambda: found.update(request.score_tried(False))) - presets) / one
    further = [s for name, s in found.items() if name in request._paths()]
    spent -= sum(flops(partial(request.along_path(s.provenance.method).score, False)) for s in further) / one
    counted = sum(s.provenance.forwards + 2 * s.provenance.backwards for s in further)
    search = found["auto"].search
    assert search is not None and spent + counted == pytest.approx(search.spent, rel=0.15 if level == "edges" else 0.05)
    kept(found["auto"], budget)


def flops(work: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def test_features_keep_the_budget_and_are_swept_where_it_pays() -> None:
    model, task = hooked("gpt2"), toy_task(6, (7,), changed=3)
    part, every = (asked(model, task, "features", budget=b).score(False)["auto"] for b in (8, 100))
    kept(part, 8)
    kept(every, 100)
    assert every.exact is not None and every.exact.all() and part.exact is not None and not part.exact.all()


def test_a_budget_that_pays_nothing_says_what_is_needed() -> None:
    """One part is scored, and with what is said to be needed the top of each ranking and a check are."""
    model, task = deep("llama", 4), toy_task(4)
    with pytest.warns(UserWarning, match=r"exact patches of one part cost \d\.\d.*Give about \d+ forward") as seen:
        few = attribute(model, task, method="auto", level="neurons", budget=1, n=3, show_progress=False)
    kept(few, 1)
    assert few.search is not None and few.search.rounds[0].what == LEAST_PATCH
    needed = next(str(w.message) for w in seen if "Give about" in str(w.message)).split("Give about ")[1].split()[0]
    some = attribute(model, task, method="auto", level="neurons", budget=needed, n=3, show_progress=False)
    assert some.search is not None and some.search.certificate.drawn


def test_a_call_that_costs_more_than_its_price_makes_later_ones_dearer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a price is wrong, only one call can be above it."""
    monkeypatch.setattr(
        "interp.attribution.auto.verified.price_of", lambda request: lambda places: 2 + 0.1 * len(places)
    )
    auto = attribute(
        deep("llama", 6), toy_task(4, (9,)), method="auto", level="neurons", budget=20, show_progress=False
    )
    assert auto.search is not None and len(auto.search.rounds) > 1
    assert sum(r.cost for r in auto.search.rounds[:-1]) <= 20


# ---------------------------------------------------------------- proofs


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_a_search_is_of_one_direction(direction: str) -> None:
    """Everything that it ranks together, presets along paths among it."""
    request = asked(deep("gpt2", 6), toy_task(4), "neurons", direction=direction, budget=130)
    found = request.score_tried(False)
    assert "atp-ig" in found and {s.provenance.direction for s in found.values()} == {direction}


@pytest.mark.broad
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("seed", range(200, 216))
def test_what_is_certified_is_so_by_exhaustive_patching(seed: int, budget: float) -> None:
    """Exact where it says so; a certified top n is that of all parts; nothing is certified that was not looked at."""
    request, rng, _ = draw(seed)
    plan = replace(request.plan, budget=replace(request.plan.budget, limit=budget), n=rng.randint(1, 4))
    auto, every = replace(request, plan=plan).score(False)["auto"], exact(request).score(False)["exact"]
    assert auto.exact is not None and auto.search is not None
    np.testing.assert_allclose(auto.per_example[:, auto.exact], every.per_example[:, auto.exact], rtol=1e-3, atol=1e-4)
    if auto.search.certificate.certified:
        sizes = np.abs(every.mean)
        counted = np.array([part.kind != "embed" and not part.kind.endswith(".error") for part in every.parts])
        limit = np.sort(sizes[counted])[::-1][plan.n - 1]
        assert auto.exact[counted & (sizes > limit + 1e-3)].all()


@pytest.fixture(scope="module")
def swept(demo: HookedModel) -> Table:
    """All edges of the embedded model, scored exactly once."""
    names = ("exact", "eap", "relp", "relp-ah")
    found = attribute_all(demo, find_task("gender", demo, n=6), methods=names, level="edges", show_progress=False)
    tables = {name: found[name].per_example for name in names[1:]}
    return Table(found["exact"].parts, found["exact"].per_example, tables)  # type: ignore[arg-type]


@pytest.mark.broad
@pytest.mark.parametrize("budget", [30.0, 60.0, 90.0, 105.0])
@pytest.mark.parametrize("n", [1, 10])
def test_the_bounds_hold_on_a_model_that_was_swept_exactly(swept: Table, n: int, budget: float) -> None:
    _holds(run(swept, n, budget))
