"""Sparse probing: a planted feature is found with k = 1, noise stays at chance, and the pieces against other writings of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.evaluation.probing import ALL, DIMENSIONS, FEATURES, MAJORITY, probe
from interp.probes.classifier import fit, mean_difference, quality
from interp.probes.labelled_texts import halves, labelled, read_labels
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import VOCAB, hooked

SITE, LAYERS = "resid_pre.0", 2


@cache
def model() -> Any:
    return hooked("llama")


def planted(token: int, feature: int = 5) -> Dictionary:
    """A dictionary of the embeddings, random but for one feature that is active on one token and no other."""
    E = model().hf.get_input_embeddings().weight.detach()
    d = made(SITE, 32, n=40, kind="relu")
    direction = torch.linalg.lstsq(E, torch.eye(VOCAB)[token], driver="gelsd").solution
    reach = E @ direction
    W_enc, b_enc = d.W_enc.clone(), d.b_enc.clone()
    W_enc[:, feature] = 50 * direction
    b_enc[feature] = -50 * float(reach.topk(2).values.mean())
    assert int(reach.argmax()) == token
    return replace(d, W_enc=W_enc, b_enc=b_enc, b_in=None)


def lines(n: int, token: int, at: int = 3, seed: int = 0, **more: Any) -> list[dict[str, Any]]:
    """Random tokens; label 1 means that `token` stands at `at`."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        ids = rng.integers(3, VOCAB, size=6)
        ids[ids == token] = 2
        ids[at] = token if i % 2 else ids[at]
        found.append({"tokens": ids.tolist(), "label": i % 2, **more})
    return found


@pytest.mark.parametrize(("at", "position"), [(5, "last"), (3, 3), (3, -3), (2, "mean")])
def test_a_planted_feature_is_found_with_one_feature(at: int, position: int | str) -> None:
    found = probe(model(), planted(17), lines(200, 17, at), position=position, ks=(1, 5))
    first = found.row(FEATURES, 1)
    assert first.chosen == (5,) and found.n_train == found.n_test == 100 and found.share == 0.5
    for measured in (first.quality.accuracy, first.quality.balanced, first.quality.auc):
        assert (measured.value, measured.low, measured.high) == (1.0, 1.0, 1.0)
    assert found.row(FEATURES, 5).chosen[0] == 5 and len(found.row(FEATURES, 5).chosen) == 5
    assert found.row(MAJORITY).quality.balanced.value == found.row(MAJORITY).quality.auc.value == 0.5


def test_labels_that_mean_nothing_stay_at_chance() -> None:
    rng = np.random.default_rng(3)
    given = [{"tokens": rng.integers(3, VOCAB, size=6).tolist(), "label": int(rng.random() < 0.5)} for _ in range(600)]
    found = probe(model(), planted(17), given, ks=(1, 5))
    for row in found.rows:
        if row.what != ALL:
            assert row.quality.auc.low - 0.05 <= 0.5 <= row.quality.auc.high + 0.05
    assert abs(found.row(MAJORITY).quality.accuracy.value - 0.5) < 0.1


def test_features_and_dimensions_are_those_of_the_run_at_the_position() -> None:
    """Each row is fitted by hand on what a plain run reads."""
    d, given = planted(17), lines(60, 17, 5)
    result = probe(model(), d, given, ks=(3,), seed=4, batch_size=7)
    y = np.array([line["label"] for line in given])
    ids = torch.tensor([line["tokens"] for line in given])
    x = model().run(ids, reads=[SITE])[SITE][:, -1].detach()
    train, test = halves(labelled(model(), given), 4)
    for what, values in ((FEATURES, d.encode(x)), (DIMENSIONS, x), (ALL, x)):
        table = values.double().numpy()
        gap = np.abs(table[train][y[train] == 1].mean(0) - table[train][y[train] == 0].mean(0))
        columns = np.argsort(-gap)[:3] if what != ALL else np.arange(32)
        row = result.row(what)
        assert row.chosen == (tuple(columns.tolist()) if what != ALL else ()) and row.k == len(columns)
        scores = fit(table[train][:, columns], y[train]).scores(table[test][:, columns])
        assert row.quality.accuracy.value == pytest.approx(float(((scores > 0) == y[test]).mean()))


