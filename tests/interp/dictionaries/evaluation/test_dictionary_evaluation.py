"""Numbers of an evaluation: closed forms, and a slow second writing on the plain transformers model, hook by hook."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from interp.dictionaries.activation import JumpRelu
from interp.dictionaries.evaluation.evaluate import evaluate_dictionary
from interp.model.model import HookedModel
from interp.parts.sites import parse
from tests.interp.dictionaries.evaluation.evaluated import (
    BOS,
    DICTIONARIES,
    D,
    hooked,
    hooked_reads,
    likely,
    model_of,
    rows,
    whole,
)

# ---------------------------------------------------------------- closed forms


def test_a_dictionary_that_makes_up_everything() -> None:
    model = model_of()
    found = evaluate_dictionary(model, whole(), likely(model))
    assert found.explained_variance == pytest.approx(1, abs=1e-12) and found.mse == pytest.approx(0, abs=1e-20)
    assert found.cosine == pytest.approx(1, abs=1e-12)
    assert found.cross_entropies.recovered == pytest.approx(1, abs=1e-12)
    assert found.cross_entropies.recovered_from_mean == pytest.approx(1, abs=1e-12)
    assert found.l0 == D and set(found.l0_quantiles.values()) == {D}
    assert found.pca[-1].components == D and found.pca[-1].explained_variance == pytest.approx(1, abs=1e-12)


def test_a_dictionary_that_says_nothing_is_zero_ablation() -> None:
    model = model_of()
    found = evaluate_dictionary(model, whole(W_dec=torch.zeros(2 * D, D).double()), likely(model))
    assert found.cross_entropies.spliced == pytest.approx(found.cross_entropies.zero, abs=1e-12)
    assert found.cross_entropies.recovered == pytest.approx(0, abs=1e-12)
    assert found.explained_variance < 0 and found.cosine == 0


def test_a_dictionary_of_the_mean_is_mean_ablation() -> None:
    model = model_of()
    kept = torch.cat([hooked_reads(model, row)[0] for row in likely(model)])
    d = whole(W_dec=torch.zeros(2 * D, D).double(), b_dec=kept.mean(0))
    found = evaluate_dictionary(model, d, likely(model))
    assert found.cross_entropies.recovered_from_mean == pytest.approx(0, abs=1e-12)
    assert found.explained_variance == pytest.approx(0, abs=1e-12)


def test_dead_and_dense_features_are_counted() -> None:
    """Thresholds: one feature always, one never, the others where their dimension is beyond 2 on one side."""
    model = model_of()
    threshold = torch.full((2 * D,), 2.0).double()
    bias = torch.zeros(2 * D).double()
    bias[5], bias[6] = 1e6, -1e6
    found = evaluate_dictionary(model, whole(activation=JumpRelu(threshold), b_enc=bias), rows())
    kept = torch.cat([hooked_reads(model, row)[0] for row in rows()])
    active = torch.cat([kept, -kept], 1) > 2
    active[:, 5], active[:, 6] = True, False
    assert found.counts.tolist() == active.sum(0).tolist()
    assert found.tokens == len(kept) and found.densities[5] == 1
    assert found.dead == int((~active).all(0).sum()) >= 1
    assert found.dense == int((active.double().mean(0) > 0.1).sum()) >= 1
    assert found.l0 == pytest.approx(float(active.sum(1).double().mean()))
    per_token = np.sort(active.sum(1).numpy())
    assert found.l0_quantiles == {
        str(q): float(np.quantile(per_token, q, method="inverted_cdf")) for q in (0.05, 0.25, 0.5, 0.75, 0.95)
    }


# ---------------------------------------------------------------- a slow second writing


def slow_cross_entropy(model: HookedModel, kind: str, put: Any) -> float:
    total, n = 0.0, 0
    for row in rows():
        keep = (torch.tensor(row) != BOS)[None, :, None]
        with torch.no_grad(), hooked(model, kind, lambda x, y, keep=keep: torch.where(keep, put(x, y), y)):
            p = model.hf(torch.tensor([row])).logits[0].log_softmax(-1)
        for t in range(len(row) - 1):
            if row[t + 1] != BOS:
                total, n = total - float(p[t, row[t + 1]]), n + 1
    return total / n


@pytest.mark.broad
@pytest.mark.parametrize("kind", DICTIONARIES)
def test_every_number_written_again(kind: str) -> None:
    model, d = model_of(), DICTIONARIES[kind]
    found = evaluate_dictionary(model, d, rows(), pca=3)
    pairs = [hooked_reads(model, row, kind) for row in rows()]
    x, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    made_up = d.reconstruct(x)
    error, spread = ((y - z).square().sum() for z in (made_up, y.mean(0)))
    assert found.tokens == len(x)
    assert found.explained_variance == pytest.approx(float(1 - error / spread), abs=1e-10)
    assert found.mse == pytest.approx(float((y - made_up).square().mean()), rel=1e-10)
    assert found.cosine == pytest.approx(float(torch.cosine_similarity(y, made_up).mean()), abs=1e-10)
    assert found.counts.tolist() == (d.encode(x) > 0).sum(0).tolist()
    mean = y.mean(0)
    puts = [lambda x, y: y, lambda x, y: d.reconstruct(x), lambda x, y: y * 0, lambda x, y: mean.expand_as(y)]
    clean, spliced, zero, by_mean = (slow_cross_entropy(model, kind, put) for put in puts)
    ce = found.cross_entropies
    assert (ce.clean, ce.spliced, ce.zero, ce.mean) == pytest.approx((clean, spliced, zero, by_mean), abs=1e-10)
    assert ce.tokens == sum(t != BOS for row in rows() for t in row[1:])
    if zero > clean:
        assert ce.recovered == pytest.approx((zero - spliced) / (zero - clean), abs=1e-9)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_pca_written_again(k: int) -> None:
    """Singular vectors of each half of the rows, measured on the other."""
    model = model_of()
    found = evaluate_dictionary(model, whole(), rows(24), pca=k)
    y = [hooked_reads(model, row)[1].numpy() for row in rows(24)]
    halves = np.concatenate(y[0::2]), np.concatenate(y[1::2])
    left = 0.0
    for fitted, measured in (halves, halves[::-1]):
        centre = fitted.mean(0)
        v = np.linalg.svd(fitted - centre, full_matrices=False)[2][:k]
        rest = measured - centre
        left += float(((rest - rest @ v.T @ v) ** 2).sum())
    every = np.concatenate(halves)
    total = float(((every - every.mean(0)) ** 2).sum())
    by_size = {b.components: b.explained_variance for b in found.pca}
    assert set(by_size) == {k, D} and by_size[k] == pytest.approx(1 - left / total, abs=1e-9)


@pytest.mark.broad
@pytest.mark.parametrize("site", ["resid_pre.1", "z.0", "attn_out.1", "mlp_out.0", "embed", "resid_final"])
@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_neox", "opt", "bloom", "granite"])
def test_what_makes_up_everything_costs_nothing_anywhere(name: str, site: str) -> None:
    """On every shape of block: scaled residual branches, post-norms, parallel and flattened MLPs."""
    place = parse(site, {"": 2})[0]
    found = evaluate_dictionary(model_of(name), replace(whole(), site=place, target=place), rows())
    ce = found.cross_entropies
    assert ce.spliced == pytest.approx(ce.clean, abs=1e-12) and abs(ce.zero - ce.clean) > 1e-4
    assert found.explained_variance == pytest.approx(1, abs=1e-12)
