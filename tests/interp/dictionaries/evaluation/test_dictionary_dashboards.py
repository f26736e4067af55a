"""Dashboards: what is seen on text against a slow second writing, and what the weights say against closed forms."""

from __future__ import annotations

import json
import random
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
from interp.dictionaries.evaluation.dashboard_values import Dashboard
from interp.dictionaries.evaluation.dashboards import (
    choose_features,
    load_dashboards,
    make_dashboards,
    save_dashboards,
)
from interp.errors import SiteError
from interp.parts.sites import Site
from interp.parts.tokens import Tokens, pad
from tests.interp.dictionaries.random_dictionaries import ACTIVATIONS, made
from tests.interp.model.tiny import VOCAB, hooked, ids

LLAMA_BOS = 1


@cache
def model(name: str = "llama") -> Any:
    return hooked(name)


def texts(n: int = 30, seed: int = 0, longest: int = 9) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(3, VOCAB) for _ in range(rng.randint(2, longest))] for _ in range(n)]


def batches(rows: list[list[int]], size: int, side: Any = "left") -> list[Tokens]:
    return [pad(rows[i : i + size], side=side) for i in range(0, len(rows), size)]


def slow(d: Dictionary, rows: list[list[int]]) -> list[np.ndarray]:
    """Features [pos feature] of each row, run alone."""
    found = []
    for row in rows:
        run = model().run(torch.tensor([row]), reads=[d.site])
        found.append(d.encode(run[d.site].flatten(2)[0]).detach().double().numpy())
    return found


# ---------------------------------------------------------------- what is seen on text


def test_no_drawn_examples_where_none_are_asked_for() -> None:
    d, rows = made("resid_post.1", 32), texts()
    found = make_dashboards(model(), d, batches(rows, 6), features=[0, 1, 2], n_drawn=0)
    assert all(one.top and not one.bands for one in found)


@pytest.mark.broad
@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("site", ["resid_post.0", "z.1"])
def test_counts_histogram_and_examples_are_those_of_a_slow_second_writing(site: str, kind: str) -> None:
    d, rows = made(site, 32, kind=kind, n=24), texts()
    values = slow(d, rows)
    flat = np.concatenate(values)
    found = make_dashboards(model(), d, batches(rows, 7), features=range(24), n_examples=5, window=3)
    for one in found:
        f, mine = one.feature, flat[:, one.feature]
        assert (one.n_tokens, one.n_active) == (len(mine), int((mine > 0).sum()))
        assert one.density == pytest.approx((mine > 0).mean())
        if not one.n_active:
            assert one.top == one.bands == one.histogram.counts == ()
            continue
        assert one.mean == pytest.approx(mine[mine > 0].mean(), rel=1e-5) and one.maximum == pytest.approx(
            mine.max(), rel=1e-5
        )
        edges = np.arange(len(one.histogram.counts) + 1) * one.histogram.width
        assert edges[-2] < one.maximum <= edges[-1] and len(edges) <= 33
        assert sum(one.histogram.counts) == one.n_active
        assert np.abs(np.histogram(mine[mine > 0], edges)[0] - one.histogram.counts).sum() <= 2  # rounding at an edge
        most = [(-v[:, f].max(), i) for i, v in enumerate(values) if v[:, f].max() > 0]
        best = sorted(most, key=lambda one: (round(one[0], 5), one[1]))[:5]  # texts that begin alike are equal there
        assert [e.document for e in one.top] == [i for _, i in best]
        assert [e.activations[e.peak] for e in one.top] == pytest.approx([-v for v, _ in best], rel=1e-5)
        for band in one.bands:
            assert band.examples and band.high <= one.maximum
            for e in band.examples:
                assert band.low * 0.9999 < e.activations[e.peak] <= band.high * 1.0001  # type: ignore[operator]
        for e in (*one.top, *(e for band in one.bands for e in band.examples)):
            start = e.position - e.peak
            assert e.peak == min(3, e.position) and len(e.tokens) == min(len(rows[e.document]), e.position + 4) - start
            row = rows[e.document][start : start + len(e.tokens)]
            assert e.tokens == tuple(f"<{i}>" for i in row)
            wanted = values[e.document][start : start + len(e.tokens), f]
            assert np.allclose(np.array(e.activations, dtype=float), wanted, rtol=1e-4, atol=1e-5)