def test_the_mean_leaves_out_where_texts_begin() -> None:
    demo = interp.load("demo")
    texts = [
        f"{a} {b}"
        for a in ("The boat", "A cup", "The farm")
        for b in ("slept.", "is old.", "waited", "here", "was", "and")
    ]
    given = [{"text": t, "label": i % 2, "position": "mean"} for i, t in enumerate(texts + [t + " it" for t in texts])]
    d = made("resid_post.1", 128, n=16)
    bos = demo.tokenizer.bos_token_id
    means = []
    for line in given:
        ids = demo.tokenize(line["text"]).ids
        assert int(ids[0, 0]) == bos and bos not in ids[0, 1:].tolist()
        means.append(demo.run(ids, reads=["resid_post.1"])["resid_post.1"][0, 1:].detach().mean(0).numpy())
    y, table = np.array([line["label"] for line in given]), np.stack(means).astype(np.float64)
    train, test = halves(labelled(demo, given), 0)
    columns = mean_difference(table[train], y[train], 4)
    row = probe(demo, d, given, ks=(4,)).row(DIMENSIONS)
    assert row.chosen == tuple(columns.tolist())
    scores = fit(table[train][:, columns], y[train]).scores(table[test][:, columns])
    assert row.quality.accuracy.value == pytest.approx(float(((scores > 0) == y[test]).mean()))


# ---------------------------------------------------------------- the mathematics


