"""Level `features`: its nodes and their names, a case worked out by hand, what changes no score, files, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.attribution.features.listed import described
from interp.attribution.methods import METHODS
from interp.attribution.request import attribute, attribute_all, prepare
from interp.dictionaries.activation import DictionaryError, Relu
from interp.dictionaries.dictionary import Dictionary
from interp.errors import MethodError, ScoreError, SiteError
from interp.parts.sites import Site
from interp.scores.agreement import agreement
from interp.scores.scores import Scores
from interp.tasks.task import Task
from tests.interp.attribution.features.feature_twin import by_name, dictionaries
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import hooked, tiny
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.micro import A, B, _mlp, micro, one_pair
from tests.interp.tasks.toy import toy_task, with_twins

OF_FEATURES = [name for name, m in METHODS.items() if m.scores("features") and not m.search]
SMALL = torch.float32


def scored(model: Any, task: Any, found: Any, method: str = "relp", **options: Any) -> Scores:
    return attribute(model, task, method=method, level="features", dictionaries=found, show_progress=False, **options)


# ---------------------------------------------------------------- nodes


def test_a_dictionary_worked_out_by_hand() -> None:
    """Token A has (6, -6, 0, 0) at mlp_out and B (2, -2, 0, 0). f0 = relu(x0 - 3) writes (1, -1, 0, 0), f1 = relu(3 - x0)
    half of that, and f2 never is active. From B to A f0 changes by 3, f1 by -1, the error from 1.5 to 3.

    The stream behind B is (t, -t, 1, -1) with t = 1, the metric t / sqrt((t^2 + 1) / 2), its derivative 1/2, and 1 with
    the norm's scale frozen.
    """
    W_enc = torch.zeros(4, 3, dtype=torch.float64)
    W_enc[0] = torch.tensor([1.0, -1, 0])
    W_dec = torch.tensor([[1.0, -1, 0, 0], [0.5, -0.5, 0, 0], [9, 9, 9, 9]], dtype=torch.float64)
    bias = torch.tensor([-3.0, 3, -100], dtype=torch.float64)
    at = Site("mlp_out", 0)
    d = Dictionary(at, at, Relu(), W_enc, bias, W_dec, torch.zeros(4, dtype=torch.float64))
    model, task = micro(_mlp), one_pair((A,), (B,))
    found = attribute_all(
        model, task, methods=["exact", "atp", "relp"], level="features", dictionaries={"mlp_out.0": d}
    )

    def metric(t: float) -> float:
        return t / ((t * t + 1) / 2) ** 0.5

    change = {"mlp_out.0.f0": 3.0, "mlp_out.0.f1": -0.5, "mlp_out.0.error": 1.5}
    for method, expected in (
        ("exact", {k: metric(1 + c) - metric(1) for k, c in change.items()}),
        ("atp", {k: c / 2 for k, c in change.items()}),
        ("relp", change),
    ):
        scores = found[method]
        assert {p.name: scores[p.name] for p in scores.parts} == pytest.approx(expected, abs=1e-9), method


def test_features_of_the_embedding_are_nodes() -> None:
    """It has no layer. What is patched at all positions of it is the whole prompt."""
    with true_float64():
        model, task = hooked("llama", dtype=torch.float64), toy_task(2)
        d = made("resid_pre.0", 32, dtype=torch.float64)
        here = {"embed": replace(d, site=Site("embed"), target=Site("embed"))}
        for method in ("exact", "atp"):
            embedded, first = scored(model, task, here, method), scored(model, task, {"resid_pre.0": d}, method)
            assert [p.name.removeprefix("embed.") for p in embedded.parts] == [p.name[12:] for p in first.parts]
            assert np.allclose(embedded.per_example, first.per_example, rtol=0, atol=1e-11)


# ---------------------------------------------------------------- what changes nothing


@pytest.mark.broad
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "granite", "opt"])
def test_patching_a_value_by_itself_scores_nothing(name: str) -> None:
    methods = [m for m in OF_FEATURES if m != "random" and not METHODS[m].masked]
    model = hooked(name)
    found = attribute_all(
        model, with_twins(model, toy_task(3)), methods=methods, level="features", steps=2,
        dictionaries=dictionaries(name, dtype=SMALL), allow_unsupported=True,
    )  # fmt: skip
    for method, scores in found.items():
        assert scores.per_example.shape[1] > 50 and not scores.per_example.any(), method


@pytest.mark.broad
@pytest.mark.parametrize("method", ["exact", "relp", "atp-ig", "atp-ig-sites"])
def test_batches_and_their_order_do_not_matter(method: str) -> None:
    with true_float64():
        model, task, found = hooked("gpt2", dtype=torch.float64), toy_task(5, lengths=(6, 5)), dictionaries("gpt2")
        whole = scored(model, task, found, method, batch_size=8)
        again = scored(model, Task("toy", task.pairs[::-1]), found, method, batch_size=1)
        assert whole.parts == again.parts
        assert np.allclose(whole.per_example, again.per_example[::-1], rtol=0, atol=1e-11 * abs(whole.mean).max())
        for i, pair in enumerate(task.pairs):
            alone = by_name(scored(model, Task("toy", (pair,)), found, method))
            for node, value in by_name(whole).items():
                assert float(value[i]) == pytest.approx(float(alone[node]) if node in alone else 0.0, abs=1e-10), node


@pytest.mark.broad
@pytest.mark.parametrize("positions", ["each", "end", "spans"])
def test_scores_by_position_add_up(positions: str) -> None:
    with true_float64():
        model, task, found = hooked("llama", dtype=torch.float64), toy_task(3, changed=2), dictionaries("llama")
        whole = scored(model, task, found)
        apart = scored(model, task, found, positions=positions)
        total: dict[str, float] = {}
        for part in apart.parts:
            name = replace(part, position=None).name
            total[name] = total.get(name, 0.0) + apart[part.name]
        assert total == pytest.approx({p.name: whole[p.name] for p in whole.parts}, abs=1e-10)


def test_less_memory_changes_no_score() -> None:
    model, task, found = hooked("llama"), toy_task(6, changed=2), dictionaries("llama", dtype=SMALL)
    options: dict[str, Any] = {"methods": ["exact", "relp"], "level": "features", "dictionaries": found}
    usual = prepare(model, task, **options)
    wide = usual.score()
    narrow = prepare(model, task, max_memory=usual.memory.total // 2, **options).score()
    for method, scores in wide.items():
        assert abs(scores.per_example - narrow[method].per_example).max() <= 1e-5 * abs(scores.per_example).max()
    larger = prepare(model, task, **options | {"dictionaries": dictionaries("llama", dtype=SMALL, n=2000)}).memory
    assert larger.fixed > usual.memory.fixed and larger.per_prompt > usual.memory.per_prompt
    with pytest.raises(MethodError, match="max_memory=1MB: scoring needs"):
        prepare(model, task, max_memory="1MB", **options)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_bfloat16_is_near_float32(name: str) -> None:
    wide, half = (tiny(name).to(torch.bfloat16).to(dtype) for dtype in (torch.float32, torch.bfloat16))
    task, found = toy_task(4, changed=2), {"resid_pre.1": made("resid_pre.1", 32)}
    for method in ("atp", "relp", "exact"):
        a, b = (by_name(scored(interp.HookedModel(m), task, found, method)) for m in (wide, half))
        both = sorted(a.keys() & b.keys())
        x, y = (np.array([float(s[k].mean()) for k in both]) for s in (a, b))
        # The error holds most of x, whose score is the sum: it rounds as x does.
        largest = max(abs(x).max(), abs(x.sum()))
        assert len(both) > 20 and np.corrcoef(x, y)[0, 1] > 0.98 and abs(x - y).max() < 0.12 * largest, method


# ---------------------------------------------------------------- costs, files, agreement


def test_passes_are_counted_and_the_survey_once() -> None:
    model, task, found = hooked("llama"), toy_task(3), dictionaries("llama", dtype=SMALL)
    request = prepare(
        model, task, methods=["atp", "relp", "atp-ig-sites"], level="features", dictionaries=found, steps=3
    )
    first, again = request.score(), request.score()
    passes = [(s.provenance.forwards, s.provenance.backwards) for s in (*first.values(), *again.values())]
    # the survey of both runs, the source, the base with its gradient; then shared runs; 3 steps at each of 8 sites
    assert passes == [(4, 1), (1, 1), (24, 24), (2, 1), (1, 1), (24, 24)]
    assert first["atp-ig-sites"].provenance.coefficients_at == "points between base and source at the node's own site"


def test_scores_go_to_a_file_and_back(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    model, task, found = hooked("gpt2"), toy_task(3), dictionaries("gpt2", dtype=SMALL)
    scores = scored(model, task, found, positions="end")
    scores.save(tmp_path / "scores.parquet")
    again = Scores.load(tmp_path / "scores.parquet")
    assert again.parts == scores.parts and again.provenance == scores.provenance
    assert np.array_equal(again.per_example, scores.per_example)
    assert set(scores.provenance.dictionaries) == {described(d) for d in found.values()}
    table = scores.to_pandas()
    assert [None if np.ma.is_masked(f) or str(f) == "<NA>" else int(f) for f in table["feature"]] == [
        p.feature for p in scores.parts
    ]
    old = pq.read_table(tmp_path / "scores.parquet")
    header = json.loads(old.schema.metadata[b"interp.scores"])
    del header["provenance"]["dictionaries"]
    pq.write_table(old.replace_schema_metadata({b"interp.scores": json.dumps(header)}), tmp_path / "old.parquet")
    assert Scores.load(tmp_path / "old.parquet").provenance.dictionaries == ()


def test_dictionaries_from_a_folder(tmp_path: Path) -> None:
    from interp.dictionaries.storage import save_dictionary

    model, task, found = hooked("gpt2"), toy_task(2), {}
    for site in ("resid_post.0", "mlp_out.1"):
        found[site] = made(site, 32)
        save_dictionary(found[site], tmp_path / site)
    a, b = scored(model, task, found), scored(model, task, tmp_path)
    assert a.parts == b.parts and np.allclose(a.per_example, b.per_example, rtol=0, atol=1e-5)


def test_agreement_with_exact_on_the_embedded_model() -> None:
    """Per kind of node; the error is no feature and has a kind of its own."""
    model = interp.load("demo")
    width, task = model.layout.d_model, interp.task("ioi", model, n=8)
    found = {site: made(site, width, n=2 * width, kind="topk") for site in ("attn_out.1", "mlp_out.2")}
    methods = ["exact", "atp", "relp", "atp-ig-sites"]
    scores = attribute_all(model, task, methods=methods, level="features", dictionaries=found, show_progress=False)
    kinds = ["attn_out.feature", "attn_out.error", "mlp_out.feature", "mlp_out.error"]
    for method in methods:
        rows = agreement(scores[method], scores["exact"])
        assert [row.kind for row in rows.rows] == ["all", *kinds]
        for kind in kinds[::2]:
            row = rows[kind]
            of_kind = [p.kind == kind for p in scores[method].parts]
            a, b = (s.mean[of_kind] for s in (scores[method], scores["exact"]))
            assert row.n == sum(of_kind) > 50 and row.pearson == pytest.approx(np.corrcoef(a, b)[0, 1])
            assert row.pearson > 0.5, (method, kind)


def test_scores_of_another_dictionary_are_not_compared() -> None:
    model, task = hooked("gpt2"), toy_task(2)
    one, two = (made("resid_post.0", 32, seed=seed) for seed in (0, 1))
    exact = interp.attribute(model, task, method="exact", level="features", dictionaries={"resid_post.0": one})
    other = interp.attribute(model, task, method="atp", level="features", dictionaries={"resid_post.0": two})
    with pytest.raises(ScoreError, match="dictionaries"):
        interp.agreement(other, exact)
    own = interp.attribute(model, task, method="atp", level="features", dictionaries={"resid_post.0": one})
    found = interp.agreement(own, exact)
    assert found["all"].n == found["resid_post.feature"].n  # the one error is apart
    assert found["resid_post.error"].n == 1


def test_auto_scores_features() -> None:
    """What it calls exact is exact."""
    model, task, found = hooked("llama"), toy_task(6, changed=2), dictionaries("llama", dtype=SMALL)
    auto, exact = (scored(model, task, found, method) for method in ("auto", "exact"))
    assert auto.exact is not None and auto.search is not None and auto.exact.sum() >= 10
    assert auto.provenance.dictionaries == exact.provenance.dictionaries
    for i in np.flatnonzero(auto.exact):
        assert auto.mean[i] == pytest.approx(exact[auto.parts[i].name], abs=1e-4)
    best = set(exact.rank()[:10])
    assert {p for p, _ in auto.top(10)} == {exact.parts[i].name for i in best}


def test_no_error_takes_a_place_in_the_top_of_auto() -> None:
    """A circuit lists none, so a certificate of the top n is of n features; errors are scored beside them."""
    model, task, found = hooked("llama"), toy_task(4, changed=2), dictionaries("llama", dtype=SMALL)
    exact = scored(model, task, found, "exact")
    errors = {p.name for p in exact.parts if p.kind.endswith(".error")}
    assert errors & {name for name, _ in exact.top(10)}  # they would be in it
    auto = interp.attribute(model, task, method="auto", level="features", dictionaries=found, n=5, budget=30.0)
    assert auto.exact is not None and auto.search is not None
    known = {p.name for p, is_exact in zip(auto.parts, auto.exact, strict=True) if is_exact}
    assert errors & known and len(known) < len(auto.parts)
    assert auto.search.certificate.scored == len(known - errors)
    assert auto.search.certificate.total == len(auto.parts) - len(errors)


# ---------------------------------------------------------------- what is refused


def _inactive(model: Any, task: Any, d: Dictionary) -> str:
    seen = {p.name for p in scored(model, task, {"resid_post.0": d}).parts}
    return next(name for u in range(d.n_features) if (name := f"resid_post.0.f{u}") not in seen)


def test_bad_input_is_refused_in_one_sentence() -> None:
    model, task = hooked("llama"), toy_task(2)
    d = made("resid_post.0", 32, n=200)
    dead = replace(d, b_enc=d.b_enc - 5 * (torch.arange(200) < 3))
    good = {"resid_post.0": d}
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (None, {}, MethodError, "needs dictionaries"),
        ({}, {}, MethodError, "given none"),
        ([d], {}, MethodError, "given list"),
        (good, {"level": "heads"}, MethodError, "belong to level 'features'"),
        ({"resid_post.0": "d"}, {}, DictionaryError, "is str; expected a Dictionary"),
        ({"resid_post.1": d}, {}, DictionaryError, "makes up 'resid_post.0'; give it under that name"),
        ({"mlp_normed.1": made("mlp_normed.1", 32, target="mlp_out.1")}, {}, DictionaryError, "makes up 'mlp_out.1'; give it"),
        ({"resid_post.0": made("resid_post.0", 16)}, {}, DictionaryError, "'resid_post.0' has width 16; this model has 32"),
        ({"mlp_out.1": made("mlp_normed.1", 16, target="mlp_out.1", d_out=32)}, {}, DictionaryError, "'mlp_normed.1' has width 16; this model has 32"),
        ({"mlp_post.0": made("mlp_post.0", 48)}, {}, DictionaryError, "features cannot be nodes at mlp_post.0"),
        ({"resid_post.7": made("resid_post.7", 32)}, {}, SiteError, "layer 7 does not exist"),
        ({"mlp_out.1": made("mlp_out.1", 32), "blocks.1.hook_mlp_out": made("mlp_out.1", 32)}, {}, DictionaryError, "two of them make up mlp_out.1"),
        (good, {"method": "atp-star"}, MethodError, "not level 'features'"),
        (good, {"method": "eap"}, MethodError, "not level 'features'"),
        (good, {"parts": ["resid_post.0.f9999"]}, MethodError, "has features 0 to 199"),
        ({"resid_post.0": dead}, {"parts": [_inactive(model, task, dead)]}, MethodError, "is not active in any run"),
        (good, {"method": "auto", "positions": "each"}, MethodError, "ranks parts at all positions"),
    ]  # fmt: skip
    for given, options, error, text in cases:
        with pytest.raises(error, match=text) as caught:
            attribute(model, task, **{"method": "relp", "level": "features", "dictionaries": given} | options)
        assert str(caught.value).count("\n") == 0, text
    with pytest.raises(SiteError, match="run in parallel"):
        scored(hooked("gpt_neox"), task, {"resid_mid.0": made("resid_mid.0", 32)})


def test_activations_that_are_not_finite_are_refused() -> None:
    model = hooked("llama")
    with torch.no_grad():
        model.hf.model.layers[0].mlp.down_proj.weight[0, 0] = float("inf")
    with pytest.raises(DictionaryError, match=r"resid_post\.0 are not finite"):
        scored(model, toy_task(2), {"resid_post.0": made("resid_post.0", 32)})