def test_a_feature_of_one_token_shows_that_token() -> None:
    """A feature that reads one token's embedding: active there with the same value, and nowhere else."""
    E = model().hf.get_input_embeddings().weight.detach()
    direction = torch.linalg.lstsq(E, torch.eye(VOCAB)[17], driver="gelsd").solution
    reach = E @ direction
    d = made("resid_pre.0", 32, n=4)
    W_enc, b_enc = torch.zeros(32, 4), torch.zeros(4)
    W_enc[:, 2], b_enc[2] = direction, -float(reach.topk(2).values.mean())
    d = replace(d, W_enc=W_enc, b_enc=b_enc, b_in=None)
    rows = [[5, 17, 8], [9, 10], [17, 17, 6, 7], [20, 30, 40], [50, 51, 17]]
    one, never = make_dashboards(model(), d, batches(rows, 2), features=[2, 3], window=1)
    assert (one.n_active, one.n_tokens) == (4, 15) and one.mean == pytest.approx(one.maximum)
    assert one.maximum == pytest.approx(float(reach[17] + b_enc[2]), rel=1e-5)
    assert [(e.document, e.position, e.tokens[e.peak]) for e in one.top] == [
        (0, 1, "<17>"),
        (2, 0, "<17>"),
        (4, 2, "<17>"),
    ]
    assert one.top[1].tokens == ("<17>", "<17>") and one.top[0].activations[0] == one.top[0].activations[2] == 0
    assert one.bands == () and sum(1 for n in one.histogram.counts if n) == 1
    assert (never.n_active, never.maximum, never.top, never.density) == (0, 0.0, (), 0.0)


def same(a: tuple[Dashboard, ...], b: tuple[Dashboard, ...]) -> bool:
    def rounded(x: Any) -> Any:
        if isinstance(x, float):
            return pytest.approx(x, rel=1e-4, abs=1e-5)
        return tuple(map(rounded, x)) if isinstance(x, tuple) else x

    return all(
        (x.n_active, x.n_tokens, x.mean, x.maximum) == rounded((y.n_active, y.n_tokens, y.mean, y.maximum))
        and [(e.document, e.position, e.tokens, e.activations) for e in x.top]
        == [(e.document, e.position, e.tokens, rounded(e.activations)) for e in y.top]
        for x, y in zip(a, b, strict=True)
    )


def test_batches_and_padding_do_not_matter_and_an_iterator_is_as_good_as_a_list() -> None:
    d, rows = made("mlp_out.0", 32), texts()
    first = make_dashboards(model(), d, batches(rows, 1), features=range(24))
    for other in (batches(rows, 30), batches(rows, 8, "right"), iter(batches(rows, 4)), [rows[:11], rows[11:]]):
        assert same(first, make_dashboards(model(), d, other, features=range(24)))
    chosen = make_dashboards(model(), d, (b for b in batches(rows, 4)), n_features=6)
    assert chosen == make_dashboards(model(), d, batches(rows, 4), n_features=6) and len(chosen) == 6
    assert chosen != make_dashboards(model(), d, batches(rows, 4), n_features=6, seed=1)


def test_tokens_that_begin_a_text_do_not_count_and_end_the_document_before() -> None:
    d = made("resid_post.0", 32, kind="relu")
    row = [LLAMA_BOS, 5, 9, 21, LLAMA_BOS, 40, 33, 8]
    found = make_dashboards(model(), d, [torch.tensor([row])], features=range(24), window=20)
    kept = make_dashboards(model(), d, [torch.tensor([row])], features=range(24), window=20, keep_bos=True)
    values = slow(d, [row])[0]
    for one, other in zip(found, kept, strict=True):
        mine = values[:, one.feature]
        counted = np.delete(mine, [0, 4])
        assert (one.n_tokens, one.n_active) == (6, int((counted > 0).sum()))
        assert (other.n_tokens, other.n_active) == (8, int((mine > 0).sum()))
        wanted = {i: max(mine[a + 1 : a + 4]) for i, a in enumerate((0, 4)) if max(mine[a + 1 : a + 4]) > 0}
        assert {e.document: e.activations[e.peak] for e in one.top} == pytest.approx(wanted, rel=1e-5)
        for e in one.top:
            assert e.tokens == tuple(f"<{i}>" for i in row[4 * e.document : 4 * e.document + 4])
            assert e.activations[0] is None and None not in e.activations[1:]
        assert all(None not in e.activations for e in other.top)
        assert all(len(e.tokens) == 4 for e in other.top)


# ---------------------------------------------------------------- which features


def test_the_features_that_write_most_come_first_and_the_others_are_drawn_from_the_active_ones() -> None:
    d, rows = made("resid_post.1", 32, n=24), texts()
    dead = d.b_enc.clone()
    dead[:5] = -1000.0
    d = replace(d, b_enc=dead)
    flat = np.concatenate(slow(d, rows))
    written = flat.sum(0) * d.W_dec.norm(dim=1).double().numpy()
    found = choose_features(model(), d, batches(rows, 6), n=9, seed=3)
    most = [f for f, why in found.items() if why == "writes most"]
    drawn = [f for f, why in found.items() if why == "drawn at random"]
    assert most == np.argsort(-written)[:5].tolist() and len(drawn) == 4
    alive = set(np.flatnonzero((flat > 0).any(0)).tolist())
    assert set(drawn) <= alive - set(most) and not alive & set(range(5))
    assert found == choose_features(model(), d, batches(rows, 10), n=9, seed=3)
    assert len({tuple(choose_features(model(), d, batches(rows, 6), n=9, seed=s)) for s in range(8)}) > 1
    assert set(choose_features(model(), d, batches(rows, 6), n=100)) == alive
    nothing = replace(d, b_enc=torch.full((24,), -1000.0))
    assert make_dashboards(model(), nothing, batches(rows, 6)) == ()


