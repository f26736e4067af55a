"""Method `auto`: exact where it says so, estimates elsewhere, and a record of what it tried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interp.attribution.auto.blend import Towards, blend
from interp.attribution.auto.verified import VerifiedAttribution
from interp.attribution.request import attribute, attribute_all, prepare
from interp.errors import ScoreError
from interp.model.loading.load import load
from interp.model.model import HookedModel
from interp.scores.scores import Scores
from interp.scores.trail import Search
from interp.tasks.find import task as find_task
from interp.tasks.task import Task
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

EDGES: dict[str, Any] = {"level": "edges", "show_progress": False}


@pytest.fixture(scope="module")
def demo() -> HookedModel:
    return load("demo")


@pytest.fixture(scope="module")
def gender(demo: HookedModel) -> Task:
    return find_task("gender", demo, n=6)


@pytest.fixture(scope="module")
def swept(demo: HookedModel, gender: Task) -> dict[str, Scores]:
    return attribute_all(demo, gender, methods=["exact", "eap", "relp", "relp-ah"], **EDGES)


@pytest.fixture(scope="module")
def part(demo: HookedModel, gender: Task) -> dict[str, Scores]:
    """A search that cannot afford a sweep, with the estimates that it tried."""
    request = prepare(demo, gender, methods=["auto"], level="edges", budget=25)
    assert isinstance(request, VerifiedAttribution)
    return request.score_tried(False)


def same(a: Scores, b: Scores) -> None:
    """Equal but for the rounding of batches of another size."""
    np.testing.assert_allclose(a.per_example, b.per_example, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- what the scores are


def test_few_parts_are_swept_and_equal_exact_patching() -> None:
    model, pairs = hooked("llama"), toy_task()
    for level in ("blocks", "heads", "qkv"):
        auto, exact = (attribute(model, pairs, method=m, level=level, show_progress=False) for m in ("auto", "exact"))
        same(auto, exact)
        assert auto.parts == exact.parts and auto.exact is not None and auto.exact.all()
        assert auto.search is not None and auto.search.certificate.certified and not auto.search.certificate.outside
        assert exact.exact is not None and exact.exact.all() and exact.search is None


def test_part_of_the_edges_is_exact_and_the_rest_is_a_sum_of_the_presets(
    part: dict[str, Scores], swept: dict[str, Scores]
) -> None:
    auto, exact = part["auto"], swept["exact"]
    assert auto.exact is not None and auto.search is not None and auto.error is not None
    assert 0 < auto.exact.sum() < len(auto.parts)
    known, kinds = auto.exact, np.array([p.kind for p in auto.parts])
    np.testing.assert_allclose(auto.per_example[:, known], exact.per_example[:, known], rtol=1e-3, atol=1e-4)
    tables = {name: part[name].per_example for name in auto.search.tried}
    counted, towards = np.ones(len(kinds), dtype=bool), Towards(("eap",), ("deeplift",))
    weights = blend(kinds, tables, auto.mean, known, counted, towards)
    np.testing.assert_allclose(
        auto.per_example[:, ~known], weights.estimates(kinds, tables)[:, ~known], rtol=1e-6, atol=1e-12
    )
    for fit in auto.search.fits:
        at = weights.methods.index(fit.method)
        assert fit.weights == pytest.approx(tuple(weights.weights[fit.kind][:, at])) and fit.chosen == (
            max(fit.weights) > 0
        )
    assert {fit.kind for fit in auto.search.fits} == set(kinds)
    assert auto.search.radius is not None
    assert (auto.error[known] == 0).all() and (auto.error[~known] >= auto.search.radius).all()


def test_the_presets_share_their_runs_with_methods_that_were_asked_for(demo: HookedModel, gender: Task) -> None:
    names = ["relp", "auto", "exact"]
    found = attribute_all(demo, gender, methods=names, level="heads", show_progress=False)
    assert list(found) == names
    same(found["auto"], found["exact"])
    alone = attribute(demo, gender, method="relp", level="heads", show_progress=False)
    same(found["relp"], alone)


def test_the_same_seed_gives_the_same_scores_and_another_draws_others(demo: HookedModel, gender: Task) -> None:
    first, again, other = (attribute(demo, gender, method="auto", budget=25, seed=seed, **EDGES) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.per_example, again.per_example)
    assert first.exact is not None and other.exact is not None and (first.exact != other.exact).any()


def test_agreement_is_at_least_that_of_the_best_preset(part: dict[str, Scores], swept: dict[str, Scores]) -> None:
    truth = swept["exact"].mean
    r = {name: np.corrcoef(scores.mean, truth)[0, 1] for name, scores in part.items()}
    assert r["auto"] >= max(r.values())


def test_costs_are_all_that_was_run(part: dict[str, Scores]) -> None:
    auto, search = part["auto"], part["auto"].search
    assert search is not None
    p = auto.provenance
    assert p.forwards + 2 * p.backwards == pytest.approx(search.estimates_cost + search.spent)
    assert search.spent == pytest.approx(sum(r.cost for r in search.rounds))
    assert sum(r.parts for r in search.rounds) == search.certificate.scored <= len(auto.parts)
    assert search.spent <= 25 * 1.1


@pytest.mark.parametrize(
    "options",
    [
        {"level": "heads", "direction": "noise", "ranking": "signed"},
        {"level": "heads", "ablation": "zero"},
        {"level": "heads", "ablation": "resample", "metric": "log_prob"},
        {"level": "heads", "metric": "normalized_logit_diff"},
        {"level": "neurons", "metric": "cross_entropy", "n": 3},
        {"level": "edges", "kv": "split", "ablation": "mean"},
    ],
)
def test_any_convention_goes_with_it(options: dict[str, Any]) -> None:
    model, pairs = hooked("qwen2"), toy_task()
    own = {k: v for k, v in options.items() if k not in ("ranking", "n")}
    auto = attribute(model, pairs, method="auto", budget=1000, show_progress=False, **options)
    same(auto, attribute(model, pairs, method="exact", show_progress=False, **own))
    assert auto.search is not None and auto.search.ranking == options.get("ranking", "absolute")


# ---------------------------------------------------------------- presets that do not fit


def test_a_metric_that_is_flat_at_the_base_leaves_the_methods_between_the_runs(demo: HookedModel, gender: Task) -> None:
    auto = attribute(demo, gender, method="auto", metric="kl_base", level="blocks", show_progress=False)
    assert auto.search is not None and set(auto.search.tried) <= {"deeplift", "atp-ig", "relp-ig"}
    assert auto.search.tried[0] == "deeplift"
    assert {name for name, _ in auto.search.left_out} == {"atp", "relp", "relp-ah"}
    assert all("flat" in why for _, why in auto.search.left_out)


@pytest.mark.parametrize("methods,metric", [(["auto", "eap-ig"], None), (["auto", "eap-ig"], "kl_base")])
def test_the_steps_that_are_recorded_are_those_that_were_run(
    demo: HookedModel, gender: Task, methods: list[str], metric: str | None
) -> None:
    """Counted from the forwards of the methods along paths: 2 and one for each step."""
    request = prepare(demo, gender, methods=methods, metric=metric, level="edges", budget=25)
    assert isinstance(request, VerifiedAttribution)
    found = request.score_tried(False)
    auto = found["auto"]
    assert auto.search is not None and auto.search.certificate.outside
    stepped = [found[name].provenance for name in found if name in ("eap-ig", "relp-ig")]
    assert stepped and {p.steps for p in stepped} == {round(stepped[0].backwards)}
    chosen = {"eap-ig", "relp-ig"} & {name for names in auto.search.chosen().values() for name in names}
    assert auto.provenance.steps == (stepped[0].steps if chosen else None)
    assert chosen or metric is None


def test_the_memory_of_methods_that_may_run_later_is_planned(demo: HookedModel, gender: Task) -> None:
    """As if they had been asked for by name."""
    names = ["auto", "atp-ig", "relp-ig", "exact"]
    alone, named = (prepare(demo, gender, methods=m, level="neurons").memory for m in (["auto"], names))
    assert alone == named


def test_presets_without_rules_are_left_out_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from interp.errors import UnsupportedRuleError

    model = hooked("gpt2")
    plain = model.coverage

    class Refused:
        def check(self) -> None:
            raise UnsupportedRuleError("h.0.mlp has no rule.")

    monkeypatch.setattr(
        HookedModel, "coverage", lambda self, rules: Refused() if "frozen" in rules.describe() else plain(rules)
    )
    auto = attribute(model, toy_task(), method="auto", level="heads", show_progress=False)
    assert auto.search is not None and auto.search.tried == ("deeplift", "atp")
    assert dict(auto.search.left_out) == dict.fromkeys(("relp", "relp-ah", "relp-ig"), "h.0.mlp has no rule.")


def test_methods_along_paths_join_where_the_budget_has_room(demo: HookedModel, gender: Task) -> None:
    some, more = (
        attribute(demo, gender, method="auto", level="neurons", budget=b, show_progress=False) for b in (30, 220)
    )
    assert some.search is not None and more.search is not None
    assert "atp-ig" not in some.search.tried and "atp-ig" in more.search.tried


# ---------------------------------------------------------------- files and tables


def test_scores_read_back_as_they_were(part: dict[str, Scores], tmp_path: Path) -> None:
    auto = part["auto"]
    auto.save(tmp_path / "s.parquet")
    again = Scores.load(tmp_path / "s.parquet")
    assert again.search == auto.search and again.provenance == auto.provenance and again.parts == auto.parts
    for name in ("per_example", "exact", "error"):
        np.testing.assert_array_equal(getattr(again, name), getattr(auto, name))
    part["relp"].save(tmp_path / "p.parquet")
    plain = Scores.load(tmp_path / "p.parquet")
    assert plain.exact is None and plain.error is None and plain.search is None


def test_a_damaged_search_is_refused(part: dict[str, Scores], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    part["auto"].save(tmp_path / "s.parquet")
    table = pq.read_table(tmp_path / "s.parquet")
    header = json.loads(table.schema.metadata[b"interp.scores"])
    header["search"]["odd"] = 1
    pq.write_table(table.replace_schema_metadata({b"interp.scores": json.dumps(header)}), tmp_path / "s.parquet")
    with pytest.raises(ScoreError, match="search"):
        Scores.load(tmp_path / "s.parquet")


def test_a_table_and_a_selection_keep_what_is_exact(part: dict[str, Scores]) -> None:
    auto = part["auto"]
    table = auto.to_pandas()
    assert table["exact"].tolist() == auto.exact.tolist() and "exact" not in part["relp"].to_pandas()  # type: ignore[union-attr]
    places = auto.rank()[:7]
    chosen = auto.select(places)
    assert chosen.exact is not None and chosen.error is not None and chosen.search == auto.search
    assert chosen.exact.tolist() == auto.exact[places].tolist()  # type: ignore[index]
    assert [p.name for p in auto.select_components({chosen.parts[0].name}).parts] == [chosen.parts[0].name]
    known = auto.known()
    assert known.provenance.exact and len(known.parts) == auto.exact.sum()  # type: ignore[union-attr]
    with pytest.raises(ScoreError, match="exact"):
        part["relp"].known()


def test_the_trail_is_plain_data_and_back(part: dict[str, Scores]) -> None:
    search = part["auto"].search
    assert search is not None
    assert Search.from_dict(json.loads(json.dumps(search.to_dict()))) == search
    assert str(search.certificate) in str(search) and str(search.certificate) in str(part["auto"])