def test_the_regression_is_at_the_minimum_of_its_loss() -> None:
    """Gradient descent with a tiny step on the written-out loss finds the same weights."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)) * [1.0, 5.0, 0.2] + [0.0, 3.0, -1.0]
    y = (x[:, 0] + rng.normal(size=60) > 0).astype(int)
    found = fit(x, y)
    z = torch.tensor((x - x.mean(0)) / x.std(0))
    s = torch.tensor(2.0 * y - 1)
    w = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    for _ in range(4000):
        loss = torch.log1p(torch.exp(-s * (z @ w[:3] + w[3]))).sum() + 0.5 * (w[:3] ** 2).sum()
        (g,) = torch.autograd.grad(loss, w)
        w = (w - 0.02 * g).detach().requires_grad_()
    assert np.allclose(found.weights, w[:3].detach().numpy(), atol=1e-5) and found.bias == pytest.approx(
        float(w[3]), abs=1e-5
    )


def test_a_column_without_spread_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 2))
    y = (x[:, 0] > 0).astype(int)
    wide = np.concatenate([x, np.full((40, 1), 7.0)], axis=1)
    assert np.allclose(fit(x, y).scores(x), fit(wide, y).scores(wide), atol=1e-6)


def test_the_area_under_the_curve_counts_pairs() -> None:
    rng = np.random.default_rng(2)
    scores, y = rng.integers(-4, 5, size=50).astype(float), rng.integers(0, 2, size=50)
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(scores[y == 1], scores[y == 0])]
    found = quality(scores, y, 0)
    assert found.auc.value == pytest.approx(np.mean(pairs))
    right = (scores > 0) == (y == 1)
    assert found.accuracy.value == pytest.approx(right.mean())
    assert found.balanced.value == pytest.approx((right[y == 1].mean() + right[y == 0].mean()) / 2)
    assert found.auc.low < found.auc.value < found.auc.high


def test_the_interval_has_the_width_of_the_binomial() -> None:
    rng = np.random.default_rng(5)
    y = np.repeat([0, 1], 500)
    scores = np.where(rng.random(1000) < 0.8, 2.0 * y - 1, 1 - 2.0 * y)
    found = quality(scores, y, 0).accuracy
    deviation = (found.value * (1 - found.value) / 1000) ** 0.5
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.15)


def test_halves_are_stratified_and_keep_equal_texts_together() -> None:
    given = lines(41, 17, 5)
    twice = labelled(model(), given + given[:10])
    train, test = halves(twice, 0)
    sides = [{(twice[i].ids, twice[i].position) for i in side} for side in (train, test)]
    assert not sides[0] & sides[1] and len(train) + len(test) == 51
    unique = [sum(1 for ids, _ in side if ids[-1] == 17) for side in sides]
    assert sum(unique) == 20 and unique == [10, 10]
    assert not np.array_equal(halves(twice, 1)[0], train)


# ---------------------------------------------------------------- files and refusals


def written(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_a_file_is_its_lines_and_a_result_is_plain_data(tmp_path: Path) -> None:
    given = lines(60, 17, 5)
    path = written(tmp_path / "seventeen.jsonl", [*given, ""])
    assert read_labels(path) == given
    from_file, from_lines = (
        probe(model(), planted(17), x, ks=(2,), name=n) for x, n in ((path, ""), (given, "seventeen"))
    )
    assert from_file == from_lines and from_file.name == "seventeen" and from_file.site == SITE
    from_file.save(tmp_path / "probe.json")
    assert json.loads((tmp_path / "probe.json").read_text()) == json.loads(json.dumps(from_file.to_dict()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lable": 1}, "unknown key 'lable'. Did you mean label"),
        ({"label": 2}, "label 2; expected 0 or 1"),
        ({"label": True}, "label True; expected 0 or 1"),
        ({"label": None}, "label None; expected 0 or 1"),
        ({"text": "x"}, "either 'text' or 'tokens'"),
        ({"tokens": []}, "expected a list of token ids"),
        ({"tokens": [1.5]}, "expected a list of token ids"),
        ({"position": 6}, "position 6 of 6 tokens; expected -6 to 5"),
        ({"position": "lats"}, "unknown position 'lats'. Did you mean last"),
        ({"position": 1.0}, "position 1.0; expected the index"),
    ],
)
def test_a_bad_line_is_named(change: dict[str, Any], message: str) -> None:
    given = lines(40, 17)
    given[7] |= change
    with pytest.raises(DictionaryError, match=message):
        probe(model(), planted(17), given, ks=(1,))


def test_too_little_to_learn_from_is_refused(tmp_path: Path) -> None:
    given = lines(40, 17)
    one_class = [line | {"label": 1} for line in given]
    with pytest.raises(DictionaryError, match="0 different examples with label 0; a probe needs at least 10"):
        probe(model(), planted(17), one_class)
    with pytest.raises(DictionaryError, match="9 different examples with label 1"):
        probe(model(), planted(17), given[:19])
    with pytest.raises(DictionaryError, match="1 different examples"):
        probe(model(), planted(17), [given[0], *given[1::2]] * 20)
    with pytest.raises(DictionaryError, match="the same tokens have label 0 and label 1"):
        probe(model(), planted(17), [*given, given[0] | {"label": 1}])
    for ks in ((0,), (33,), (), (1.5,)):
        with pytest.raises(DictionaryError, match="expected numbers from 1 to 32"):
            probe(model(), planted(17), given, ks=ks)  # type: ignore[arg-type]
    with pytest.raises(DictionaryError, match="cannot be read"):
        probe(model(), planted(17), tmp_path / "missing.jsonl")
    with pytest.raises(DictionaryError, match="line 2: no JSON"):
        probe(model(), planted(17), written(tmp_path / "broken.jsonl", ["{}", "{"]))
    with pytest.raises(DictionaryError, match="line 1: '3'; expected an object"):
        probe(model(), planted(17), written(tmp_path / "number.jsonl", ["3"]))
    with pytest.raises(DictionaryError, match=r"'resid_pre.0' has width 16; this model has 32"):
        probe(model(), made(SITE, 16), given, ks=(1,))


@pytest.mark.parametrize("plain", [SITE, "embed", interp.Site("embed"), None])
def test_a_place_without_a_dictionary_is_refused_by_name(plain: Any) -> None:
    with pytest.raises(DictionaryError, match="expected a Dictionary that reads a place"):
        probe(model(), plain, [])