# ---------------------------------------------------------------- files and refusals


def test_dashboards_are_read_back_equal_and_damage_is_refused(tmp_path: Path) -> None:
    row = [[LLAMA_BOS, 5, 9, 21], [LLAMA_BOS, 40, 33, 8]]
    found = make_dashboards(model(), made("z.0", 32), [torch.tensor(row)], n_features=8)
    path = tmp_path / "dashboards.json"
    save_dashboards(found, path)
    assert load_dashboards(path) == found and any(d.heads for d in found)
    data = json.loads(path.read_text())
    for key, value in (("feature", "3"), ("mean", None), ("top", {}), ("n_tokens", True), ("nearest", [1])):
        broken = json.loads(json.dumps(data))
        broken["dashboards"][0][key] = value
        path.write_text(json.dumps(broken))
        with pytest.raises(DictionaryError, match="no dashboards can be read"):
            load_dashboards(path)
    for text in ("", "[]", "{}", json.dumps(data | {"more": 1}), json.dumps(data | {"format": "x"})):
        path.write_text(text)
        with pytest.raises(DictionaryError, match="no dashboards can be read"):
            load_dashboards(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": [24]}, "feature 24 does not exist; expected different numbers from 0 to 23"),
        ({"features": [-1]}, "feature -1 does not exist"),
        ({"features": [3, 3]}, "named twice"),
        ({"features": []}, "an empty list"),
        ({"n_features": 0}, "n_features=0: expected 1 or more"),
        ({"n_examples": 0}, "n_examples=0: expected 1 or more"),
        ({"window": -1}, "window=-1: expected 0 or more"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DictionaryError, match=message):
        make_dashboards(model(), made("resid_post.0", 32), [ids()], **options)


def test_data_that_cannot_be_looked_at_are_refused() -> None:
    d = made("resid_post.0", 32)
    for data in ([], [torch.full((2, 3), LLAMA_BOS)]):
        with pytest.raises(DictionaryError, match="no tokens to look at"):
            make_dashboards(model(), d, data, features=[0])
        with pytest.raises(DictionaryError, match="no tokens to look at"):
            make_dashboards(model(), d, data)
    with pytest.raises(DictionaryError, match=r"'resid_post.0' has width 16; this model has 32"):
        make_dashboards(model(), made("resid_post.0", 16), [ids()])
    with pytest.raises(DictionaryError, match=r"'mlp_out.0' has width 16; this model has 32"):
        make_dashboards(model(), made("mlp_normed.0", 32, target="mlp_out.0", d_out=16), [ids()])
    with pytest.raises(SiteError, match="layer 7 does not exist"):
        make_dashboards(model(), made("z.7", 32), [ids()], features=[0])
    broken = hooked("llama")
    with torch.no_grad():
        broken.hf.model.embed_tokens.weight[9] = torch.nan
    with pytest.raises(DictionaryError, match="not finite"):
        make_dashboards(broken, d, [torch.tensor([[5, 9, 21]])])


def test_text_has_the_words_of_the_tokeniser() -> None:
    demo = interp.load("demo")
    d = made("resid_post.1", 128, n=16)
    (one,) = make_dashboards(demo, d, [["The boat waited.", "Kate bought a cup."]], features=[3], window=50)
    assert {"".join(e.tokens) for e in one.top} <= {"<|bos|>The boat waited.", "<|bos|>Kate bought a cup."}
    assert one.top and all(e.activations[0] is None for e in one.top)
    assert one.n_tokens == sum(len(demo.tokenizer.encode(t)) - 1 for t in ("The boat waited.", "Kate bought a cup."))


def test_the_site_of_a_transcoder_is_read_and_its_target_written() -> None:
    d = made("mlp_normed.1", 32, target="mlp_out.1")
    assert d.site == Site("mlp_normed", 1)
    rows = texts(5)
    flat = np.concatenate(slow(d, rows))
    (one,) = make_dashboards(model(), d, batches(rows, 5), features=[7])
    assert one.n_active == int((flat[:, 7] > 0).sum()) and one.maximum == pytest.approx(flat[:, 7].max(), rel=1e-5)
    assert one.effects.top
