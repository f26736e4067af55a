"""Where what a feature of attention reads comes from: sums against the encoder itself, and each way against a slow second writing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.dictionaries.activation import DictionaryError
from interp.effects.source_table import FeatureSources
from interp.effects.splits import SPLITS
from interp.errors import InterpError, MethodError, SiteError, TaskError
from interp.parts.tokens import pad
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.tiny import hooked, ids

FEATURES = (1, 9, 4)
IDS = ids(3)
#: Grouped queries, one head of keys and values, LayerNorm and biases, post-norms and a cap of scores, q and k norms, a parallel block.
KINDS = {
    "llama": {},
    "mqa": {"num_key_value_heads": 1},
    "gpt2": {},
    "gemma2": {},
    "qwen3": {},
    "granite": {},
    "cohere": {},
}


def model_of(kind: str) -> Any:
    return hooked("llama" if kind == "mqa" else kind, **KINDS[kind])


def at_z(model: Any, layer: int = 1, **options: Any) -> Any:
    own = model.layout.blocks[layer].attn
    return made(f"z.{layer}", own.n_heads * own.d_head, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_every_split_adds_up_to_what_the_encoder_makes(kind: str) -> None:
    model, up = model_of(kind), made("resid_post.0", 32)
    own = at_z(model)
    z = model.run(IDS, reads=["z.1"])["z.1"].detach().flatten(2)
    u = own.encoder_output(z)[..., list(FEATURES)]
    for split in SPLITS:
        dictionaries = {up.site: up} if split == "features" else None
        found = interp.feature_sources(model, IDS, own, FEATURES, split=split, dictionaries=dictionaries)
        assert np.allclose(found.pre_activations, u.amax(1).numpy(), atol=1e-5)
        assert np.array_equal(found.positions, u.argmax(1).numpy())
        assert found.largest_gap < 2e-6 * max(1.0, float(np.abs(found.per_example).sum(-1).max()))
        assert np.abs(found.per_example).max() > 1e-2 and np.ptp(found.constants, axis=0).max() < 1e-5


@pytest.mark.parametrize("normalize", ("layer_norm", "constant_norm_rescale"))
def test_of_a_dictionary_that_normalises_the_scale_is_frozen(normalize: str) -> None:
    model = hooked("llama")
    own, up = at_z(model, normalize=normalize), made("resid_post.0", 32, normalize=normalize)
    for split in SPLITS:
        found = interp.feature_sources(
            model, IDS, own, FEATURES, split=split, dictionaries={up.site: up} if split == "features" else None
        )
        assert found.largest_gap < 1e-5 and np.ptp(found.constants, axis=0).max() < 1e-5


def test_tokens_and_heads_are_pattern_times_values_written_out() -> None:
    model = hooked("llama")
    own = at_z(model)
    run = model.run(IDS, reads=["pattern.1", "v.1"])
    pattern, v = run["pattern.1"].detach().double(), run["v.1"].detach().double()
    W = own.W_enc.double().view(4, -1, own.n_features)
    at = [6, -1, 3]
    tokens = interp.feature_sources(model, IDS, own, FEATURES, at=at)
    heads = interp.feature_sources(model, IDS, own, FEATURES, at=at, split="heads")
    assert heads.parts == ("a1.h0", "a1.h1", "a1.h2", "a1.h3") and tokens.positions[:, 0].tolist() == [6, 6, 3]
    for i, q in enumerate((6, 6, 3)):
        for j, f in enumerate(FEATURES):
            each = np.array(
                [[float(pattern[i, h, q, k] * (v[i, k, h // 2] @ W[h, :, f])) for k in range(7)] for h in range(4)]
            )
            assert np.allclose(tokens.per_example[i, j], each.sum(0), atol=1e-6)
            assert np.allclose(heads.per_example[i, j], each.sum(1), atol=1e-6)
            assert not tokens.per_example[i, j, q + 1 :].any()


def test_a_writer_adds_what_goes_away_with_it_where_pattern_and_norm_are_held() -> None:
    """Values alone are changed: what a head writes is taken out of the stream that they are made of, at the norm's own scale."""
    model = hooked("llama")
    own = at_z(model)
    found = interp.feature_sources(model, IDS, own, FEATURES, split="writers", at=-1)
    assert found.parts == ("embed", *(f"a0.h{h}" for h in range(4)), "m0")
    run = model.run(IDS, reads=["pattern.1", "resid_pre.1", "mlp_out.0"])
    block = model.hf.model.layers[1]
    x, part = run["resid_pre.1"].detach(), run["mlp_out.0"].detach()
    norm = block.input_layernorm
    scaled = part * norm.weight / (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
    v = block.self_attn.v_proj(scaled).detach().unflatten(-1, (2, -1)).repeat_interleave(2, dim=2)
    z = torch.einsum("bhk,bkhd->bhd", run["pattern.1"].detach()[:, :, -1], v).flatten(1)
    wanted = (z @ own.W_enc)[:, list(FEATURES)]
    assert np.allclose(found.per_example[..., -1], wanted.numpy(), atol=1e-5)


def test_features_of_the_stream_add_their_rows_and_the_error_is_a_part() -> None:
    model, up = hooked("llama"), made("resid_pre.1", 32)
    own = at_z(model)
    features = interp.feature_sources(model, IDS, own, FEATURES, split="features", dictionaries={up.site: up})
    assert features.parts[-1] == "resid_pre.1.error" and "bias of the decoder at resid_pre.1" in features.parts
    exact = made("resid_pre.1", 32, n=64)
    eye = torch.eye(32)
    both = {"W_enc": torch.cat([eye, -eye], 1), "W_dec": torch.cat([eye, -eye]), "b_dec": torch.zeros(32)}
    both |= {"b_enc": torch.zeros(64), "b_in": None}
    whole = dataclasses.replace(exact, **both)
    found = interp.feature_sources(model, IDS, own, FEATURES, split="features", dictionaries={whole.site: whole})
    assert found.parts[-1].startswith("resid_pre.1.f") or np.abs(found.per_example[..., -1]).max() < 1e-6
    assert found.largest_gap < 1e-5


def test_families_say_how_far_back_sources_are() -> None:
    tokens = np.array([[5, 7, 8, 9, 5]])

    def one(adds: list[float]) -> dict[str, float]:
        value = np.array([[adds]])
        found = FeatureSources((0,), tuple("01234"), value, np.zeros((1, 1)), value.sum(-1), np.array([[4]]), tokens)
        row = found.families().iloc[0]
        return {name: float(row[name]) for name in found.families().columns}

    behind = one([0.0, 2.0, 0.0, 0.0, 0.0])
    assert behind["induction"] == 1 and behind["near"] == 1 and behind["distance"] == 3 and behind["entropy"] == 0
    spread = one([-1.0, 0.0, 0.0, 1.0, 2.0])
    assert (spread["own"], spread["previous"], spread["first"], spread["induction"]) == (0.5, 0.25, 0.25, 0.0)
    assert spread["entropy"] == pytest.approx(1.5 * np.log(2)) and spread["distance"] == 1.25
    assert one([0.0] * 5)["entropy"] == 0


def test_texts_of_several_lengths_and_one_feature_of_one_example() -> None:
    model = hooked("llama")
    prompts = [IDS[0].tolist(), IDS[1, :4].tolist()]
    found = interp.feature_sources(model, pad(prompts), at_z(model), FEATURES)
    assert found.ids[1].tolist() == [*prompts[1], -1, -1, -1] and not found.per_example[1, :, 4:].any()
    row = found.parts_of(1, 9)
    assert len(row) == 4 and row["adds"].is_monotonic_decreasing
    assert row["adds"].sum() == pytest.approx(found.per_example[1, 1].sum())
    with pytest.raises(InterpError, match="expected one of 2 examples"):
        found.parts_of(2, 9)
    with pytest.raises(InterpError, match="use split='tokens'"):
        interp.feature_sources(model, IDS, at_z(model), FEATURES, split="heads").families()


def test_bad_input_is_refused_in_one_sentence() -> None:
    model = hooked("llama")
    own, stream = at_z(model), made("resid_post.0", 32)
    for given, options, error, words in (
        (stream, {}, DictionaryError, "feature_edges"),
        (own, {"features": [99]}, DictionaryError, "features 0 to 23"),
        (own, {"features": [-1]}, DictionaryError, "features 0 to 23"),
        (own, {"features": [True]}, DictionaryError, "feature"),
        (own, {"features": []}, DictionaryError, "none given"),
        (own, {"at": 7}, TaskError, "position 7"),
        (own, {"at": [1, 2]}, TaskError, "2 positions for 3 prompts"),
        (own, {"at": "least"}, InterpError, "expected 'max'"),
        (own, {"split": "words"}, MethodError, "unknown split"),
        (own, {"split": "features"}, MethodError, "resid_pre.1"),
        (own, {"split": "features", "dictionaries": {own.site: own}}, MethodError, "expected one"),
    ):
        with pytest.raises(error, match=words):
            interp.feature_sources(model, IDS, given, **{"features": [1], **options})
    with pytest.raises(SiteError, match="pattern"):
        interp.feature_sources(hooked("gpt_neo"), IDS, made("z.1", 32), [1])
